"""What is recorded on this machine and not delivered: the SDK's spool, and the books of one-shot commands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft.recording.spool import spools  # noqa: TID253 - commands import this module when they run
from tracecraft.recording.takeover import deliver_spools  # noqa: TID253
from tracecraft_cli.amounts import counted
from tracecraft_cli.replay.wording import short
from tracecraft_cli.run_book import RunBook, all_books
from tracecraft_core.quotation import neutral

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from tracecraft_core.bus import Bus
    from tracecraft_core.destination import Destination
    from tracecraft_core.settings import Settings

SHOWN: Final = 3
"""Projects and buses of which `summary` tells."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one writer has recorded."""

    project: str
    run: str
    agent: str
    events: int
    uploads: int
    bytes: int
    since: float | None
    """Seconds since 1970."""
    alive: bool
    """Its process lives and delivers it."""
    folder: str
    destination: Destination | None
    """The bus that they are for; ``None`` where that was not noted."""

    def as_json(self) -> dict[str, Any]:
        """For ``spool status``."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "destination"}
        goal = self.destination
        return plain | {"server": goal.server if goal else "", "stack": goal.stack if goal else ""}

    def reached_by(self, settings: Settings) -> bool:
        """Whether they are for the bus of these settings."""
        return self.destination is None or self.destination.reached_by(settings)

    def reason(self, settings: Settings) -> str:
        """Why it waits."""
        if self.destination is None or self.reached_by(settings):
            return "recorded while the bus could not be reached"
        return f"recorded for {self.destination.words()}"

    def remedy(self, settings: Settings) -> str:
        """Who delivers it, or what does."""
        if self.alive:
            return "its process"
        flush, goal = f"tracecraft spool flush -p {self.project}", self.destination
        if goal is None or self.reached_by(settings):
            return f"'{flush}'"
        if goal.stack:
            return f"'tracecraft serve', then '{flush}'"
        return f"'{flush} --server {goal.server}'"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of it."""

    run: str
    agent: str
    events: int
    uploads: int
    lost: int
    dropped: int
    """Records that had no room in the spool."""
    problem: str | None
    """Why some of it is still here."""

    def as_json(self) -> dict[str, Any]:
        """For ``spool flush``."""
        return {name: getattr(self, name) for name in self.__slots__}

    def text(self) -> str:
        """One line."""
        words = [
            f"{self.run}  {self.agent}  {counted(self.events, 'event')}, {counted(self.uploads, 'file')} delivered"
        ]
        words += [f"{self.lost} lost"] if self.lost else []
        words += [f"{self.dropped} dropped"] if self.dropped else []
        words += [f"the rest waits: {short(self.problem)}"] if self.problem else []
        return "; ".join(words)


def elsewhere(settings: Settings) -> list[str]:
    """What a flush of this project leaves: that of other projects and other buses, with what delivers it."""
    found: dict[tuple[str, str], list[Waiting]] = {}
    for one in waiting():
        if (one.events or one.uploads) and (one.project != settings.project or not one.reached_by(settings)):
            found.setdefault((one.project, one.remedy(settings)), []).append(one)
    return [
        f"project {neutral(project)}: {_amount(each)}, {neutral(remedy)} delivers it"
        for (project, remedy), each in sorted(found.items())
    ]


def summary(settings: Settings) -> str:
    """What dead processes have left on this machine, why, and what delivers it, in one line; empty for nothing."""
    found: dict[tuple[str, str, str], list[Waiting]] = {}
    for one in waiting():
        if not one.alive and (one.events or one.uploads):
            found.setdefault((one.project, one.reason(settings), one.remedy(settings)), []).append(one)
    words = [
        neutral(f"{_amount(each)} of project {project} wait on this machine, {reason}: {remedy}")
        for (project, reason, remedy), each in sorted(found.items())
    ]
    more = [f"{len(words) - SHOWN} more: 'tracecraft spool status'"] if len(words) > SHOWN else []
    return "; ".join(words[:SHOWN] + more)


def of_run(project: str, run: str, writers: Collection[str]) -> str:
    """What waits here of a run and of these writers, in words; empty when nothing does."""
    found = [
        one
        for one in waiting()
        if one.project == project
        and (one.run == run or Path(one.folder).name in writers)
        and (one.events or one.uploads)
    ]
    if not found:
        return ""
    who = (
        "its process delivers it"
        if all(one.alive for one in found)
        else f"'tracecraft spool flush -p {project}' delivers it"
    )
    return f"on this machine waits {_amount(found)} of it: {who}"


def _amount(found: Sequence[Waiting]) -> str:
    return f"{counted(sum(one.events for one in found), 'event')}, {counted(sum(one.uploads for one in found), 'file')}"


def waiting() -> list[Waiting]:
    """Everything that waits, of all projects."""
    found = [
        Waiting(
            project=one.project,
            run=one.run,
            agent=one.agent,
            events=one.events,
            uploads=one.uploads,
            bytes=one.bytes,
            since=one.since,
            alive=one.alive,
            folder=str(one.folder),
            destination=one.destination,
        )
        for one in spools()
        if one.events or one.uploads or not one.alive
    ]
    for book in all_books():
        events, size, since = book.waiting()
        if events:
            found.append(
                Waiting(
                    project=book.project,
                    run=book.run,
                    agent=book.agent,
                    events=events,
                    uploads=0,
                    bytes=size,
                    since=since,
                    alive=False,
                    folder=str(book.folder),
                    destination=book.destination,
                )
            )
    return found


def _is_for(book: RunBook, address: str | None) -> bool:
    goal = book.destination
    return goal is not None and goal.server == address


async def deliver(
    settings: Settings, bus: Bus, timeout: float, recorded_for: str | None = None
) -> AsyncIterator[Delivered]:
    """Deliver what waits of a project for this bus, or was recorded for that address. Raises `BusUnreachable`."""
    for book in list(all_books()):
        events, _, _ = book.waiting()
        if events and book.project == settings.project and (book.reached_by(settings) or _is_for(book, recorded_for)):
            written = await book.deliver(bus)
            yield Delivered(book.run, book.agent, events - written.waiting, 0, 0, 0, written.reason or None)
    with contextlib.suppress(FileNotFoundError):
        for taken in await deliver_spools(
            settings, project=settings.project, timeout=timeout, strict=True, recorded_for=recorded_for
        ):
            yield Delivered(
                run=taken.run,
                agent=taken.agent,
                events=taken.events,
                uploads=taken.uploads,
                lost=taken.lost,
                dropped=taken.dropped,
                problem=taken.problem,
            )
