"""The list of tasks: adding, showing, and applying a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracecraft import claims
from tracecraft.claims import Task
from tracecraft_core import bodies, names, reservations, subjects, tasks
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.errors import InvalidPlan, Malformed, RevisionConflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracecraft.context import Context
    from tracecraft_core.plans import PlannedTask


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a plan did."""

    created: list[str]
    changed: list[str]
    unchanged: list[str]
    unknown: list[str] = field(default_factory=list)
    """Dependencies that are neither in the plan nor among the tasks: nothing that waits for them can be claimed."""


class AsyncTasks:
    """The tasks of a project."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, task: str) -> Task | None:
        """One task, or ``None``."""
        return await claims.read(self._context, task)

    async def list(self, pattern: str = ">", *, state: str | None = None) -> list[Task]:
        """The tasks that match a pattern (and are in a state), in the order of their last change.

        Reservations of files are tasks too, but no work: only a pattern that names them, ``file.>``, shows them.
        """
        found = await self._context.bus.last_values(*self._context.kv(subjects.TASKS, names.pattern(pattern)))
        listed: list[Task] = []
        for stored in found:
            if not reservations.listed(pattern, self._context.key(subjects.TASKS, stored.subject)):
                continue
            try:
                record = bodies.decode(TaskRecord, stored.data, stored.subject)
            except Malformed:
                continue
            listed.append(Task(self._context.key(subjects.TASKS, stored.subject), record, stored.seq, stored.time))
        return [task for task in listed if state is None or task.record.state == state]

    async def add(self, task: str, *, title: str | None = None, after: Sequence[str] = (), data: Any = None) -> Task:
        """Add a task; the same call again changes nothing, another definition replaces that of an open task.

        Raises `InvalidPlan` when its dependencies would make a cycle, `UsageError` when it is no longer open,
        `BodyTooLarge` when its definition leaves no room for claims and a handoff.
        """
        wanted = {names.task(task): [names.task(before) for before in after]}
        if after:
            _check_cycles({task.id: task.record for task in await self.list()}, wanted)
        await self._define(task, title, after, data)
        found = await claims.read(self._context, task)
        assert found is not None
        return found

    async def apply(self, plan: Sequence[PlannedTask]) -> Applied:
        """Make the tasks be as planned. A crash in the middle leaves some undone: apply the plan again.

        Dependencies are written before what depends on them. Raises, before anything is written, `InvalidPlan` for a
        cycle, also one through tasks that exist, `UsageError` for another definition of a task that is not open, and
        `BodyTooLarge` for one that leaves no room for claims.
        """
        existing = {task.id: task.record for task in await self.list()}
        _check_cycles(existing, {task.id: task.after for task in plan})
        for task in plan:
            reservations.check_work(task.id)
            record, data = existing.get(task.id), _as_stored(task.data)
            if record is not None and not tasks.same_definition(record, task.title, task.after, data):
                tasks.redefined(task.id, record, task.title, task.after, data)
            if record is None or not tasks.same_definition(record, task.title, task.after, data):
                tasks.check_definition(task.id, task.title, task.after, data)
        applied = Applied([], [], [], _unknown(existing, plan))
        for task in plan:
            outcome = await self._define(task.id, task.title, task.after, task.data)
            getattr(applied, outcome).append(task.id)
        return applied

    async def _define(self, task: str, title: str | None, after: Sequence[str], data: Any) -> str:
        stream, subject = self._context.kv(subjects.TASKS, reservations.check_work(task))
        data = _as_stored(data)
        while True:
            found = await claims.read(self._context, task)
            if found is not None and tasks.same_definition(found.record, title, after, data):
                return "unchanged"
            tasks.check_definition(task, title, after, data)
            if found is None:
                last = await self._context.bus.leader_get(stream, subject)
                fresh = TaskRecord(title=title, after=list(after), data=data, created_by=self._context.agent)
                record, expected = fresh, last.seq if last else 0
            else:
                record, expected = tasks.redefined(task, found.record, title, after, data), found.revision
            try:
                await self._context.bus.cas(stream, subject, bodies.encode(record), expected)
            except RevisionConflict:
                continue
            return "created" if found is None else "changed"


def _as_stored(data: Any) -> Any:
    """The data as it will be read back: tuples are lists, keys are strings."""
    return bodies.value_from_json(bodies.value_to_json(data))


def _unknown(existing: Mapping[str, TaskRecord], plan: Sequence[PlannedTask]) -> list[str]:
    known = existing.keys() | {task.id for task in plan}
    return sorted({before for task in plan for before in task.after} - known)


def _check_cycles(existing: Mapping[str, TaskRecord], wanted: Mapping[str, Sequence[str]]) -> None:
    after = {task: record.after for task, record in existing.items()}
    cycle = tasks.find_cycle(after | {task: list(before) for task, before in wanted.items()})
    if cycle:
        raise InvalidPlan(f"the dependencies go round in a circle: {' -> '.join(cycle)}; remove one of them")
