"""A live view of tasks and leases: loaded once, then told of every change by the server, never polled.

What it shows may be an instant old, so it only says where to look and when to look again; every decision is made by
the compare-and-set of a claim.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracecraft.claims import Task
from tracecraft.leases import state_of
from tracecraft_core import bodies, names, subjects, tasks
from tracecraft_core.bodies import Lease, TaskRecord
from tracecraft_core.errors import Malformed
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tracecraft.context import Context
    from tracecraft_core.pull import Delivery

MAX_FILTERS: Final = 16
"""More tasks than this are watched by one wildcard: the server slows down with many disjoint filters."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """A lease that its owner let lapse, seen while watching."""

    task: str
    owner: str
    nonce: str


@dataclass(slots=True)
class Board:
    """Tasks and leases of a project as last heard. Make it with `watch`."""

    tasks: dict[str, Task] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    """Live leases only."""
    lapses: dict[str, Lapse] = field(default_factory=dict)
    """The last lapse of each task since the board was opened."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def matching(self, pattern: str) -> list[Task]:
        """The tasks that match, oldest change first: with `claim --next` the work that has waited longest."""
        found = [task for task in self.tasks.values() if names.matches(pattern, task.id)]
        return sorted(found, key=lambda task: task.revision)

    def claimable(self, pattern: str) -> list[Task]:
        """The tasks that a claim may well succeed on: open ones, then those whose owner let the lease lapse."""
        states = {task.id: task.record.state for task in self.tasks.values()}
        found = [task for task in self.matching(pattern) if not tasks.unmet(task.record, states)]
        opened = [task for task in found if task.record.state == "open" and task.id not in self.leases]
        lapsed = [task for task in found if task.record.state == "claimed" and task.id not in self.leases]
        return opened + lapsed

    async def next_change(self, timeout: float | None) -> bool:
        """Wait until something changes; ``False`` after ``timeout`` seconds without a change."""
        try:
            async with asyncio.timeout(timeout):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True

    def hear_task(self, context: Context, delivery: Delivery) -> None:
        """Take in a change of a task record; one that cannot be read is left out."""
        stored = delivery.stored
        task = context.key(subjects.TASKS, stored.subject)
        try:
            record = None if stored.deleted else bodies.decode(TaskRecord, stored.data, stored.subject)
        except Malformed:
            record = None
        before = self.tasks.pop(task, None)
        if record is not None:
            self.tasks[task] = Task(task, record, stored.seq, stored.time)
            taken = record.took_over_from
            if before is not None and taken is not None and before.record.nonce and before.revision == taken.fence:
                self.lapses[task] = Lapse(task, taken.owner, before.record.nonce)
        self.changed.set()

    def hear_lease(self, context: Context, delivery: Delivery) -> None:
        """Take in a change of a lease."""
        stored = delivery.stored
        task = context.key(subjects.LEASES, stored.subject)
        before, now = self.leases.pop(task, None), state_of(stored).lease
        if now is not None:
            self.leases[task] = now
        elif stored.lapsed and before is not None:
            self.lapses[task] = Lapse(task, before.owner, before.nonce)
        self.changed.set()


@contextlib.asynccontextmanager
async def watch(context: Context, wanted: Sequence[str]) -> AsyncIterator[Board]:
    """A board of the tasks that match any of ``wanted`` (ids or patterns), loaded, and live until the block ends."""
    board = Board()
    patterns = list(wanted) if len(wanted) <= MAX_FILTERS and not _overlap(wanted) else [">"]
    async with contextlib.AsyncExitStack() as stack:
        for bucket, hear in ((subjects.TASKS, board.hear_task), (subjects.LEASES, board.hear_lease)):
            filters = [subjects.kv_subject(bucket, context.project, pattern) for pattern in patterns]
            puller = Puller(context.bus, subjects.kv_stream(bucket), watcher_config(filters))
            await stack.enter_async_context(puller)
            await _load(context, puller, hear)
            stack.push_async_callback(stop, asyncio.create_task(_listen(context, puller, hear)))
        board.changed.clear()
        yield board


def _overlap(wanted: Sequence[str]) -> bool:
    """The server refuses filters that overlap; wildcards beside others may."""
    return len(wanted) > 1 and (any("*" in item or ">" in item for item in wanted) or len(set(wanted)) < len(wanted))


async def _load(context: Context, puller: Puller, hear: Callable[[Context, Delivery], None]) -> None:
    async for delivery in puller.backlog():
        hear(context, delivery)


async def _listen(context: Context, puller: Puller, hear: Callable[[Context, Delivery], None]) -> None:
    async for delivery in puller:
        hear(context, delivery)


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a background task and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
