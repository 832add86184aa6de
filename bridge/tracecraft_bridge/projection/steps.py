"""Steps: begun, filled, ended, each by events of their own, which may be late or missing.

A step that its run left open when it ended or crashed is `lost`, until an end of its own comes after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_bridge.projection import poison
from tracecraft_bridge.projection.artifacts import SHA256
from tracecraft_bridge.projection.copy_text import microseconds, stamp
from tracecraft_bridge.projection.run_row import AgentRow
from tracecraft_bridge.projection.step_row import OpenStep, StepRow
from tracecraft_core.run_events import PREVIEW

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch, StepKey
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.run_state import RunState
    from tracecraft_bridge.projection.shapes import StepDataRaw
    from tracecraft_core.run_events import Failure, StepEnded, StepStarted

LOST: Final = "lost"
MAX_STEP_ID: Final = 64
MAX_NAME: Final = 500
MAX_TYPE: Final = 200
MAX_MESSAGE: Final = 4_000


def on_started(batch: Batch, run: RunState, entry: Entry, event: StepStarted) -> None:
    """``step.started``."""
    assert run.row is not None
    key = _key(run, event.step)
    started = stamp(batch.time(run, entry, event.time))
    if batch.late and _finished(batch, key):
        return  # the end has said everything
    step = run.open.get(event.step)
    if step is None:
        step = _open(batch, run, entry, event.step, started)
    elif step.name:
        raise poison.Poison("the step has begun before")
    step.parent, step.kind, step.name, step.task = _cut(event.parent), event.kind, _name(event.name), _task(event.task)
    step.agent, step.started = entry.parts.agent or "", started
    batch.opened[key] = step


def on_input(batch: Batch, run: RunState, entry: Entry, event: StepDataRaw) -> None:
    """``step.input``."""
    step = _target(batch, run, entry, event.step)
    step.input_seq = entry.seq
    step.input_blob, step.input_preview = _data(event)


def on_output(batch: Batch, run: RunState, entry: Entry, event: StepDataRaw) -> None:
    """``step.output``."""
    step = _target(batch, run, entry, event.step)
    step.output_seq = entry.seq
    step.output_blob, step.output_preview = _data(event)


def on_ended(batch: Batch, run: RunState, entry: Entry, event: StepEnded) -> None:
    """``step.ended``."""
    assert run.row is not None
    key = _key(run, event.step)
    duration = poison.count(event.duration, "duration")
    ended = batch.time(run, entry, event.time)
    step = run.open.pop(event.step, None)
    if step is None:
        step = _lost(batch, key)
        if step is None and _finished(batch, key):
            if _says_the_same(_last_end(batch, key), event, ended):
                return  # telemetry comes again in requests that were put together anew
            raise poison.Poison("the step has ended before")
        if step is None:
            step = _open(batch, run, entry, event.step, stamp(max(0, ended - duration)))
            del run.open[event.step]
            step.agent = entry.parts.agent or ""
    _close(batch, run, event.step)
    if not step.name:
        step.agent, step.started = entry.parts.agent or "", stamp(max(0, ended - duration))
        _enclose(agent_of(batch, run, entry, step.agent), step.started)
    error_type, error_message = failure(event.error)
    row = StepRow(
        *(run.project, run.run, event.step, step.agent, _cut(event.parent), event.kind, _name(event.name)),
        *(_task(event.task), event.status, step.started, stamp(ended), duration, error_type, error_message),
        *(step.epoch, step.first_seq, entry.seq, step.input_seq, step.output_seq),
        *(step.input_blob, step.output_blob, step.input_preview, step.output_preview, stamp(entry.time)),
    )
    if event.status == "error":
        run.row.errors += 1
        agent_of(batch, run, entry, step.agent).errors += 1
    batch.ended.setdefault(key, []).append(row)


def lose_open(batch: Batch, run: RunState, entry: Entry, time: int) -> None:
    """The run is over: what is open will not end any more."""
    for name, step in run.open.items():
        key = (run.project, run.run, name)
        duration = max(0, time - microseconds(step.started))
        row = StepRow(
            *(run.project, run.run, name, step.agent, step.parent, step.kind, step.name, step.task, LOST),
            *(step.started, stamp(time), duration, None, None, step.epoch, step.first_seq, entry.seq),
            *(step.input_seq, step.output_seq, step.input_blob, step.output_blob),
            *(step.input_preview, step.output_preview, stamp(entry.time)),
        )
        batch.ended.setdefault(key, []).append(row)
        _close(batch, run, name)
    run.open.clear()


def agent_of(batch: Batch, run: RunState, entry: Entry, agent: str) -> AgentRow:
    """The row of an agent, made when it is new, to be changed."""
    row = run.agents.get(agent)
    if row is None:
        row = run.agents[agent] = AgentRow(run.project, run.run, agent, stamp(entry.time), entry.seq)
    batch.agents.add((run.project, run.run, agent))
    return row


def failure(error: Failure | None) -> tuple[str | None, str | None]:
    """Type and message of an error, as much as is kept here."""
    return (None, None) if error is None else (error.type[:MAX_TYPE], error.message[:MAX_MESSAGE])


def _key(run: RunState, step: str) -> StepKey:
    return run.project, run.run, poison.name(step, "the id of the step", MAX_STEP_ID)


def _open(batch: Batch, run: RunState, entry: Entry, name: str, started: str) -> OpenStep:
    assert run.row is not None
    agent = entry.parts.agent or ""
    step = OpenStep(*(run.project, run.run, name, agent, None, "other", "", None, started, entry.epoch, entry.seq))
    run.open[name] = step
    run.row.steps += 1
    row = agent_of(batch, run, entry, agent)
    row.steps += 1
    row.last_step = name
    _enclose(row, started)
    return step


def _enclose(row: AgentRow, started: str) -> None:
    """An agent takes part from its first step on at the latest, whenever that step was told of."""
    if microseconds(started) < microseconds(row.started):
        row.started = started


def _close(batch: Batch, run: RunState, name: str) -> None:
    key = (run.project, run.run, name)
    batch.opened.pop(key, None)
    if name in run.stored:
        run.stored.discard(name)
        batch.closed.add(key)


def _finished(batch: Batch, key: StepKey) -> bool:
    """Whether the step ended by itself, so far as anybody asked the table."""
    old = _last_end(batch, key)
    return old is not None and old.status != LOST


def _last_end(batch: Batch, key: StepKey) -> StepRow | None:
    rows = batch.ended.get(key)
    return rows[-1] if rows else batch.old_steps.get(key)


def _says_the_same(row: StepRow | None, event: StepEnded, ended: int) -> bool:
    """Whether an end tells nothing that the row does not say, whoever is the agent.

    It may be another one: of a span whose agent is named above it, and not in the same request.
    """
    return row is not None and (
        *(row.status, microseconds(row.ended), row.duration_us, row.kind, row.name),
        *(row.parent, row.task, (row.error_type, row.error_message)),
    ) == (
        *(event.status, ended, event.duration, event.kind, _name(event.name)),
        *(_cut(event.parent), _task(event.task), failure(event.error)),
    )


def _lost(batch: Batch, key: StepKey) -> OpenStep | None:
    """The step taken back from the lost ones."""
    rows = batch.ended.get(key)
    if rows and rows[-1].status == LOST:
        lost = rows.pop()
        return lost.reopened()
    old = batch.old_steps.get(key)
    if old is not None and old.status == LOST:
        del batch.old_steps[key]
        batch.revived.append(old)
        return _with_patch(old.reopened(), batch.patched.pop(key, None))
    return None


def _with_patch(step: OpenStep, patch: OpenStep | None) -> OpenStep:
    if patch is not None and patch.input_seq is not None:
        step.input_seq, step.input_blob, step.input_preview = patch.input_seq, patch.input_blob, patch.input_preview
    if patch is not None and patch.output_seq is not None:
        step.output_seq, step.output_blob = patch.output_seq, patch.output_blob
        step.output_preview = patch.output_preview
    return step


def _target(batch: Batch, run: RunState, entry: Entry, name: str) -> OpenStep | StepRow:
    """The row that data of a step belongs to, to be changed."""
    key = _key(run, name)
    step = run.open.get(name)
    if step is not None:
        batch.opened[key] = step
        return step
    rows = batch.ended.get(key)
    if rows:
        return rows[-1]
    old = batch.old_steps.get(key)
    if old is not None:
        found = batch.patched.get(key)
        if found is None:
            found = batch.patched[key] = msgspec.structs.replace(
                old.reopened(), input_seq=None, output_seq=None, input_preview=None, output_preview=None
            )
        return found
    batch.opened[key] = step = _open(batch, run, entry, name, stamp(entry.time))
    return step


def _data(event: StepDataRaw) -> tuple[str | None, str | None]:
    """Hash of the blob, and preview."""
    if event.blob is not None:
        if not SHA256.fullmatch(event.blob.sha256):
            raise poison.Poison("sha256 of the blob is not 64 hexadecimal digits")
        return event.blob.sha256, event.blob.preview[:PREVIEW]
    return None, preview(event.value)


def preview(value: msgspec.Raw) -> str | None:
    """The beginning of a value as people read it: a text bare, anything else as JSON."""
    raw = bytes(value)
    if raw in (b"", b"null"):
        return None
    read = poison.canonical(raw)
    if isinstance(read, str):
        return read[:PREVIEW]
    return msgspec.json.encode(read, order="sorted").decode()[:PREVIEW]


def _name(name: str) -> str:
    return name[:MAX_NAME] or "?"


def _cut(parent: str | None) -> str | None:
    return None if parent is None else parent[:MAX_STEP_ID]


def _task(task: str | None) -> str | None:
    return None if task is None else task[:256]
