"""A download: into a file beside the target, from where the last one stopped, renamed when the hash is right."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from typing import TYPE_CHECKING, Final

from tracecraft.queries import ask
from tracecraft.transfer import http
from tracecraft.transfer.progress import Meter, in_thread, persist, while_wanted
from tracecraft_core import ids
from tracecraft_core.errors import Damaged, FileProblem, NotFound
from tracecraft_core.queries import Download, GetQuestion

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from tracecraft.context import Context
    from tracecraft.transfer.progress import Progress

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Downloader:
    """Fetches one content into a file. The returned answer tells what it was."""

    def __init__(
        self, context: Context, question: GetQuestion, target: Path, progress: Progress | None, patience: float
    ) -> None:
        self._context, self._question, self._target = context, question, target
        self._progress, self._meter = progress, Meter(0, progress, patience)
        self._again = False

    async def run(self) -> Download:
        """Fetch it, however often the bridge or the store is away meanwhile."""
        return await persist(self._meter, self._attempt)

    async def _attempt(self) -> Download | None:
        answer = await ask(self._context, "artifacts.get", self._question, Download)
        self._meter.total = answer.size
        self._question = GetQuestion(sha256=answer.sha256, name=answer.name)  # a run's file may be another meanwhile
        try:
            whole = await in_thread(lambda ended: self._fetch(answer, ended))
        except http.Gone:
            raise NotFound("content", answer.sha256, "the artifact store has lost it") from None
        except http.NotGiven as error:
            await self._leave_if_damaged(answer, error)
            raise
        except OSError as error:
            raise _problem(self._target, error) from error
        return answer if whole else None

    async def _leave_if_damaged(self, answer: Download, error: http.NotGiven) -> None:
        try:
            await raise_if_damaged(self._context, answer, error)
        except Damaged:
            await asyncio.to_thread(discard, self._target, answer.sha256)
            raise

    def _fetch(self, answer: Download, ended: threading.Event) -> bool:
        if _hash_of(self._target, answer.size) == answer.sha256:
            self._meter.set(answer.size)
            return True
        beside = Beside(self._target, answer.sha256)
        try:
            had = beside.read_what_is_there(answer.size)
            self._meter.set(had)
            if had < answer.size:
                for block in while_wanted(http.get(answer.url, had), ended):
                    beside.add(block)
                    self._meter.moved(len(block))
            if beside.digest.hexdigest() == answer.sha256:
                beside.become(self._target)
                return True
            beside.remove()
            if had and not self._again:  # what was there from the last time may be wrong
                self._again = True
                return False
            raise Damaged(answer.name or answer.sha256, f"its hash is {beside.digest.hexdigest()}")
        except OSError as error:
            if error.errno in _NO_ROOM:
                beside.remove()
            raise
        finally:
            beside.close()


class Beside:
    """The unfinished file, locked: a second download of the same content beside it takes a name of its own."""

    def __init__(self, target: Path, sha256: str) -> None:
        self.digest = hashlib.sha256()
        self._path = target.with_name(f".{target.name[:100]}.{sha256[:16]}.part")
        self._file = _open(self._path)
        if not _lock(self._file):
            os.close(self._file)
            self._path = self._path.with_suffix(f".{ids.fresh()}.part")
            self._file = _open(self._path)

    def read_what_is_there(self, most: int) -> int:
        """Hash what an earlier download left; returns how many bytes."""
        if os.fstat(self._file).st_size > most:
            os.ftruncate(self._file, 0)
        had = 0
        while block := os.read(self._file, http.BLOCK):
            self.digest.update(block)
            had += len(block)
        return had

    def add(self, block: bytes) -> None:
        """Write the next bytes."""
        view = memoryview(block)
        while view:
            view = view[os.write(self._file, view) :]
        self.digest.update(block)

    def become(self, target: Path) -> None:
        """Take the target's place."""
        os.replace(self._path, target)

    def remove(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def close(self) -> None:
        """Close the file, which ends the lock."""
        os.close(self._file)


async def raise_if_damaged(context: Context, answer: Download, error: http.NotGiven) -> None:
    """Ask the bridge whether what the store did not give is damaged. Raises `Damaged` and `BridgeAway`."""
    question = GetQuestion(sha256=answer.sha256, name=answer.name, failed=True, place=error.place)
    if (await ask(context, "artifacts.get", question, Download)).damaged:
        raise Damaged(answer.name or answer.sha256, f"the artifact store cannot read it ({error})") from None


def discard(target: Path, sha256: str) -> None:
    """Remove what a download has left beside its target."""
    beside = Beside(target, sha256)
    beside.remove()
    beside.close()


def read(url: str, size: int) -> bytes:
    """A small content in one piece."""
    return b"".join(http.get(url, 0)) if size else b""


def read_range(url: str, first: int, length: int) -> bytes:
    """Some bytes of a content."""
    return b"".join(http.get(url, first, length))


def _hash_of(path: Path, size: int) -> str | None:
    """Of what lies at the target already, if it may be the same."""
    try:
        if path.stat().st_size != size:
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _lock(file: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EACCES}
    return True


def _problem(target: Path, error: OSError) -> FileProblem:
    if error.errno in _NO_ROOM:
        return FileProblem(str(target), error.strerror or str(error), "make room or give another folder")
    return FileProblem(str(target), error.strerror or str(error), "give a path that can be written")
