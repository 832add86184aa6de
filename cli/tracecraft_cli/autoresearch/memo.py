"""`Memo`: what was written of a folder, in a file of the user's, so that a new watcher goes on where the last one was.

Losing it does no harm: everything is written again then, under the same ids, and counts once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_core.settings import state_dir

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_core.settings import Settings

Signature = tuple[int, int, int]
"""Of a file: inode, size, time of the last change in nanoseconds."""
HEAD: Final = 512
"""Bytes of a log by which it is known again."""


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment that goes on."""

    run: str
    branch: str
    commit: str
    occurrence: int
    began: int
    inode: int
    size: int
    seen: int
    """When the log had changed last."""
    head: str = ""
    points: int = 0
    """That are written."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is written."""

    run: str
    text: str


class Facts(msgspec.Struct, kw_only=True):
    """What stands in the file."""

    first: str = ""
    """The commit of the table's first row: with another one it is another table."""
    branch: str = ""
    """The branch that was there."""
    count: int = 0
    """Rows of the table."""
    rows: dict[str, Known] = {}
    """By commit and occurrence."""
    live: Live | None = None
    log_done: Signature | None = None
    """The log as it was when its row was written."""


class Memo:
    """The file of one folder and project."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        place = hashlib.sha256(f"{settings.server}\0{folder}".encode()).hexdigest()[:16]
        self._path = state_dir() / "autoresearch" / settings.project / f"{place}.json"
        self.facts = self._read()

    def save(self) -> None:
        """Write it, whole or not at all; where there is no room for it, go on without."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = self._path.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(msgspec.json.encode(self.facts))
            fresh.replace(self._path)

    def _read(self) -> Facts:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(self._path.read_bytes(), type=Facts)
        return Facts()
