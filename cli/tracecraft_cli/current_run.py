"""Which run a command writes into: TRACECRAFT_RUN, else the run that this agent started in this folder or above it.

Else, inside of a coding agent, the run of its session. The second is a hint in the user's state folder, beside the
session and the claims of `held`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft_core import coding_session, names
from tracecraft_core.destination import Destination
from tracecraft_core.errors import UsageError
from tracecraft_core.settings import state_dir

if TYPE_CHECKING:
    from tracecraft_core.settings import Settings

VARIABLE: Final = "TRACECRAFT_RUN"


def from_environment() -> str | None:
    """The run that TRACECRAFT_RUN names. Raises `InvalidName`."""
    value = os.environ.get(VARIABLE)
    return names.run(value) if value else None


def outer_step() -> str | None:
    """The step inside of which this process was started: TRACEPARENT names it, where TRACECRAFT_RUN names its run."""
    words = os.environ.get("TRACEPARENT", "").split("-")
    if not os.environ.get(VARIABLE) or len(words) < 4 or not re.fullmatch("[0-9a-f]{16}", words[2]):
        return None
    return words[2] if words[2].strip("0") else None


def outer_trace() -> str | None:
    """The ``traceparent`` of that step."""
    return os.environ["TRACEPARENT"].strip() if outer_step() else None


def runs_folder(settings: Settings) -> Path:
    """Where this machine keeps what it learns of the runs of a project on one bus."""
    return runs_folders(settings)[0]


def runs_folders(settings: Settings) -> list[Path]:
    """Where it may have kept it: also what was begun before the stack ran, or when its server was named otherwise."""
    keys = dict.fromkeys(goal.key for goal in Destination.leading_to(settings))
    buses = [hashlib.sha256(key.encode()).hexdigest()[:12] for key in keys]
    return [state_dir() / "runs" / bus / settings.project for bus in buses]


class CurrentRun:
    """The run of one agent in one folder."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        self._agent = settings.agent
        self._who = (settings.agent, settings.project)
        self._places = [folder / "current" / settings.agent for folder in runs_folders(settings)]
        self._folder = folder or Path.cwd()

    def get(self) -> str | None:
        """TRACECRAFT_RUN, or what `set` was told last in this folder or the nearest one above it, or the session's."""
        return from_environment() or self._remembered() or self._of_session()

    def place(self) -> str | None:
        """The run and the step, ``<run>/<step>``, that what is written here belongs to."""
        run, step = self.get(), outer_step()
        return f"{run}/{step}" if run and step else run

    def need(self, given: str | None = None, *, by: str = "with --run") -> str:
        """``given``, or what `get` finds; ``by``: how the command is told. Raises `UsageError` when there is none."""
        run = names.run(given) if given else self.get()
        if run is None:
            raise UsageError(
                f"no run is current for {self._agent} in this folder: begin one with 'tracecraft run start NAME', "
                f"or name one {by} or with {VARIABLE}"
            )
        return run

    def set(self, run: str, inside: str | None = None) -> bool:
        """Make a run current here; ``False`` when there is no place to remember it.

        When it ends, ``inside`` is current again, if it was before; another run that was current here is not.
        """
        marks = self._marks(self._folder)
        stack = next((known for mark in marks if (known := self._stack(mark))), [])
        outer = stack[: stack.index(inside) + 1] if inside in stack else []
        try:
            self._places[0].mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(marks[0], [*outer, run])
            for mark in marks[1:]:
                mark.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def forget(self, run: str) -> None:
        """No longer have this run be current, in whatever folder it was."""
        for place in self._places:
            with contextlib.suppress(OSError):
                for mark in list(place.iterdir()):
                    stack = self._stack(mark)
                    if run in stack:
                        self._write(mark, [one for one in stack if one != run])

    def _of_session(self) -> str | None:
        """The run of the coding agent inside of which this is, where we act as its agent."""
        session = coding_session.find()
        return session.run if session is not None and (session.agent, session.project) == self._who else None

    def _remembered(self) -> str | None:
        if not any(place.is_dir() for place in self._places):
            return None
        for folder in (self._folder, *self._folder.parents):
            for mark in self._marks(folder):
                if stack := self._stack(mark):
                    return stack[-1]
        return None

    @staticmethod
    def _stack(mark: Path) -> list[str]:
        """The runs of a folder, each inside of the one before it; the last is current."""
        with contextlib.suppress(OSError):
            return mark.read_text(encoding="utf-8").split()
        return []

    @staticmethod
    def _write(mark: Path, stack: list[str]) -> None:
        if not stack:
            mark.unlink(missing_ok=True)
            return
        fresh = mark.with_suffix(f".{os.getpid()}")
        fresh.write_text("\n".join(stack), encoding="utf-8")
        fresh.replace(mark)

    def _marks(self, folder: Path) -> list[Path]:
        """Where the runs of a folder are noted; the first is where they are noted now."""
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        return [place / name for place in self._places]
