"""Which sessions a command is for: those that are named, or all that the options leave."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracecraft_cli.options import DURATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.transcripts.finder import Found

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
