"""What is recorded on this machine and not delivered: the SDK's spool, and the books of one-shot commands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracecraft.recording.spool import spools  # noqa: TID253 - commands import this module when they run
from tracecraft.recording.takeover import deliver_spools  # noqa: TID253
from tracecraft_cli.replay.wording import short
from tracecraft_cli.run_book import all_books, books
from tracecraft_cli.runs_view.numbers import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from tracecraft_core.bus import Bus
    from tracecraft_core.settings import Settings


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

    def as_json(self) -> dict[str, Any]:
        """For ``spool status``."""
        return {name: getattr(self, name) for name in self.__slots__}


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


def elsewhere(project: str) -> list[str]:
    """What waits for other projects, a line each, with the command that delivers it."""
    found: dict[str, list[Waiting]] = {}
    for one in waiting():
        if one.project != project and (one.events or one.uploads):
            found.setdefault(one.project, []).append(one)
    return [
        f"project {name}: {_amount(each)}, 'tracecraft spool flush -p {name}' delivers it"
        for name, each in sorted(found.items())
    ]


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
        )
        for one in spools()
        if one.events or one.uploads or not one.alive
    ]
    for book in all_books():
        events, size, since = book.waiting()
        if events:
            found.append(Waiting(book.project, book.run, book.agent, events, 0, size, since, False, str(book.folder)))
    return found


async def deliver(settings: Settings, bus: Bus, timeout: float) -> AsyncIterator[Delivered]:
    """Deliver what waits of a project. Raises `BusUnreachable`."""
    for book in list(books(settings)):
        events, _, _ = book.waiting()
        if events:
            written = await book.deliver(bus)
            yield Delivered(book.run, book.agent, events - written.waiting, 0, 0, 0, written.reason or None)
    with contextlib.suppress(FileNotFoundError):
        for taken in await deliver_spools(settings, project=settings.project, timeout=timeout):
            yield Delivered(
                run=taken.run,
                agent=taken.agent,
                events=taken.events,
                uploads=taken.uploads,
                lost=taken.lost,
                dropped=taken.dropped,
                problem=taken.problem,
            )
