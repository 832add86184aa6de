"""Which sessions a command is for: those that are named, or all that the options leave."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracecraft_cli.options import DURATION
from tracecraft_cli.output import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.transcripts.finder import Found
    from tracecraft_core.settings import Settings

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options said."""

    every: bool
    since: float | None
    """Seconds."""
    sources: tuple[str, ...]
    folder: Path | None

    @property
    def given(self) -> bool:
        """Whether they say anything."""
        return self.every or bool(self.sources) or self.since is not None or self.folder is not None

    def words(self) -> str:
        """What is looked for, as it was understood: ``session of codex that changed in the last 2 h 0 m``."""
        from tracecraft_cli.runs_view import numbers

        sources = f"session of {' or '.join(self.sources)}" if self.sources else "session"
        since = "" if self.since is None else f"changed in the last {numbers.duration(self.since)}"
        folder = "" if self.folder is None else f"worked in {self.folder}"
        limits = " and ".join(limit for limit in (since, folder) if limit)
        return f"{sources} that {limits}" if limits else sources

    def find(self) -> list[Found]:
        """The sessions on this machine that they leave, the newest first."""
        import time

        from tracecraft.transcripts import finder, folders
        from tracecraft.transcripts.sources import SOURCES, checked

        sources = tuple(checked(source) for source in self.sources) or SOURCES
        found = finder.find(sources)
        if self.since is not None:
            found = [one for one in found if one.changed >= time.time() - self.since]
        if self.folder is not None:
            found = [one for one in found if folders.inside(one, self.folder)]
        return found


class Elsewhere:
    """The sessions that another project has: they are mirrored twice only if they are named."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, str] = {}

    def leave(self, found: list[Found]) -> list[Found]:
        """Those that no other project has; of the others people are told, once."""
        left = []
        for one in found:
            if one.run not in self._known and not self._look(one.run):
                left.append(one)
        return left

    def _look(self, run: str) -> bool:
        from tracecraft.transcripts import checkpoint

        project = checkpoint.elsewhere(self._settings.project, self._settings.server, run)
        if project is not None:
            self._known[run] = project
            note(f"tracecraft: {run} is mirrored into project {project} already: name it to have it here too")
        return project is not None


def choice_options(function: Callable[..., _R]) -> Callable[..., _R]:
    """Declare them; the command gets a `Choice` as ``choice``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> _R:
        said = Choice(kwargs.pop("every"), kwargs.pop("since"), kwargs.pop("source"), kwargs.pop("folder"))
        return function(*args, choice=said, **kwargs)

    path = click.Path(file_okay=False, path_type=Path)
    for declare in (
        click.option("--folder", type=path, metavar="PATH", help="Only sessions that worked in this folder."),
        click.option(
            "--source",
            multiple=True,
            type=click.Choice(["claude", "codex", "hermes", "openclaw"]),
            help="Only of this coding agent; repeatable.",
        ),
        click.option("--since", type=DURATION, metavar="TIME", help="Only sessions that changed so long ago: 2d."),
        click.option("--all", "every", is_flag=True, help="All sessions on this machine."),
    ):
        wrapper = declare(wrapper)
    return wrapper
