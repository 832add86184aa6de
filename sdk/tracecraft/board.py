"""A live view of tasks and leases: loaded once, then told of every change by the server, never polled.

What it shows may be an instant old, so it only says where to look and when to look again; every decision is made by
the compare-and-set of a claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracecraft.claims import Task
from tracecraft.leases import state_of
from tracecraft_core import bodies, names, reservations, subjects
from tracecraft_core.bodies import Lease, TaskRecord
from tracecraft_core.errors import Malformed, TracecraftError
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

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
    takeovers: dict[str, Lapse] = field(default_factory=dict)
    """The first takeover of each task after a lapse since the board was opened: the thief's record proves it."""
    unreadable: dict[str, Malformed] = field(default_factory=dict)
    """Records that cannot be understood, and why."""
    failure: TracecraftError | None = None
    """Why nothing is heard any more."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    heard: dict[str, int] = field(default_factory=dict)
    """The newest sequence that was heard of each bucket."""
    _views: list[Board] = field(default_factory=list)
    _listening: list[Puller] = field(default_factory=list)

    def silent_for(self) -> float:
        """Seconds since the server was last heard; it gives a sign of life every second."""
        return max((puller.silent_for for puller in self._listening), default=0.0)

    def listen_to(self, puller: Puller) -> None:
        """Count the silence of a consumer."""
        self._listening.append(puller)

    def matching(self, pattern: str) -> list[Task]:
        """The tasks that match, oldest change first: with `claim --next` the work that has waited longest."""
        found = [task for task in self.tasks.values() if reservations.listed(pattern, task.id)]
        return sorted(found, key=lambda task: task.revision)

    def claimable(self, pattern: str) -> list[Task]:
        """The tasks that a claim may well succeed on: open ones, then those whose owner let the lease lapse."""
        work = [task for task in self.tasks.values() if not reservations.is_reservation(task.id)]
        free = [task for task in work if self._is_free(task) and names.matches(pattern, task.id)]
        # Open ones first; among equals the oldest change.
        return sorted(free, key=lambda task: (task.record.state != "open", task.revision))

    def _is_free(self, task: Task) -> bool:
        return task.record.state in ("open", "claimed") and task.id not in self.leases and self._is_ready(task)

    def _is_ready(self, task: Task) -> bool:
        return all(before in self.tasks and self.tasks[before].record.state == "done" for before in task.record.after)

    def may_be_claimed(self, task: str) -> bool:
        """Whether a claim is worth a try: nobody is seen to hold the task, and it waits for nothing."""
        known = self.tasks.get(task)
        return task not in self.leases and (known is None or known.record.state == "done" or self._is_ready(known))

    async def next_change(self, timeout: float | None) -> bool:
        """Wait until something changes; ``False`` after ``timeout`` seconds without a change.

        Raises what the server said when it no longer lets us watch.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        if self.failure is not None:
            raise self.failure
        return True

    @contextlib.contextmanager
    def view(self) -> Iterator[Board]:
        """The same board for one of several who watch it: each waits for changes by itself."""
        view = Board(
            self.tasks, self.leases, self.lapses, self.takeovers, self.unreadable, self.failure, heard=self.heard
        )
        self._views.append(view)
        try:
            yield view
        finally:
            self._views = [other for other in self._views if other is not view]

    def touch(self, failure: TracecraftError | None = None) -> None:
        """Wake everybody who waits for a change; with ``failure`` for the last time."""
        for board in (self, *self._views):
            board.failure = failure or board.failure
            board.changed.set()

    def hear_task(self, context: Context, delivery: Delivery) -> None:
        """Take in a change of a task record; one that cannot be read is kept apart."""
        stored = delivery.stored
        task = context.key(subjects.TASKS, stored.subject)
        self.unreadable.pop(task, None)
        try:
            record = None if stored.deleted else bodies.decode(TaskRecord, stored.data, stored.subject)
        except Malformed as error:
            record, self.unreadable[task] = None, error
        before = self.tasks.pop(task, None)
        if record is not None:
            self.tasks[task] = Task(task, record, stored.seq, stored.time)
            taken = record.took_over_from
            if before is not None and taken is not None and before.record.nonce and before.revision == taken.fence:
                self.lapses[task] = Lapse(task, taken.owner, before.record.nonce)
                self.takeovers.setdefault(task, self.lapses[task])
        self.heard[subjects.TASKS] = stored.seq
        self.touch()

    def hear_lease(self, context: Context, delivery: Delivery) -> None:
        """Take in a change of a lease."""
        stored = delivery.stored
        task = context.key(subjects.LEASES, stored.subject)
        before, now = self.leases.pop(task, None), state_of(stored).lease
        if now is not None:
            self.leases[task] = now
        elif stored.lapsed and before is not None:
            self.lapses[task] = Lapse(task, before.owner, before.nonce)
        self.heard[subjects.LEASES] = stored.seq
        self.touch()

    def keep_leases(self, alive: Collection[str]) -> None:
        """Take in which leases there still are: the marker of one that lapsed long ago is gone too."""
        for task in [task for task in self.leases if task not in alive]:
            lease = self.leases.pop(task)
            self.lapses[task] = Lapse(task, lease.owner, lease.nonce)
        self.touch()


@contextlib.asynccontextmanager
async def watch(context: Context, wanted: Sequence[str]) -> AsyncIterator[Board]:
    """A board of the tasks that match any of ``wanted`` (ids or patterns), loaded, and live until the block ends."""
    board = Board()
    patterns = list(wanted) if len(wanted) <= MAX_FILTERS and not _overlap(wanted) else [">"]
    async with contextlib.AsyncExitStack() as stack:
        for bucket, hear in ((subjects.TASKS, board.hear_task), (subjects.LEASES, board.hear_lease)):
            filters = [subjects.kv_subject(bucket, context.project, pattern) for pattern in patterns]
            puller = Puller(context.bus, subjects.kv_stream(bucket), watcher_config(filters))
            if bucket == subjects.LEASES:
                puller.on_recreated = functools.partial(_reconcile, context, board)
            await stack.enter_async_context(puller)
            board.listen_to(puller)
            await _load(context, puller, hear)
            stack.push_async_callback(stop, asyncio.create_task(_listen(context, puller, board, hear)))
        board.changed.clear()
        yield board


async def _reconcile(context: Context, board: Board) -> None:
    """The server forgot the watcher (a restart, a long silence): a lease may have gone without a trace meanwhile."""
    stream, subject = context.kv(subjects.LEASES, ">")
    board.keep_leases({context.key(subjects.LEASES, name) for name in await context.bus.list_subjects(stream, subject)})


def _overlap(wanted: Sequence[str]) -> bool:
    """The server refuses filters that overlap; wildcards beside others may."""
    return len(wanted) > 1 and (any("*" in item or ">" in item for item in wanted) or len(set(wanted)) < len(wanted))


async def _load(context: Context, puller: Puller, hear: Callable[[Context, Delivery], None]) -> None:
    async for delivery in puller.backlog():
        hear(context, delivery)


async def _listen(context: Context, puller: Puller, board: Board, hear: Callable[[Context, Delivery], None]) -> None:
    try:
        async for delivery in puller:
            hear(context, delivery)
    except TracecraftError as error:
        board.touch(error)


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a background task and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
