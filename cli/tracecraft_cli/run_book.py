"""The book of one writer: the events that one-shot commands of an agent write into a run, numbered without holes.

Every event is entered with its number before it is published and crossed out when the bus has it. So a command that is
killed, or finds no bus, loses nothing: the next one delivers what is left, under the same ids, in order.
"""

from __future__ import annotations

import asyncio  # noqa: TID253 - commands import this module when they run
import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_cli.current_run import runs_folders
from tracecraft_core import bodies, ids, subjects
from tracecraft_core.destination import Destination
from tracecraft_core.errors import BodyTooLarge, BusUnreachable, OutcomeUnknown, TracecraftError, UsageError
from tracecraft_core.settings import state_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from tracecraft_core.bus import Bus
    from tracecraft_core.settings import Settings

_LINES: Final = ".jsonl"
_GOAL: Final = "bus"
"""File in a book's folder: the bus that its events are for."""
LOOK_S: Final = 0.01
"""Seconds between two looks whether another command is through with a book."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run: its name, ``metric``, and its body."""

    name: str
    body: bodies.Body


class _Line(msgspec.Struct, frozen=True):
    """An event that the bus may not have yet."""

    number: int
    subject: str
    body: msgspec.Raw


class _Head(msgspec.Struct):
    """The writer that the next command goes on with."""

    writer: str
    number: int = 0
    """Of its last event."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of events."""

    waiting: int
    """How many the bus does not have yet, earlier ones included."""
    reason: str = ""
    """Why they wait."""


class RunBook:
    """What one agent on this machine writes into one run by single commands."""

    def __init__(self, place: Path, run: str, agent: str, goal: Destination | None = None) -> None:
        """``place`` is `current_run.runs_folder` of a project; ``goal`` is the bus that what is written is for."""
        self.project, self.run, self.agent = place.name, run, agent
        self.folder = place / "writers" / f"{run}={agent}"
        self._goal = goal
        self._confirmed: dict[str, int] = {}
        """By writer, the number of the newest event that the bus has confirmed."""

    @classmethod
    def of(cls, settings: Settings, run: str) -> RunBook:
        """Of the agent of these settings."""
        goal = Destination.of(settings)
        known = [cls(place, run, settings.agent, goal) for place in runs_folders(settings)]
        return next((book for book in known if book.folder.is_dir() and book.reached_by(settings)), known[0])

    @property
    def destination(self) -> Destination | None:
        """The bus that the events are for; ``None`` where that was not noted."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self.folder / _GOAL).read_bytes(), type=Destination)
        return None

    def reached_by(self, settings: Settings) -> bool:
        """Whether a connection with these settings leads to the bus that the events are for."""
        goal = self.destination
        return goal.reached_by(settings) if goal else self.folder.parents[1] in runs_folders(settings)

    @property
    def begun(self) -> bool:
        """Whether the agent has written into the run before, and has not ended it or left."""
        return (self.folder / "head").exists()

    async def write(self, bus: Bus | None, events: Sequence[Event], *, first: Event, last: bool = False) -> Written:
        """Enter events and publish all that waits; with ``last`` the writer writes no more.

        ``first`` comes before them when the agent has not written into the run yet. Raises `BodyTooLarge` and what
        `Bus.publish` does when the server refuses; then nothing of this is entered.
        """
        async with self._locked():
            head = self._head()
            lines = self._numbered(head, [*([] if head.number else [first]), *events])
            book = self.folder / f"{head.writer}{_LINES}"
            self._note_goal()
            before = _enter(book, lines)
            self._set_head(None if last else msgspec.structs.replace(head, number=head.number + len(lines)))
            try:
                return await self._deliver(bus)
            except TracecraftError:  # refused: cross out what the bus does not have
                os.truncate(book, before)
                self._set_head(
                    msgspec.structs.replace(head, number=max(head.number, self._confirmed.get(head.writer, 0)))
                )
                raise

    async def deliver(self, bus: Bus | None) -> Written:
        """Publish what waits."""
        async with self._locked():
            return await self._deliver(bus)

    def waiting(self) -> tuple[int, int, float | None]:
        """How many events wait, their bytes, and since when (seconds since 1970)."""
        found = [(len(_read(book)), book.stat()) for book in self._books()]
        since = min((stat.st_mtime for _, stat in found), default=None)
        return sum(number for number, _ in found), sum(stat.st_size for _, stat in found), since

    async def _deliver(self, bus: Bus | None) -> Written:
        reason = "" if bus else "the bus cannot be reached"
        for book in self._books():
            lines = _read(book)
            if bus is not None and not reason:
                try:
                    for line in lines:
                        await bus.publish(line.subject, bytes(line.body), msg_id=f"{book.stem}:{line.number}")
                        self._confirmed[book.stem] = line.number
                    book.unlink()
                except (BusUnreachable, OutcomeUnknown) as error:
                    reason = str(error)
        left = sum(len(_read(book)) for book in self._books())
        if not left and not self.begun:
            self._remove()
        return Written(left, reason if left else "")

    def _numbered(self, head: _Head, events: Sequence[Event]) -> list[_Line]:
        lines = []
        for number, event in enumerate(events, head.number + 1):
            subject, body = subjects.run_event(self.project, self.run, self.agent, event.name), _clean(event)
            if len(body) > subjects.MAX_BODY_BYTES:
                raise BodyTooLarge(f"the event {event.name}", len(body), subjects.MAX_BODY_BYTES)
            lines.append(_Line(number, subject, msgspec.Raw(body)))
        return lines

    def _head(self) -> _Head:
        """The writer to go on with; a command that was killed may have entered more than it says."""
        try:
            head = msgspec.json.decode((self.folder / "head").read_bytes(), type=_Head)
        except (OSError, msgspec.MsgspecError):
            return _Head(ids.fresh())
        entered = _read(self.folder / f"{head.writer}{_LINES}")
        head.number = max([head.number, *(line.number for line in entered)])
        return head

    def _note_goal(self) -> None:
        path = self.folder / _GOAL
        if self._goal is not None and not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(self._goal))
            fresh.replace(path)

    def _set_head(self, head: _Head | None) -> None:
        path = self.folder / "head"
        if head is None or not head.number:
            path.unlink(missing_ok=True)
            return
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(head))
        fresh.replace(path)

    def _books(self) -> list[Path]:
        """Those of writers that have ended first."""
        with contextlib.suppress(OSError):
            return sorted(self.folder.glob(f"*{_LINES}"), key=lambda book: book.stat().st_mtime_ns)
        return []

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Alone with the book: commands of one agent write one after another."""
        lock = await self._lock()
        try:
            yield
        finally:
            os.close(lock)

    async def _lock(self) -> int:
        while True:
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # it was removed in between
            except OSError as error:
                raise UsageError(
                    f"{self.folder} cannot be used ({error.strerror}): set XDG_STATE_HOME to one that can be written"
                ) from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                await asyncio.sleep(LOOK_S)  # waiting in a thread could not be given up
                continue
            if os.fstat(lock).st_nlink:
                return lock
            os.close(lock)

    def _remove(self) -> None:
        """A run that is over leaves nothing behind."""
        with contextlib.suppress(OSError):
            (self.folder / _GOAL).unlink(missing_ok=True)
            (self.folder / "lock").unlink()
            self.folder.rmdir()


def books(settings: Settings, run: str | None = None) -> Iterator[RunBook]:
    """The books of all agents on this machine, of one run or of all of a project."""
    first, *others = runs_folders(settings)
    for place in (first, *others):
        for book in _inside(place, Destination.of(settings)):
            if run in (None, book.run) and (place == first or book.reached_by(settings)):
                yield book


def all_books() -> Iterator[RunBook]:
    """The books of all projects on all buses."""
    for place in sorted((state_dir() / "runs").glob("*/*")):
        yield from _inside(place)


def _inside(place: Path, goal: Destination | None = None) -> Iterator[RunBook]:
    with contextlib.suppress(OSError):
        for folder in sorted((place / "writers").iterdir()):
            run, _, agent = folder.name.partition("=")
            yield RunBook(place, run, agent, goal)


def _clean(event: Event) -> bytes:
    """The body without secrets; a metric has no place for one."""
    body = bodies.encode(event.body)
    if event.name == "metric":
        return body
    from tracecraft.redaction import redact

    return redact.json(body)[0]


def _enter(book: Path, lines: Sequence[_Line]) -> int:
    """Add lines to a book, behind its last whole one; returns where they begin."""
    with book.open("ab") as file:
        whole = book.read_bytes().rfind(b"\n") + 1
        file.truncate(whole)
        file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
        return whole


def _read(book: Path) -> list[_Line]:
    """The lines of a book; the last one may be torn."""
    lines: list[_Line] = []
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        for line in book.read_bytes().splitlines():
            lines.append(msgspec.json.decode(line, type=_Line))
    return lines
