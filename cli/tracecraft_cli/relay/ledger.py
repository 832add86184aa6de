"""`Ledger`: what a relay has begun and ended, outside of the sandbox's reach, under the lock of the one relay.

A command is entered before it begins and after it has ended, each time down to the disk. So a relay that comes after
one that was killed knows what must not be done again, and what nobody knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import time
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_cli.relay.folder import append
from tracecraft_cli.relay.papers import State  # noqa: TC001  # msgspec reads it
from tracecraft_core.errors import Refused
from tracecraft_core.settings import state_dir

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = 20_000
"""Newest requests that are remembered when a relay starts: an id that is used again is not run again."""
_LEDGER: Final = "ledger.jsonl"
_LOCK: Final = "lock"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request. No values: they may be secret."""

    id: str
    state: State
    exit_code: int = 0
    command: str = ""
    agent: str | None = None
    time: float
    """Seconds since 1970."""


class _Owner(msgspec.Struct, frozen=True):
    """Who holds the lock."""

    pid: int
    host: str
    since: float


class Ledger:
    """Of one workspace; made by `open`, which only one relay at a time can."""

    def __init__(self, place: Path, lock: int) -> None:
        self.place = place
        self._lock = lock
        self._known: dict[str, Entry] = {}
        self._load()
        self._file = os.open(place / _LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @classmethod
    def open(cls, workspace: Path) -> Ledger:
        """Raises `Refused` when another relay serves this workspace, ``OSError``."""
        place = home(workspace)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Refused(f"a relay serves {workspace} already: {_holder(place)}; stop that one first") from None
        os.truncate(lock, 0)
        os.pwrite(lock, msgspec.json.encode(_Owner(os.getpid(), socket.gethostname(), time.time())), 0)
        return cls(place, lock)

    def close(self) -> None:
        """Another relay may come."""
        os.close(self._file)
        os.close(self._lock)

    def known(self, id_: str) -> Entry | None:
        """What was entered last."""
        return self._known.get(id_)

    def begun(self) -> list[Entry]:
        """What has begun and not ended, as far as anybody knows."""
        return [entry for entry in self._known.values() if entry.state == "running"]

    def enter(self, entry: Entry) -> None:
        """Enter it, down to the disk. Raises ``OSError``; then nothing of it is there."""
        append(self._file, msgspec.json.encode(entry) + b"\n")
        self._known[entry.id] = entry

    def work(self, id_: str) -> Path:
        """A new folder for one command."""
        folder = self.place / "work" / id_
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def cwd(self) -> Path:
        """Where commands run: apart from the workspace, whose files would have a say in them."""
        folder = self.place / "cwd"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _load(self) -> None:
        """Read it, without a torn last line, and write it anew when it has grown."""
        path = self.place / _LEDGER
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for line in lines:
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.MsgspecError:
                continue
            self._known[entry.id] = entry
        if len(lines) > 2 * KEPT or (lines and not lines[-1].endswith(b"\n")):
            self._known = dict(list(self._known.items())[-KEPT:])
            new = path.with_suffix(".new")
            new.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in self._known.values()))
            new.replace(path)


def home(workspace: Path) -> Path:
    """Where a relay keeps what the sandbox must not touch."""
    name = hashlib.sha256(os.fsencode(workspace.resolve())).hexdigest()[:16]
    return state_dir() / "relay" / name


def _holder(place: Path) -> str:
    try:
        owner = msgspec.json.decode((place / _LOCK).read_bytes(), type=_Owner)
    except (OSError, msgspec.MsgspecError):
        return "its process is not known"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.since))
    return f"process {owner.pid} on {owner.host}, since {since}"
