"""Files in the artifact store: put once for each content, fetched again with their hash checked.

The bridge tells where to put and where to fetch (presigned URLs, good for one object); the bytes go straight to the
store over HTTP, in worker threads, with flat memory. What was interrupted goes on where it stopped, also in another
process (docs/how-to/keep-files.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft.queries import ask
from tracecraft.transfer import download, http
from tracecraft.transfer.download import Downloader
from tracecraft.transfer.progress import Meter, Progress, persist
from tracecraft.transfer.source import BytesSource, FileSource
from tracecraft.transfer.upload import Uploader
from tracecraft_core.errors import Damaged, NotFound, UsageError
from tracecraft_core.queries import Download, GetQuestion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tracecraft.context import Context
    from tracecraft.transfer.source import Source

__all__ = ["Progress", "Stored", "get_bytes", "get_file", "put_bytes", "put_file", "read_range"]

PATIENCE_S: Final = 60.0
"""Seconds that the bridge or the store may be away before a transfer gives up."""
MEDIA_TYPE: Final = "application/octet-stream"
"""Of what nobody knows better."""
BYTES_LIMIT: Final = 64 << 20
"""Most bytes that `get_bytes` takes into memory unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that lies in the store."""

    sha256: str
    """64 hexadecimal digits."""
    size: int
    """Bytes."""
    media_type: str
    new: bool
    """False: the store had this content already, no byte travelled."""


async def put_file(
    context: Context,
    path: Path,
    *,
    media_type: str | None = None,
    progress: Progress | None = None,
    patience: float = PATIENCE_S,
) -> Stored:
    """Put a file into the store, unless its content is there; its hash is taken first.

    Args:
        context: a session's; only its bus and its project are used.
        path: an ordinary file.
        media_type: guessed from the name when it is left out.
        progress: told how far it is, from worker threads.
        patience: seconds that the bridge or the store may be away.

    Raises `FileProblem` when the file is gone, cannot be read or changes meanwhile; `BridgeAway`; `UsageError`;
    `Damaged` when the store does not keep what it was given.
    """
    source = await asyncio.to_thread(FileSource, path)
    try:
        return await _put(context, source, media_type or _guess(path.name), progress, patience)
    finally:
        source.close()


async def put_bytes(
    context: Context, data: bytes, *, media_type: str = MEDIA_TYPE, patience: float = PATIENCE_S
) -> Stored:
    """The same for bytes in memory."""
    return await _put(context, BytesSource(data), media_type, None, patience)


async def get_file(
    context: Context,
    question: GetQuestion,
    target: Path,
    *,
    progress: Progress | None = None,
    patience: float = PATIENCE_S,
) -> Download:
    """Fetch a file by hash, or by run and name, into ``target``, which is replaced in one step when the hash is right.

    What an earlier attempt left beside the target is not fetched again. Raises `NotFound`, `Damaged` (another content
    than its hash says), `FileProblem` (no room on the disk), `BridgeAway`.
    """
    return await Downloader(context, question, target, progress, patience).run()


async def get_bytes(
    context: Context, question: GetQuestion, *, limit: int = BYTES_LIMIT, patience: float = PATIENCE_S
) -> bytes:
    """Fetch a small file into memory. Raises `UsageError` when it has more than ``limit`` bytes; else as `get_file`."""

    def fetch(answer: Download) -> bytes:
        if answer.size > limit:
            raise UsageError(f"{answer.name or answer.sha256} has {answer.size:,} bytes, over {limit:,}: get_file it")
        data = download.read(answer.url, answer.size)
        found = hashlib.sha256(data).hexdigest()
        if found != answer.sha256:
            raise Damaged(answer.name or answer.sha256, f"its hash is {found}")
        return data

    return await _read(context, question, fetch, patience)


async def read_range(context: Context, sha256: str, first: int, length: int, *, patience: float = PATIENCE_S) -> bytes:
    """Some bytes of a file, from byte ``first`` on; fewer than ``length`` at its end. Their hash cannot be checked."""

    def fetch(answer: Download) -> bytes:
        there = min(length, answer.size - first)
        return download.read_range(answer.url, first, there) if there > 0 else b""

    return await _read(context, GetQuestion(sha256=sha256), fetch, patience)


async def _put(context: Context, source: Source, media_type: str, progress: Progress | None, patience: float) -> Stored:
    new = await Uploader(context, source, media_type, progress, patience).run()
    return Stored(source.sha256, source.size, media_type, new)


async def _read(context: Context, question: GetQuestion, fetch: Callable[[Download], bytes], patience: float) -> bytes:
    async def attempt() -> bytes:
        answer = await ask(context, "artifacts.get", question, Download)
        try:
            return await asyncio.to_thread(fetch, answer)
        except http.Gone:
            raise NotFound("content", answer.sha256, "the artifact store has lost it") from None
        except http.NotGiven as error:
            await download.raise_if_damaged(context, answer, error)
            raise

    return await persist(Meter(0, None, patience), attempt)


def _guess(name: str) -> str:
    return mimetypes.guess_type(name)[0] or MEDIA_TYPE
