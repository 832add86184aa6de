"""A task whole: its record, its lease, its dependencies, and its past revisions."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracecraft import claims, leases
from tracecraft.claims import Task
from tracecraft_cli import task_view
from tracecraft_cli.output import compact
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.errors import Malformed, NotFound
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.quotation import oneline
from tracecraft_core.reservations import is_reservation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft.context import Context
    from tracecraft.leases import LeaseState


@dataclass(frozen=True, slots=True)
class Story:
    """Everything about a task."""

    task: Task
    lease: LeaseState
    dependencies: Mapping[str, str]
    """The state of each task it comes after; one that does not exist is ``missing``."""
    history: list[Task]
    """Past revisions, oldest first, the present one last."""

    def as_json(self) -> dict[str, Any]:
        """The result for programs."""
        past = [task_view.task_json(task) for task in self.history]
        return task_view.task_json(self.task, self.lease) | {"dependencies": dict(self.dependencies), "history": past}

    def text(self) -> str:
        """The result for people."""
        record = self.task.record
        lines = [f"{self._named()}{self._holder()}, revision {self.task.revision}, {task_view.moment(self.task.time)}"]
        if record.title and not self._reserves():
            lines.append(f"title: {oneline(record.title, 200)}")
        if record.data is not None and not self._reserves():
            lines.append(f"data: {compact(record.data)}")
        if self.dependencies:
            lines.append(f"after: {', '.join(f'{name} ({state})' for name, state in self.dependencies.items())}")
        if record.forced is not None:
            lines.append(f"forced by {record.forced.by}: {oneline(record.forced.reason, 200)}")
        lines += task_view.handoff_lines(record.handoff)
        if len(self.history) > 1:
            lines += ["history:", *(_event(task) for task in self.history)]
        return "\n".join(lines)

    def _reserves(self) -> bool:
        """Whether it is a reservation of files, of which title and data are the glob once more."""
        return is_reservation(self.task.id)

    def _named(self) -> str:
        if not self._reserves():
            return f"{self.task.id} {self.task.record.state}"
        glob = oneline(self.task.record.title or self.task.id, 200)
        return f"reserved {glob}" if self.task.record.state == "claimed" else f"{glob}, free"

    def _holder(self) -> str:
        owner = self.task.record.owner
        if owner is None:
            return ""
        if self.task.record.state != "claimed":
            return f" by {owner}"
        left = self.lease.expires_in
        return f" by {owner}, " + (f"lease {left:.0f} s" if left is not None else "whose lease has lapsed")


async def tell(context: Context, task: str, limit: int) -> Story:
    """Gather it, with the last ``limit`` revisions. Raises `NotFound`."""
    found, lease, history = await asyncio.gather(
        claims.read(context, task), leases.read(context, task), _history(context, task, limit)
    )
    if found is None:
        raise NotFound("task", task, "claiming it creates it; 'tracecraft tasks' lists what there is")
    states = await claims.states(context, found.record.after)
    return Story(found, lease, {name: states.get(name, "missing") for name in found.record.after}, history)


async def _history(context: Context, task: str, limit: int) -> list[Task]:
    stream, subject = context.kv(subjects.TASKS, task)
    history: deque[Task] = deque(maxlen=limit)
    if not limit:
        return []
    async with Puller(context.bus, stream, watcher_config([subject], "all")) as puller:
        async for delivery in puller.backlog():
            stored = delivery.stored
            with contextlib.suppress(Malformed):
                if not stored.deleted:
                    record = bodies.decode(TaskRecord, stored.data, subject)
                    history.append(Task(task, record, stored.seq, stored.time))
    return list(history)


def _event(task: Task) -> str:
    record = task.record
    state = "reserved" if is_reservation(task.id) and record.state == "claimed" else record.state
    words = [f"  {task_view.moment(task.time)}  {task.revision}  {state}"]
    if record.owner:
        words.append(f"by {record.owner}")
    if record.state == "claimed":
        words.append(f"(attempt {record.attempt})")
        if record.took_over_from is not None:
            words.append(f"taken over from {record.took_over_from.owner}")
    if record.state != "claimed" and record.handoff is not None and record.handoff.note:
        words.append(f"- {oneline(record.handoff.note, 60)}")
    return " ".join(words)
