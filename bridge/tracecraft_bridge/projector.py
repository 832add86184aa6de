"""The projector: folds entries of the log into the tables of the projections, within the transaction of their rows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from tracecraft_bridge.prices import Prices
from tracecraft_bridge.projection import events, memory, metrics, talk, tasks
from tracecraft_bridge.projection.batch import Batch
from tracecraft_bridge.projection.loading import PLANNER, Wanted, load_buckets, load_runs, load_wanted
from tracecraft_bridge.projection.poison import Poison
from tracecraft_bridge.projection.writing import write
from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.projection.batch import RunKey
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.events import Received
    from tracecraft_bridge.projection.run_state import RunState

VERSION: Final = 1
"""Of what the projections are made of; a database with another one is rebuilt."""

REMEMBERED_RUNS: Final = 2_000
REMEMBERED_ROWS: Final = 200_000
"""About how many rows of runs stay in memory."""
WEIGHED_EVERY: Final = 32
"""Batches between two looks at how much that is."""


class Work(NamedTuple):
    """Entries between two parts of `Projector.apply`."""

    batch: Batch
    received: Sequence[Received | Entry]


class Projector:
    """Applies entries, in the order of the log; remembers runs between batches.

    One transaction at a time: hold `exclusive` from its first statement to its commit, and call `forget` when it was
    rolled back or when somebody else has written the tables.
    """

    def __init__(self) -> None:
        self.exclusive = asyncio.Lock()
        self._prices = Prices()
        self._runs: dict[RunKey, RunState] = {}
        self._batches = 0

    async def prepare(self, connection: Connection) -> None:
        """Make a connection ready, once."""
        await connection.execute(PLANNER)

    def forget(self) -> None:
        """What is in memory may not be what is in the tables."""
        self._runs.clear()

    async def apply(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Fold entries of one epoch into the tables, within the caller's transaction."""
        work = await self.load(connection, entries)
        self.fold(work)
        await self.write(connection, work)

    async def load(self, connection: Connection, entries: Sequence[Entry]) -> Work:
        """The first part of `apply`: read what the entries need of the tables."""
        batch, wanted = Batch(self._prices), Wanted()
        await self._load_runs(connection, entries)
        received = self._receive(batch, entries, wanted)
        await load_wanted(connection, batch, self._runs, wanted)
        await load_buckets(connection, self._runs, _old_buckets(received))
        return Work(batch, received)

    def fold(self, work: Work) -> None:
        """The second part: change the rows, in memory only."""
        batch = work.batch
        for each in work.received:
            if isinstance(each, events.Received):
                events.fold(batch, each)
            else:
                _fold_other(batch, each)

    async def write(self, connection: Connection, work: Work) -> None:
        """The last part: write them."""
        await write(connection, work.batch)
        self._settle(work.batch)

    async def refuse(self, connection: Connection, entry: Entry, reason: str) -> None:
        """Note an event that PostgreSQL did not take, in place of applying it."""
        if entry.parts.family != "run":
            return
        batch = Batch(self._prices)
        await self._load_runs(connection, [entry])
        run = self._runs[entry.parts.project or "", entry.parts.run or ""]
        received = events.receive(batch, run, entry)
        if received is not None:
            events.fold(batch, received._replace(event=Poison(reason)))
            await write(connection, batch)
            self._settle(batch)

    async def _load_runs(self, connection: Connection, entries: Sequence[Entry]) -> None:
        needed = {
            (entry.parts.project or "", entry.parts.run or "") for entry in entries if entry.parts.family == "run"
        }
        missing = needed - self._runs.keys()
        for key in needed - missing:  # the ones used last are the last ones to be forgotten
            self._runs[key] = self._runs.pop(key)
        if missing:
            self._runs.update(await load_runs(connection, missing))

    def _receive(self, batch: Batch, entries: Sequence[Entry], wanted: Wanted) -> list[Received | Entry]:
        found: list[Received | Entry] = []
        begun: set[tuple[str, str, str]] = set()
        for entry in entries:
            parts = entry.parts
            if parts.family == "run":
                run = self._runs[parts.project, parts.run]  # type: ignore[index]  # a run event has both
                received = events.receive(batch, run, entry)
                if received is not None:
                    found.append(received)
                    _want(wanted, received, begun)
            elif parts.project != subjects.RESERVED_PROJECT:
                found.append(entry)
                if parts.family in ("task", "agent"):
                    task = tasks.task_of(entry)
                    if task is not None:
                        wanted.tasks.add(task)
        return found

    def _settle(self, batch: Batch) -> None:
        for series in batch.series.values():
            series.settle()
        self._batches += 1
        if len(self._runs) > REMEMBERED_RUNS or self._batches % WEIGHED_EVERY == 0:
            weight = sum(run.weight for run in self._runs.values())
            for key in list(self._runs):
                if weight <= REMEMBERED_ROWS and len(self._runs) <= REMEMBERED_RUNS:
                    break
                weight -= self._runs.pop(key).weight


def _want(wanted: Wanted, received: Received, begun: set[tuple[str, str, str]]) -> None:
    """Ask for what the event needs of the tables."""
    run, entry, event = received.run, received.entry, received.event
    if event.__class__ is Poison:
        return
    match entry.parts.event:
        case events.METRIC if not run.fresh:
            for chunk in event:
                for agent in (entry.parts.agent or "", metrics.WHOLE_RUN):
                    if (chunk.key, agent) not in run.series:
                        wanted.series.add((run.project, run.run, chunk.key, agent))
        case "usage":
            if event.request is not None:
                wanted.requests.add((run.project, event.request))
        case "step.started":
            begun.add((run.project, run.run, event.step))
            if received.late:
                wanted.steps.add((run.project, run.run, event.step))
        case "step.ended" | "step.input" | "step.output":
            key = (run.project, run.run, event.step)
            if event.step not in run.open and key not in begun:
                wanted.steps.add(key)


def _old_buckets(found: Sequence[Received | Entry]) -> set[tuple[str, str, str, str, int, int]]:
    steps = metrics.Steps()
    for each in found:
        if isinstance(each, events.Received) and each.event.__class__ is list:
            steps.resolve(each.run, each.entry.parts.agent or "", each.event)
    return steps.old_buckets


def _fold_other(batch: Batch, entry: Entry) -> None:
    match entry.parts.family:
        case "msg" | "all":
            talk.on_message(batch, entry)
        case "receipt":
            talk.on_receipt(batch, entry)
        case "memory":
            memory.on_change(batch, entry)
        case "task":
            tasks.on_change(batch, entry)
        case "agent" if entry.parts.event == tasks.LOST:
            tasks.on_lost(batch, entry)
