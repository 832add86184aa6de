"""A tape: the moments of a run in the order of the log, loaded page by page from a server or a bundle."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracecraft_cli.replay.axis import LOOK, axis, zero
from tracecraft_cli.replay.moment import moment
from tracecraft_cli.replay.steps import Steps
from tracecraft_cli.replay.totals import Calls
from tracecraft_cli.replay.wording import SHOWN
from tracecraft_core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tracecraft_cli.replay.moment import Moment
    from tracecraft_cli.replay.where import Where
    from tracecraft_core.queries import Entry, State


SLICE: Final = 250
"""Entries that are taken in without a pause, so that a screen answers meanwhile."""


class Source(Protocol):
    """Where a tape comes from."""

    project: str
    run: str
    """Id of the run."""
    title: str
    """The run's name."""
    about: dict[str, Any]
    """What is known of the run before its entries: status, agents, counts, cost."""

    @property
    def first_seq(self) -> int:
        """Of the first entry."""
        ...

    @property
    def last_seq(self) -> int:
        """Of the last entry."""
        ...

    def pages(self) -> AsyncIterator[Sequence[Entry]]:
        """The run's entries in order, a page at a time."""
        ...

    async def entry(self, seq: int) -> Entry:
        """One entry, whole. Raises `NotFound`."""
        ...

    async def state(self, seq: int) -> State:
        """Everything as it was after the entry ``seq``."""
        ...

    async def state_at(self, where: Where) -> State:
        """Everything as it was there. Raises `NotFound`, and `UsageError` for what lies outside of the run."""
        ...

    async def blob(self, sha256: str) -> bytes:
        """A value that lies in the artifact store. Raises `NotFound` where it cannot be had."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


class Tape:
    """Moments in order; those that are not loaded yet come by `more`."""

    def __init__(self, source: Source) -> None:
        import asyncio

        self.source = source
        self.moments: list[Moment] = []
        self.agents: dict[str, list[int]] = {}
        """Positions of each agent's moments, agents in the order of their appearance."""
        self.errors: list[int] = []
        """Positions of the errors."""
        self.steps = Steps()
        self._calls = Calls()
        self._zero: int | None = None
        self._names: dict[str, str] = {}
        """Of the runs inside of the run."""
        self._outputs: dict[tuple[str | None, str | None], list[int]] = {}
        """Places of the outputs of open steps whose time nobody said."""
        self.whole = False
        """Everything is loaded."""
        self._pages: AsyncIterator[Sequence[Entry]] | None = None
        self._loading = asyncio.Lock()
        self._watchers: list[Callable[[Sequence[Moment], Sequence[Entry]], None]] = []

    @property
    def zero(self) -> int:
        """Microseconds since 1970 from which offsets are counted: when the run began, or its first moment happened."""
        return self._zero if self._zero is not None else self.moments[0].time if self.moments else 0

    async def begin(self) -> None:
        """Load as much as tells `zero`."""
        await self.load(lambda: len(self.moments) >= LOOK)

    def watch(self, watcher: Callable[[Sequence[Moment], Sequence[Entry]], None]) -> None:
        """Tell each page that is loaded from now on, with its moments."""
        self._watchers.append(watcher)

    def add(self, entries: Sequence[Entry]) -> None:
        """Append a page."""
        first = len(self.moments)
        for entry in entries:
            self._append(self._named(moment(entry)), entry)
        if first < LOOK:
            self._zero = zero(self.moments, self.source.run)
        for watcher in self._watchers:
            watcher(self.moments[first:], entries)

    def _named(self, new: Moment) -> Moment:
        """A run inside of the run is told apart by its name."""
        if new.kind != "run" or new.run in (None, self.source.run):
            return new
        if new.event == "started":
            self._names.setdefault(str(new.run), new.name)
            return new
        name = self._names.get(str(new.run)) or str(new.run)
        return dataclasses.replace(new, text=new.text.replace("run", f"run {name}", 1)[:SHOWN])

    def _append(self, new: Moment, entry: Entry) -> None:
        place = len(self.moments)
        body = entry.body if isinstance(entry.body, dict) else {}
        if new.kind == "data" and not body.get("time"):
            new = self._placed(new, place)
        self.moments.append(new)
        if new.agent:
            self.agents.setdefault(new.agent, []).append(place)
        if new.error:
            self.errors.append(place)
        self.steps.add(new, entry, counts=self._calls.counts(new, body))
        if new.event == "step.ended":
            self._settle(new)

    def _placed(self, new: Moment, place: int) -> Moment:
        """Of a writer that does not say when: what goes into a step stands at its start, what comes out at its end."""
        span = self.steps.get(new.run, new.step)
        if span is None:
            return new
        if new.event == "step.input":
            return dataclasses.replace(new, time=span.start)
        if span.end is not None:
            return dataclasses.replace(new, time=min(new.time, span.end))
        self._outputs.setdefault((new.run, new.step), []).append(place)
        return new

    def _settle(self, ended: Moment) -> None:
        """The step has ended: so had what came out of it."""
        for place in self._outputs.pop((ended.run, ended.step), ()):
            known = self.moments[place]
            self.moments[place] = dataclasses.replace(known, time=min(known.time, ended.time))

    async def more(self) -> bool:
        """Load one more page; false when there is none."""
        import asyncio

        async with self._loading:
            if self.whole:
                return False
            if self._pages is None:
                self._pages = self.source.pages()
            try:
                page = await anext(self._pages)
            except StopAsyncIteration:
                self.whole = True
                return False
            for start in range(0, len(page), SLICE):
                self.add(page[start : start + SLICE])
                await asyncio.sleep(0)
            return True

    async def load(self, enough: Callable[[], bool] | None = None) -> None:
        """Load until ``enough``, or everything."""
        while (enough is None or not enough()) and await self.more():
            pass

    def position(self, seq: int) -> int:
        """Place of the entry ``seq``, or of the next one; the number of moments when all are before it."""
        return bisect_left(self.moments, seq, key=_seq)

    async def seek(self, where: Where) -> int:
        """Place of the first moment from there on, or of the last one. Raises `NotFound` for a step."""
        if where.offset is not None:
            printed, later = await self._at_offset(where)
            return self._inside(printed[0] if printed else later)
        if where.needs_start:
            await self.load(lambda: bool(self.moments))
            where = where.since(self.moments[0].stored if self.moments else 0, first=True)
        if where.step is not None:
            step = where.step
            await self.load(lambda: self.steps.by_id(step) is not None)
            span = self.steps.by_id(step)
            if span is None:
                raise NotFound("step", step)
            return self.position(span.first_seq)
        if where.time is not None:
            time = where.time
            await self.load(lambda: bool(self.moments) and self.moments[-1].stored >= time)
            found = (place for place, one in enumerate(self.moments) if one.stored >= time)
            return self._inside(next(found, len(self.moments)))
        seq = where.seq or 0
        await self.load(lambda: bool(self.moments) and self.moments[-1].seq >= seq)
        return self._inside(self.position(seq))

    async def until(self, where: Where) -> int:
        """Sequence of the newest moment up to an offset: the one that is printed with it, else what was before."""
        printed, later = await self._at_offset(where)
        place = printed[-1] if printed else later - 1
        return self.moments[place].seq if place >= 0 else self.source.first_seq - 1

    async def _at_offset(self, where: Where) -> tuple[list[int], int]:
        """Places of the moments that are printed with an offset, and that of the first later one in the run's time."""
        await self.load()
        first, last = (self.zero + bound for bound in where.offsets)
        printed = [place for place, one in enumerate(self.moments) if first <= one.time <= last]
        times = axis(self.moments).times
        return printed, next((place for place, time in enumerate(times) if time > last), len(times))

    def _inside(self, place: int) -> int:
        return max(0, min(place, len(self.moments) - 1))

    async def following(self, place: int, agent: str | None = None) -> int | None:
        """The next moment behind ``place``, of one agent or of any."""
        if agent is None:
            await self.load(lambda: len(self.moments) > place + 1)
            return place + 1 if place + 1 < len(self.moments) else None
        return await self._behind(place, lambda: self.agents.get(agent, []))

    def preceding(self, place: int, agent: str | None = None) -> int | None:
        """The moment before ``place``, of one agent or of any."""
        if agent is None:
            return place - 1 if place > 0 else None
        places = self.agents.get(agent, [])
        before = bisect_left(places, place)
        return places[before - 1] if before else None

    async def next_error(self, place: int) -> int | None:
        """The next error behind ``place``."""
        return await self._behind(place, lambda: self.errors)

    def previous_error(self, place: int) -> int | None:
        """The error before ``place``."""
        before = bisect_left(self.errors, place)
        return self.errors[before - 1] if before else None

    async def _behind(self, place: int, places: Callable[[], list[int]]) -> int | None:
        await self.load(lambda: bool(places()) and places()[-1] > place)
        found = bisect_right(places(), place)
        return places()[found] if found < len(places()) else None

    async def search(self, words: str, place: int) -> int | None:
        """The next moment behind ``place`` whose line, agent or name holds the words; from the start at the end."""
        wanted = words.casefold()
        at = place + 1
        while True:
            while at < len(self.moments):
                if matches(self.moments[at], wanted):
                    return at
                at += 1
            if not await self.more():
                break
        return next((at for at in range(min(place + 1, len(self.moments))) if matches(self.moments[at], wanted)), None)


def matches(moment: Moment, wanted: str) -> bool:
    """Whether a moment's line, agent, name or step holds the words, which are case-folded."""
    return any(wanted in text.casefold() for text in (moment.text, moment.agent, moment.name, moment.step or ""))


def _seq(moment: Moment) -> int:
    return moment.seq
