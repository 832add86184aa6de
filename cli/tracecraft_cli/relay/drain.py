"""`Drain`: what runs in a sandbox have recorded, carried out of the workspace and delivered.

A writer's folder is copied to where only we can write, looked through, and only then read by what delivers it: the
sandbox can neither swap a file for a link meanwhile, nor have a file of ours uploaded, nor speak for the bridge.
"""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft.recording import spool
from tracecraft.recording.intent import Intent
from tracecraft.recording.reader import Reader, load
from tracecraft.recording.takeover import deliver_spools
from tracecraft_cli.relay.folder import NO_ROOM, Folder, Suspicious
from tracecraft_core import names, subjects
from tracecraft_core.destination import Destination
from tracecraft_core.errors import TracecraftError
from tracecraft_core.run_events import EVENTS
from tracecraft_core.settings import DEFAULT_PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracecraft_cli.relay.spot import Spot
    from tracecraft_core.settings import Settings

LOOK_S: Final = 2.0
"""Seconds between two looks."""
MAX_BYTES: Final = 1 << 30
"""Most bytes of one writer, and of one file that it names."""
MAX_FILES: Final = 20_000
_WRITER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NEW: Final = ".new"


class Drain:
    """Of one workspace, for one project."""

    def __init__(self, spot: Spot, place: Path, resolved: Settings, told: Callable[[str], None]) -> None:
        self._spot, self._settings, self._told = spot, resolved, told
        self._stage = place / "spool"
        self._refused: set[str] = set()
        """Writers that are not looked at again."""
        self._waiting: set[str] = set()
        """Writers for which there was no room, and of which it was said."""
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Again and again, until `stop`."""
        while not self._stopped.is_set():
            await self.once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stopped.wait()

    def stop(self) -> None:
        """Have `run` end when it is through with what it delivers."""
        self._stopped.set()

    async def once(self) -> None:
        """Carry out what writers have left that are gone, and deliver it."""
        try:
            await asyncio.to_thread(self._fetch)
            if next(spool.folders(self._stage), None) is None:
                return
            for taken in await deliver_spools(self._settings, where=self._stage, project=self._settings.project):
                said = f"{taken.events} events and {taken.uploads} files of run {taken.run} delivered"
                if taken.events or taken.uploads:
                    self._told(said + (f"; the rest waits: {taken.problem}" if taken.problem else ""))
        except (TracecraftError, OSError, Suspicious) as error:
            self._told(f"what runs have recorded waits: {error}")

    def _fetch(self) -> None:
        shutil.rmtree(self._stage / _NEW, ignore_errors=True)
        base = self._spot.spool()
        if base is None:
            return
        with contextlib.closing(base):
            for run, folder in _writers(base):
                with contextlib.closing(folder):
                    for writer in folder.names():
                        if _WRITER.fullmatch(writer) and f"{run}/{writer}" not in self._refused:
                            self._fetch_one(folder, run, writer)

    def _fetch_one(self, folder: Folder, run: str, writer: str) -> None:
        to = self._stage / self._settings.project / run / writer
        try:
            if not _is_over(folder, writer):
                return
            if not to.exists():
                new = self._stage / _NEW
                self._stage.mkdir(mode=0o700, exist_ok=True)
                folder.copy(writer, new, MAX_BYTES, MAX_FILES)
                self._check(new, run, writer)
                to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                new.rename(to)
            folder.discard(writer)
        except (OSError, Suspicious, TracecraftError, msgspec.MsgspecError, ValueError) as error:
            self._put_off(f"{run}/{writer}", error)
        finally:
            shutil.rmtree(self._stage / _NEW, ignore_errors=True)

    def _put_off(self, which: str, error: Exception) -> None:
        """Tell, once, that something is not delivered, and look at it again only when it lacks nothing but room."""
        waits = isinstance(error, OSError) and error.errno in NO_ROOM
        if not waits:
            self._refused.add(which)
        if not waits or which not in self._waiting:
            run, _, writer = which.partition("/")
            words = "waits until there is room" if waits else "is not delivered"
            self._told(f"what {writer} has recorded of run {run} {words}: {error}")
        if waits:
            self._waiting.add(which)

    def _check(self, path: Path, run: str, writer: str) -> None:
        """Only what a writer of this run could have left. Raises `Suspicious`, `InvalidName`."""
        names.run(run)
        owner = msgspec.json.decode((path / spool.OWNER).read_bytes(), type=spool.Owner)
        _agent(owner.agent)
        if (owner.run, owner.writer) != (run, writer):
            raise Suspicious(f"{spool.OWNER} speaks of another writer")
        if owner.project not in (self._settings.project, DEFAULT_PROJECT):
            raise Suspicious(f"it is for project {owner.project!r}, this relay for {self._settings.project}")
        goal = Destination.of(self._settings)
        owner = msgspec.structs.replace(owner, project=self._settings.project, server=goal.server, stack=goal.stack)
        (path / spool.OWNER).write_bytes(msgspec.json.encode(owner))
        self._check_records(path)
        for intent in sorted((path / spool.UPLOADS).glob("*.json")):
            self._check_intent(intent)

    def _check_records(self, path: Path) -> None:
        segments = load(path)
        try:
            reader = Reader(segments)
            while (record := reader.next()) is not None:
                _agent(record.agent)
                if record.event not in EVENTS or len(record.body) > subjects.MAX_BODY_BYTES:
                    raise Suspicious(f"the event {record.event[:60]!r} is none")
        finally:
            for segment in segments:
                segment.close()

    def _check_intent(self, path: Path) -> None:
        """A file that a writer names by its path is copied, if it is in the workspace."""
        intent = msgspec.json.decode(path.read_bytes(), type=Intent)
        if intent.id != path.stem or not _WRITER.fullmatch(intent.id):
            raise Suspicious(f"{path.name} is for another upload")
        if intent.agent:
            _agent(intent.agent)
        if intent.path is None:
            return
        try:
            self._copy(Path(intent.path), path.with_suffix(".data"))
        except (OSError, Suspicious) as error:
            self._told(f"the file {intent.name} is not delivered: {error}")
            path.unlink()
            return
        intent.path = None
        path.write_bytes(msgspec.json.encode(intent))

    def _copy(self, source: Path, to: Path) -> None:
        workspace = self._spot.workspace
        if not source.is_relative_to(workspace) or ".." in source.parts:
            raise Suspicious(f"{source} is outside of the workspace")
        *above, name = source.relative_to(workspace).parts
        with contextlib.ExitStack() as open_folders:
            folder = open_folders.enter_context(contextlib.closing(Folder.open(workspace)))
            for part in above:
                folder = open_folders.enter_context(contextlib.closing(folder.enter(part)))
            folder.copy(name, to, MAX_BYTES, 1)


def _writers(base: Folder) -> Iterator[tuple[str, Folder]]:
    """The runs of all projects: the project is the relay's, whatever a folder is called."""
    for project in base.names():
        if base.is_folder(project):
            with contextlib.closing(base.enter(project)) as folder:
                for run in folder.names():
                    if folder.is_folder(run) and not run.startswith("."):
                        yield run, folder.enter(run)


def _is_over(folder: Folder, writer: str) -> bool:
    """Whether the process of a writer has gone: nobody holds its lock."""
    with contextlib.closing(folder.enter(writer)) as below:
        lock = below.open_file(spool.LOCK, 4096)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _agent(name: str) -> None:
    if name == subjects.RESERVED_PROJECT:
        raise Suspicious(f"{name} is nobody's name")
    names.agent(name)
