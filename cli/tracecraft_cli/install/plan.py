"""What an install will do, before it does it: files to write and remove, commands of the coding agent to run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Write:
    """A file as it should be."""

    path: Path
    content: bytes
    mode: int | None = None
    """``None``: the mode that the file has, and 644 for a new one."""
    precious: bool = False
    """It is not ours alone: what was there is kept as a backup, and the lines that change are shown."""


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, or an empty folder, of ours that is not needed any more."""

    path: Path


@dataclass(frozen=True, slots=True)
class Run:
    """A command of the coding agent, which writes its own files best."""

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Where the coding agent's settings are, and how to have it write others in their place."""

    settings: Path
    """The file that its commands change."""
    environment: Mapping[str, str]
    """Variables that lead it to a folder in which it rehearses; ``{folder}`` stands for that folder."""
    reads: tuple[str, ...]
    """What it reads of its own folder when it does, the file among them."""
    form: Literal["json", "toml"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it, in the order in which it is done: files, commands, then what is removed."""

    title: str
    writes: tuple[Write, ...] = ()
    runs: tuple[Run, ...] = ()
    removes: tuple[Remove, ...] = ()
    rehearsal: Rehearsed | None = None
    left: tuple[str, ...] = field(default=())
    """What only the person can do: trust is not ours to give."""

    def __bool__(self) -> bool:
        return bool(self.writes or self.runs or self.removes)
