"""`Uploads`: files and large values of one writer, on their way from its spool to the object store.

Each is an intent, ``<id>.json``, and where the content was copied, ``<id>.data`` beside it. The intent goes when the
content is in the store and, for a file, its ``artifact`` event is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from tracecraft import artifacts
from tracecraft.recording import budget
from tracecraft.recording.intent import Intent
from tracecraft_core import bodies
from tracecraft_core.errors import FileProblem, TracecraftError, UsageError
from tracecraft_core.run_events import Artifact, LogLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.context import Context

logger = logging.getLogger(__name__)

COPY_BYTES: Final = 16 * 1024 * 1024
"""Largest file that is copied when it is logged; a larger one is read where it lies."""
AT_ONCE: Final = 4
"""Uploads under way together."""
PATIENCE_S: Final = 1.0
"""Seconds that one attempt waits for the bridge or the store."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds between two attempts while the store is away."""
_INTENT: Final = ".json"
_DATA: Final = ".data"


class Uploads:
    """Takes files and values on the caller's thread, uploads them on the loop."""

    def __init__(self, folder: Path | None, record: Callable[[str, str, bytes], object]) -> None:
        self.done = 0
        """Files and values that are in the store."""
        self.failed = 0
        """Those that never will be."""
        self.trouble = ""
        """Why the store takes nothing right now."""
        self.refusals = 0
        """How often it took nothing."""
        self.wake: Callable[[], None] = _nobody
        """Told of new work."""
        self.told: Callable[[], None] = _nobody
        """Told of each that is done, and of trouble; on the loop."""
        self._folder, self._record = folder, record
        self._waiting: dict[str, Intent] = {}
        self._contents: dict[str, bytes] = {}
        self._seen: set[str] = set()
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Files and values that are not in the store yet."""
        return len(self._waiting)

    # -- the caller's thread -------------------------------------------------------------------------------------

    def add_file(self, content: Path | bytes, intent: Intent) -> None:
        """Take a file, or the content of one. Raises ``OSError``, `UsageError` when it cannot be read."""
        if isinstance(content, bytes):
            self._add_content(content, intent)
            return
        path = content.absolute()
        if not path.is_file():
            raise (
                UsageError(f"{path} is not a file: log the files in it one by one")
                if path.is_dir()
                else (FileNotFoundError(f"{path}: no such file"))
            )
        with path.open("rb"):  # it can be read
            size = path.stat().st_size
        if not self._copied(path, size, intent):
            intent.path = str(path)
        self._queue(intent)

    def add_value(self, data: bytes, media_type: str) -> str:
        """Take a large value, once; returns its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._seen:
            self._seen.add(sha256)
            self._add_content(data, Intent(id=sha256, media_type=media_type))
        return sha256

    def _add_content(self, data: bytes, intent: Intent) -> None:
        if self._folder is None and budget.memory.take(len(data)):
            self._contents[intent.id] = data
        elif self._folder is None or not self._write(data, intent):
            self.failed += 1
            logger.warning("%s was dropped: the spool is full", intent.name or f"a value of {len(data):,} bytes")
            return
        intent.size = len(data)
        self._queue(intent)

    def _write(self, data: bytes, intent: Intent) -> bool:
        assert self._folder is not None
        if not budget.disk.take(len(data)):
            return False
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with _private(self._data(intent)) as file:
                file.write(data)
        except OSError as error:
            logger.debug("cannot spool a value: %s", error)
            budget.disk.give(len(data))
            self._data(intent).unlink(missing_ok=True)
            return False
        return True

    def _copied(self, path: Path, size: int, intent: Intent) -> bool:
        if self._folder is None or size > COPY_BYTES or not budget.disk.take(size):
            return False
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with path.open("rb") as source, _private(self._data(intent)) as file:
                shutil.copyfileobj(source, file)
        except OSError as error:
            logger.debug("cannot copy %s into the spool: %s", path, error)
            budget.disk.give(size)
            self._data(intent).unlink(missing_ok=True)
            return False
        intent.size = size
        return True

    def _queue(self, intent: Intent) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):  # it is uploaded all the same, if this process lives
                self._folder.mkdir(mode=0o700, exist_ok=True)
                new = self._folder / f".{intent.id}"
                new.write_bytes(msgspec.json.encode(intent))
                new.rename(self._folder / f"{intent.id}{_INTENT}")
        self._waiting[intent.id] = intent
        self.wake()

    # -- the loop ------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take over what a process that is gone has left."""
        for path in sorted(self._folder.glob(f"*{_INTENT}")) if self._folder else ():
            try:
                intent = msgspec.json.decode(path.read_bytes(), type=Intent)
            except (OSError, msgspec.MsgspecError) as error:
                logger.warning("%s cannot be read: %s", path, error)
                continue
            intent.size = 0  # it is not of this process's budget
            self._waiting[intent.id] = intent

    def poke(self) -> None:
        """There is new work; on the loop."""
        self._news.set()

    def hurry(self) -> None:
        """Somebody waits: try now, whatever pause was due; on the loop."""
        self._hurry.set()

    async def run(self, context: Context, *, once: bool = False) -> None:
        """Upload what waits, for ever; with ``once`` until nothing waits."""
        failures = 0
        while not once or self._waiting:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            if self._hurry.is_set():
                self._hurry.clear()
                failures = 0
            batch = list(self._waiting.values())[:AT_ONCE]
            tried = await asyncio.gather(*(self._upload(context, intent) for intent in batch))
            self.told()
            if all(tried):
                self.trouble, failures = "", 0
            else:
                self.refusals += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PAUSES_S[min(failures, len(PAUSES_S) - 1)]):
                        await self._hurry.wait()
                failures += 1

    async def _upload(self, context: Context, intent: Intent) -> bool:
        """``False``: it has to be tried again."""
        try:
            stored = await self._put(context, intent)
        except (FileProblem, UsageError) as error:
            self._fail(intent, str(error))
            return True
        except TracecraftError as error:
            self.trouble = str(error)
            return False
        except Exception as error:  # a worker thread cannot be had while the interpreter ends
            self.trouble = f"{type(error).__name__}: {error}"
            logger.debug("upload of %s failed", intent.name or intent.id, exc_info=True)
            return False
        self.done += 1
        if intent.name is not None:
            event = Artifact(
                name=intent.name,
                sha256=stored.sha256,
                size=stored.size,
                time=intent.time,
                media_type=stored.media_type,
                kind=intent.kind,
                step=intent.step,
            )
            self._record(intent.agent, "artifact", bodies.encode(event))
        self._forget(intent)
        return True

    async def _put(self, context: Context, intent: Intent) -> artifacts.Stored:
        if intent.id in self._contents:
            media_type = intent.media_type or artifacts.MEDIA_TYPE
            data = self._contents[intent.id]
            return await artifacts.put_bytes(context, data, media_type=media_type, patience=PATIENCE_S)
        path = Path(intent.path) if intent.path is not None else self._data(intent)
        media_type = intent.media_type or intent.guessed()
        return await artifacts.put_file(context, path, media_type=media_type, patience=PATIENCE_S)

    def _fail(self, intent: Intent, reason: str) -> None:
        self.failed += 1
        what = f"artifact {intent.name}" if intent.name else f"the value {intent.id}"
        logger.warning("%s was not uploaded: %s", what, reason)
        line = LogLine(text=f"{what} was not uploaded: {reason}", time=time.time_ns() // 1000, level="error")
        if intent.agent:
            self._record(intent.agent, "log", bodies.encode(line))
        self._forget(intent)

    def _forget(self, intent: Intent) -> None:
        self._waiting.pop(intent.id, None)
        if self._contents.pop(intent.id, None) is not None:
            budget.memory.give(intent.size)
        elif intent.size:
            budget.disk.give(intent.size)
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._data(intent).unlink(missing_ok=True)
                (self._folder / f"{intent.id}{_INTENT}").unlink(missing_ok=True)

    def _data(self, intent: Intent) -> Path:
        assert self._folder is not None
        return self._folder / f"{intent.id}{_DATA}"


def _nobody() -> None:
    """Nobody waits."""


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
