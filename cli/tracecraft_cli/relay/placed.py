"""`Placed`: a request in the relay's folder, from the side of the sandbox: put there, waited for, taken back.

A client that waits holds the lock of its request; when it dies, however that happens, the relay ends the command.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from tracecraft_cli import output
from tracecraft_cli.relay import papers
from tracecraft_cli.relay.outcomes import NoRelay, RelaySilent
from tracecraft_cli.relay.papers import Answer, Beat
from tracecraft_core import sandbox
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_cli.relay.papers import Request

LOOK_S: Final = 0.02
"""Seconds between two looks for an answer."""
BEATS_S: Final = 0.5
"""Seconds between two looks whether the relay lives."""
GRACE_S: Final = 3.0
"""Seconds that a relay has to come back with a request that it took."""


class Placed:
    """A request that lies in the folder, with our lock on it."""

    def __init__(self, folder: Path, request: Request, lock: int) -> None:
        self.folder, self.request = folder, request
        self._lock = lock
        self._printed = {papers.OUT: 0, papers.ERR: 0}

    @classmethod
    def put(cls, folder: Path, request: Request, stdin: bytes | None, attached: Path | None) -> Placed:
        """Write a request; it appears whole. Raises ``OSError``, `UsageError`."""
        sandbox.prepare(folder)
        requests = folder / papers.REQUESTS
        requests.mkdir(mode=0o700, exist_ok=True)
        new = requests / f".{request.id}"
        lock = -1
        try:
            new.mkdir(mode=0o700)
            lock = os.open(new / papers.CLIENT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if stdin is not None:
                _write(new / papers.STDIN, stdin)
            if attached is not None:
                _attach(attached, new / papers.ATTACHED)
            _write(new / papers.REQUEST, _encoded(request))
            new.rename(requests / request.id)
            _sync(requests)
        except BaseException:
            if lock >= 0:
                os.close(lock)
            shutil.rmtree(new, ignore_errors=True)
            raise
        return cls(folder, request, lock)

    def close(self) -> None:
        """Let go: what runs for us now is ended."""
        os.close(self._lock)

    def wait(self, queues: bool) -> Answer | None:
        """The answer, while its output is printed; ``None`` when the request is queued after all."""
        looked = silent_since = 0.0
        while (answer := self._answer()) is None:
            self.print()
            now = time.monotonic()
            if now - looked >= BEATS_S:
                looked = now
                if beat(self.folder) is not None and (self._mine() or self._taken()):
                    silent_since = 0.0
                elif self._mine() and beat(self.folder) is None:
                    return self._withdraw(queues)
                else:
                    silent_since = silent_since or now
                    if now - silent_since > GRACE_S:
                        raise RelaySilent(self.request.id, "the relay took the request and does not answer")
            time.sleep(LOOK_S)
        self.print()
        return answer

    def _mine(self) -> bool:
        """Whether no relay has taken it."""
        return (self.folder / papers.REQUESTS / self.request.id).is_dir()

    def _taken(self) -> bool:
        """Whether the relay has it and will answer."""
        return (self.folder / papers.TAKEN / self.request.id).is_dir()

    def _withdraw(self, queues: bool) -> Answer | None:
        """Take it back from where a relay that has gone would find it, and queue it if it can wait."""
        requests = self.folder / papers.REQUESTS
        ours = requests / f".{self.request.id}"
        try:
            (requests / self.request.id).rename(ours)
        except FileNotFoundError:  # taken at this very moment
            return self.wait(queues)
        if not queues:
            shutil.rmtree(ours, ignore_errors=True)
            raise NoRelay(str(self.folder.parents[1]), " ".join(self.request.command))
        _write(ours / papers.REQUEST, _encoded(msgspec.structs.replace(self.request, wait=False)))
        ours.rename(requests / self.request.id)
        return None

    def _answer(self) -> Answer | None:
        return read_answer(self.folder / papers.ANSWERS / f"{self.request.id}{papers.RECEIPT}")

    def print(self) -> None:
        """Print what has come since the last time."""
        for suffix, stream in ((papers.OUT, sys.stdout), (papers.ERR, sys.stderr)):
            with contextlib.suppress(FileNotFoundError), self._path(suffix).open("rb") as file:
                file.seek(self._printed[suffix])
                while piece := file.read(65_536):
                    self._printed[suffix] += len(piece)
                    _pass_on(stream.buffer, piece)

    def collect(self) -> None:
        """The answer has been told: nothing of it is left."""
        for suffix in (papers.OUT, papers.ERR, papers.RECEIPT):
            with contextlib.suppress(OSError):
                self._path(suffix).unlink(missing_ok=True)

    def _path(self, suffix: str) -> Path:
        return self.folder / papers.ANSWERS / f"{self.request.id}{suffix}"


def beat(folder: Path) -> Beat | None:
    """The beat of a relay that lives; ``None`` when there is none."""
    try:
        found = msgspec.json.decode((folder / papers.BEAT).read_bytes(), type=Beat)
        return found if papers.fresh((folder / papers.BEAT).stat().st_mtime) else None
    except (OSError, msgspec.MsgspecError):
        return None


def read_answer(path: Path) -> Answer | None:
    """A receipt; ``None`` when there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answer)
    except (OSError, msgspec.MsgspecError):
        return None


def _encoded(request: Request) -> bytes:
    content = msgspec.json.encode(request)
    if len(content) > papers.MAX_PAPER:
        raise UsageError(f"the request is {len(content):,} bytes, over the {papers.MAX_PAPER:,} that a relay takes")
    return content


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _attach(path: Path, to: Path) -> None:
    """Copy a file or a folder: what is sent is what it is now, and read with the rights of the sandbox."""
    files = [(path, to)]
    if path.is_dir():
        files = [(file, to / file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
    size = sum(file.stat().st_size for file, _ in files)
    if size > papers.MAX_ATTACHED or len(files) > papers.MAX_FILES:
        raise UsageError(
            f"{path} has {len(files)} files of {size:,} bytes; a relay takes up to {papers.MAX_FILES} of "
            f"{papers.MAX_ATTACHED:,}: run it outside of the sandbox"
        )
    for file, copy in files:
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        with copy.open("rb") as written:
            os.fsync(written.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pass_on(stream: BinaryIO, piece: bytes) -> None:
    try:
        stream.write(piece)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output.Unwritable(error.strerror) from None
