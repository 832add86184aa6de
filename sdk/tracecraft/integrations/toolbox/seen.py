"""Records of the bus as a model sees them: a task, a handoff, a message, a run, a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from tracecraft.integrations.toolbox import bounds
from tracecraft.integrations.toolbox.results import (
    EntrySeen,
    HandoffSeen,
    Letter,
    RunSeen,
    StepSeen,
    TaskSeen,
    TookPart,
    Waited,
)

if TYPE_CHECKING:
    from tracecraft.claims import Task
    from tracecraft.mail import InboxMessage
    from tracecraft.memory import Entry
    from tracecraft_core.bodies import Handoff, TaskRecord
    from tracecraft_core.queries import AgentRow, RunRow, StepRow, Tokens

MOST_FILES: Final = 40
"""Changed files of a handoff that are shown."""
MOST_DEPENDENCIES: Final = 10
"""Dependencies of a task that are shown."""
MOST_PAIRS: Final = 12
"""Params, tags or metrics of a run in a list."""


def or_unset(value: Any) -> Any:
    """``None`` is left out."""
    return UNSET if value is None else value


def task_line(task: Task) -> TaskSeen:
    """A task in a list."""
    record = task.record
    after = record.after[:MOST_DEPENDENCIES]
    more = len(record.after) - len(after)
    return TaskSeen(
        task=task.id,
        state=record.state,
        title=bounds.line(record.title),
        owner=or_unset(record.owner),
        after=after,
        attempt=record.attempt,
        changed=task.time,
        left_out=f"{more} more dependencies" if more > 0 else UNSET,
    )


def task_whole(task: Task, offset: int) -> TaskSeen:
    """Everything about a task; ``offset`` goes on in data and result that are too large."""
    record = task.record
    data = bounds.value(record.data, bounds.WHOLE, offset) if record.data is not None else bounds.Shown()
    seen = handoff(record.handoff, bounds.WHOLE, offset)
    return TaskSeen(
        task=task.id,
        state=record.state,
        title=bounds.line(record.title, bounds.TEXT),
        owner=or_unset(record.owner),
        after=record.after[:50],
        attempt=record.attempt,
        changed=task.time,
        created_by=or_unset(record.created_by),
        data=bounds.either(data),
        handoff=or_unset(seen),
        left_out=_rest(data.rest, data.next, f'tasks(task="{task.id}", offset=…)', "of data"),
    )


def handoff(found: Handoff | None, width: int, offset: int = 0) -> HandoffSeen | None:
    """What the last one left."""
    if found is None:
        return None
    note = bounds.piece(found.note or "", offset, width)
    result = bounds.value(found.result, width, offset) if found.result is not None else bounds.Shown()
    files = found.changed_files or []
    proof = found.verification
    rest = max(note.rest, result.rest)
    following = min(following for following in (note.next, result.next, 10**9) if following is not None)
    return HandoffSeen(
        note=note.text or UNSET,
        to=or_unset(found.to),
        next_action=bounds.head(found.next_action, bounds.TEXT) if found.next_action else UNSET,
        result=bounds.either(result),
        changed_files=[bounds.head(file, bounds.LINE) for file in files[:MOST_FILES]],
        verified=f"{bounds.head(proof.command, bounds.LINE)} exited with {proof.exit_code}" if proof else UNSET,
        left_out=_rest(rest, following, "tasks(task=…, offset=…)", "of the handoff"),
    )


def _rest(rest: int, following: int | None, call: str, of: str) -> str | UnsetType:
    """What was cut, and the call that shows it."""
    if not rest:
        return UNSET
    return f"{rest:,} more characters {of}: {call.replace('offset=…', f'offset={following}')} goes on"


def claimed(record: TaskRecord) -> dict[str, Any]:
    """What whoever claims a task must know of it."""
    data = bounds.value(record.data, bounds.WHOLE) if record.data is not None else bounds.Shown()
    return {
        "title": bounds.line(record.title, bounds.TEXT),
        "data": bounds.either(data),
        "handoff": or_unset(handoff(record.handoff, bounds.WHOLE)),
        "took_over_from": record.took_over_from.owner if record.took_over_from else UNSET,
        "left_out": _rest(data.rest, data.next, "tasks(task=…, offset=…)", "of data"),
    }


def waited(task: Task) -> Waited:
    """A task that was waited for."""
    left = task.record.handoff
    return Waited(
        task=task.id,
        state=task.record.state,
        owner=or_unset(task.record.owner),
        note=bounds.head(left.note, bounds.TEXT) if left and left.note else UNSET,
        next_action=bounds.head(left.next_action, bounds.TEXT) if left and left.next_action else UNSET,
    )


def letter(message: InboxMessage, offset: int = 0, width: int = bounds.TEXT) -> Letter:
    """A message."""
    text = bounds.piece(message.text, offset, width)
    data = bounds.value(message.data, width, offset) if message.data is not None else bounds.Shown()
    following = text.next if text.next is not None else data.next
    return Letter(
        id=message.id,
        sender=bounds.head(message.sender, 64),
        to=message.to or "all",
        time=message.time,
        kind=bounds.head(message.kind, 64),
        text=text.text,
        thread=bounds.line(message.thread, 256),
        reply_to=or_unset(message.reply_to),
        data=bounds.either(data),
        again=message.delivered - 1,
        left_out=_rest(max(text.rest, data.rest), following, f"inbox(message={message.id}, offset=…)", "of it"),
    )


def entry_line(entry: Entry) -> EntrySeen:
    """A key of the memory in a list."""
    text = bounds.json_text(entry.value)
    return EntrySeen(
        key=entry.key,
        revision=entry.revision,
        time=entry.time,
        preview=bounds.head(text, bounds.LINE),
        size=len(text),
        by=bounds.line(entry.by, 64),
    )


def run(row: RunRow, *, most: int = MOST_PAIRS) -> RunSeen:
    """A run."""
    cut = [
        f"{len(pairs) - most} {name}"
        for name, pairs in (("params", row.params), ("metrics", row.metrics), ("tags", row.tags))
        if len(pairs) > most
    ]
    return RunSeen(
        run=row.run,
        name=bounds.head(row.name, bounds.LINE),
        status=row.status,
        agent=row.agent,
        started=row.started,
        seconds=or_unset(row.seconds),
        steps=row.steps,
        errors=row.errors,
        tokens=total(row.tokens),
        cost_usd=or_unset(row.cost),
        params=bounds.few(row.params, most),
        metrics=bounds.few(row.metrics, most),
        tags=bounds.few(dict(row.tags), most),
        reason=bounds.line(row.reason, bounds.TEXT),
        left_out=f"{', '.join(cut)}: runs(run={row.run!r}) shows more" if cut else UNSET,
    )


def total(tokens: Tokens) -> int:
    """All tokens."""
    return tokens.input + tokens.cache_read + tokens.cache_write + tokens.output + tokens.reasoning


def took_part(row: AgentRow) -> TookPart:
    """An agent of a run."""
    return TookPart(
        agent=row.agent,
        status=row.status,
        steps=row.steps,
        errors=row.errors,
        tokens=total(row.tokens),
        cost_usd=or_unset(row.cost),
        model=bounds.line(row.model, 100),
    )


def step(row: StepRow) -> StepSeen:
    """A step of a run."""
    return StepSeen(
        step=row.step,
        agent=row.agent,
        name=bounds.head(row.name, 100),
        kind=row.kind,
        status=row.status,
        started=row.started,
        seconds=or_unset(row.seconds),
        task=or_unset(row.task),
        error=bounds.line(row.error, bounds.LINE),
        input=bounds.line(row.input, bounds.LINE),
        output=bounds.line(row.output, bounds.LINE),
    )
