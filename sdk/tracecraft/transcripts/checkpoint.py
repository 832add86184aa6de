"""`Checkpoint`: how far a session is mirrored, in a file of the user's state folder that survives anything.

It says what the log has acknowledged. While records are being written it says that too (`dirty`): whoever finds it
after a crash reads the session from its beginning, and asks which steps are there already. The log may have steps that
lie behind the place, or nowhere, because the transcript was longer once: they stand here too (`ahead`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from tracecraft.transcripts.lines import Place, open_regular
from tracecraft_core import settings

if TYPE_CHECKING:
    from pathlib import Path

Had = Literal["open", "ended", "paid"]
"""What the log has of a step: it began; it ended; it ended and its usage is known."""

VERSION: Final = 1
"""Of the file; one of another version is read as if there was none."""
FOLDER: Final = "transcripts"
"""Folder in the user's state folder."""


class Sheet(msgspec.Struct, omit_defaults=True):
    """What the run of a session has been told about it."""

    agent: str = ""
    started: float = 0.0
    last: float = 0.0
    cwd: str = ""
    branch: str = ""
    version: str = ""
    model: str = ""
    title: str = ""
    parent: str = ""
    inside: str = ""
    """The run around it, where a program that is in one has started it."""
    forked_from: str = ""
    agents: dict[str, str] = {}
    """Names of sub-agents by their ids."""
    running: set[str] = set()
    """Names of sub-agents that are not done."""
    tasks: dict[str, str] = {}
    """Tasks of tools that have not answered, by key."""


class Checkpoint(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One file."""

    format: int = VERSION
    source: str
    session: str
    path: str
    project: str
    server: str
    """Where the bus is, without secrets."""
    places: dict[str, Place] = {}
    sheet: Sheet = msgspec.field(default_factory=Sheet)
    ahead: dict[str, Had] = {}
    """Steps that the log has and that were not met on the way to `places`."""
    dirty: bool = False
    """Whether more may have been recorded than stands here."""
    ended: bool = False
    """Whether the run was ended."""
    saved: float = 0.0


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Checkpoint)


def folder(project: str) -> Path:
    """Where the checkpoints of a project lie."""
    return settings.state_dir() / FOLDER / project


def read(project: str, run: str) -> Checkpoint | None:
    """The checkpoint of a session's run; ``None`` when there is none that can be read."""
    return _load(folder(project) / f"{run}.json")


def every(project: str) -> dict[str, Checkpoint]:
    """All checkpoints of a project, by run."""
    found = {path.stem: _load(path) for path in sorted(folder(project).glob("*.json"))}
    return {run: checkpoint for run, checkpoint in found.items() if checkpoint is not None}


def elsewhere(project: str, server: str, run: str) -> str | None:
    """Another project on this server into which a session is mirrored, where ``project`` does not have it."""
    if (folder(project) / f"{run}.json").exists():
        return None
    for path in sorted(settings.state_dir().glob(f"{FOLDER}/*/{run}.json")):
        found = _load(path)
        if found is not None and found.server == server:
            return found.project
    return None


def encode(checkpoint: Checkpoint) -> bytes:
    """The content of the file: what is written later is as it was at this moment."""
    return _encoder.encode(checkpoint)


def save(project: str, run: str, content: bytes) -> None:
    """Replace the file, so that a crash leaves the old one or the new one. Raises ``OSError``."""
    place = folder(project)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, new = place / f"{run}.json", place / f".{run}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    with contextlib.suppress(OSError):
        _sync(place)


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(path: Path) -> Checkpoint | None:
    try:
        with open_regular(path) as file:
            found = _decoder.decode(file.read())
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.format == VERSION else None


class Lock:
    """The right to mirror a session: one process on this machine has it, and loses it when it dies."""

    def __init__(self, project: str, run: str) -> None:
        self._path = folder(project) / f"{run}.lock"
        self._descriptor = -1

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._descriptor >= 0

    def take(self) -> int | None:
        """Take it; the id of the process that has it, 0 where it is not known, when it is somebody else's."""
        if self.held:
            return None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            return int(holder) if holder.isdecimal() else 0
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return None

    def release(self) -> None:
        """Give it back; the file stays, so that nobody locks one that is gone."""
        if self.held:
            os.close(self._descriptor)
            self._descriptor = -1
