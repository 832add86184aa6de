"""The lock of a data folder: two supervisors never share one."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final, Self

import msgspec

from tracecraft_core.errors import StackError
from tracecraft_stack.files import plain_errors
from tracecraft_stack.identity import Identity, myself

if TYPE_CHECKING:
    from pathlib import Path

LOCK_FILE: Final = "supervisor.json"
"""Locked while a supervisor has the folder; holds its pid and creation time."""

PATIENCE_S: Final = 5.0
"""How long a killed supervisor may take to let go: its lock ends with its last thread, after it has become a zombie."""


class FolderLock:
    """Held from construction to `release`, or the death of the process.

    Raises `StackError` that names the pid of the holder.
    """

    def __init__(self, data: Path) -> None:
        with plain_errors(data):
            self._file = os.open(data / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
        self._take(data)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, msgspec.json.encode(myself()), 0)

    def release(self) -> None:
        """Gives the folder up; the file stays, empty, because removing a locked file lets two in."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def _take(self, data: Path) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = read_holder(data)
                if (holder is not None and holder.alive) or time.monotonic() > deadline:
                    os.close(self._file)
                    raise _taken(data, holder) from None
                time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _taken(data: Path, holder: Identity | None) -> StackError:
    return StackError(
        f"a stack runs in {data} already (pid {holder.pid if holder else 'unknown'}): "
        "use it, stop it with 'tracecraft stop', or choose another folder with --data"
    )


def read_holder(data: Path) -> Identity | None:
    """The supervisor that has the folder or had it when it was killed; check ``alive``."""
    try:
        return msgspec.json.decode((data / LOCK_FILE).read_bytes(), type=Identity)
    except (OSError, msgspec.MsgspecError):
        return None
