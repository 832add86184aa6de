"""The spool: ``<root>/<project>/<run>/<writer>/``, one folder for each writer, open to its user only.

A writer holds the lock of its folder (``flock``) as long as its process lives; whoever gets the lock later may deliver
what lies there. A folder appears whole, under its lock, and goes when all of it is delivered.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft.recording.position import Position
from tracecraft.recording.reader import Reader, load
from tracecraft.recording.spool_status import SpoolStatus
from tracecraft_core import sandbox, settings
from tracecraft_core.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "TRACECRAFT_SPOOL"
"""Another place for the spool."""
LOCK: Final = "lock"
OWNER: Final = "owner.json"
UPLOADS: Final = "uploads"
"""Folder of files and large values that wait for the object store."""
_NEW: Final = ".new"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """``owner.json``: whose records these are."""

    project: str
    run: str
    writer: str
    agent: str
    server: str
    """Where they go, without secrets."""
    stack: str = ""
    """The data folder of the stack of this machine, when they are for it, whatever its port; see `Destination`."""
    host: str = msgspec.field(default_factory=socket.gethostname)
    pid: int = msgspec.field(default_factory=os.getpid)
    started: float = msgspec.field(default_factory=time.time)
    """Seconds since 1970."""

    @property
    def destination(self) -> Destination:
        """Where they go."""
        return Destination(server=self.server, stack=self.stack)


class Held:
    """A writer's folder under its lock."""

    def __init__(self, path: Path, owner: Owner, descriptor: int) -> None:
        self.path, self.owner = path, owner
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; in a forked child, too, where the parent keeps it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Delete the folder, and those above it that are empty now."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()
        for folder in (self.path.parent, self.path.parent.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()


def root() -> Path:
    """Where the spool is; in a sandbox without network in the workspace, where a relay finds it."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return sandbox.spool() if sandbox.inside() else settings.state_dir() / "spool"


def create(owner: Owner, where: Path | None = None) -> Held:
    """Make the folder of a new writer in a spool (default: `root`). Raises ``OSError``."""
    base = where or root()
    if base.name == sandbox.SPOOL and base.parent.parts[-2:] == sandbox.FOLDER.parts:
        sandbox.prepare(base.parent)
    run = base / owner.project / owner.run
    path, new = run / owner.writer, run / f".{owner.writer}{_NEW}"
    for attempt in range(3):
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            new.mkdir(mode=0o700)
            break
        except FileNotFoundError:  # whoever had delivered all else has just removed the empty folder
            if attempt == 2:
                raise
    descriptor = _lock(new, create=True)
    if descriptor is None:
        raise OSError(f"{new} is locked")
    try:
        (new / OWNER).touch(mode=0o600)
        (new / OWNER).write_bytes(msgspec.json.encode(owner))
        new.rename(path)
    except BaseException:
        os.close(descriptor)
        shutil.rmtree(new, ignore_errors=True)
        raise
    return Held(path, owner, descriptor)


def take(path: Path) -> Held | None:
    """The folder of a writer whose process is gone; ``None`` when it lives, or somebody else has taken it."""
    try:
        descriptor = _lock(path, create=False)
    except OSError:
        return None
    if descriptor is None:
        return None
    owner = _owner(path)
    if owner is None:
        os.close(descriptor)
        return None
    return Held(path, owner, descriptor)


def folders(where: Path | None = None, project: str = "*", run: str = "*") -> Iterator[Path]:
    """The folders of all writers, oldest run first."""
    base = where or root()
    yield from sorted(path.parent for path in base.glob(f"{project}/{run}/*/{OWNER}") if path.parent.name[0] != ".")


def spools(where: Path | None = None) -> list[SpoolStatus]:
    """What lies in the spool (default: `root`), by project, run and writer."""
    found = (_status(path) for path in folders(where))
    return [status for status in found if status is not None]


def _lock(folder: Path, *, create: bool) -> int | None:
    descriptor = os.open(folder / LOCK, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not create and not (folder / LOCK).exists():  # it was delivered and removed in this very moment
        os.close(descriptor)
        return None
    return descriptor


def _owner(path: Path) -> Owner | None:
    try:
        return msgspec.json.decode((path / OWNER).read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError):
        return None


def _status(path: Path) -> SpoolStatus | None:
    owner = _owner(path)
    if owner is None:
        return None
    held = take(path)
    try:
        events = _waiting(path)
        files = [file.stat() for file in path.rglob("*") if file.is_file()]
    except FileNotFoundError:
        return None  # delivered while we looked
    finally:
        if held is not None:
            held.release()
    return SpoolStatus(
        project=owner.project,
        run=owner.run,
        writer=owner.writer,
        agent=owner.agent,
        destination=owner.destination,
        folder=path,
        alive=held is None,
        events=events,
        uploads=sum(1 for _ in path.glob(f"{UPLOADS}/*.json")),
        bytes=sum(file.st_blocks * 512 for file in files),
        since=owner.started,
    )


def _waiting(path: Path) -> int:
    """Events that are not acknowledged."""
    position = Position.open(path)
    segments = load(path)
    try:
        reader, count = Reader(segments), 0
        while (record := reader.next()) is not None:
            count += record.number > position.acked
        return count
    finally:
        for segment in segments:
            segment.close()
        position.close()
