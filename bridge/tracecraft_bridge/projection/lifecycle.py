"""The life of a run and of the agents in it: started, joined, left, ended, crashed, deleted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.projection import poison
from tracecraft_bridge.projection.copy_text import microseconds, stamp
from tracecraft_bridge.projection.labels import set_params, set_tags
from tracecraft_bridge.projection.run_row import DeletedRow, RunRow
from tracecraft_bridge.projection.steps import MAX_MESSAGE, MAX_TYPE, agent_of, failure, lose_open
from tracecraft_core import ids, subjects

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry, Identity
    from tracecraft_bridge.projection.run_state import RunState
    from tracecraft_bridge.projection.shapes import RunStartedRaw
    from tracecraft_core.run_events import (
        AgentEnded,
        AgentStarted,
        Origin,
        RunCrashed,
        RunDeleted,
        RunEnded,
        RunJoined,
        WriterLeft,
    )

RUNNING: Final = "running"
CRASHED: Final = "crashed"
ENDED: Final = ("finished", "failed", "killed")
"""A run in one of these may begin again."""
MAX_NAME: Final = 400
MAX_COMMAND: Final = 4_000
MAX_ID: Final = 128

_TRACE: Final = re.compile(r"[0-9a-f]{32}")


def begin(run: RunState, entry: Entry) -> RunRow:
    """The row of a run of which this is the first event, whatever it is."""
    time = stamp(entry.time)
    run.row = RunRow(
        *(run.project, run.run, run.run, entry.parts.agent or "", time, time, entry.epoch, entry.seq, entry.seq),
        trace=ids.trace(run.project, run.run),
    )
    return run.row


def touch(run: RunState, entry: Entry, identity: Identity | None) -> None:
    """An event of the run arrived."""
    row = run.row or begin(run, entry)
    row.events += 1
    row.epoch, row.last_seq, run.heard = entry.epoch, entry.seq, entry.time
    if row.status == CRASHED and identity is not None:  # it was not gone, only silent
        row.status, row.ended, row.reason, row.last_step = RUNNING, None, None, None


def on_started(batch: Batch, run: RunState, entry: Entry, event: RunStartedRaw) -> None:
    """``started``. The first counts that is not provisional; a further one adds parameters and tags.

    Of a run that was ended, one that its writer wrote in its turn begins it again: it goes on where it was.
    """
    row = run.row
    assert row is not None
    forked_at = None if event.forked_at is None else poison.bigint(event.forked_at, "forked_at")
    time = stamp(batch.time(run, entry, event.time))
    set_params(batch, run, event.params)
    set_tags(batch, run, event.tags)
    if row.begun and row.status in ENDED and not (batch.late or event.provisional):
        row.status, row.ended, row.error_type, row.error_message = RUNNING, None, None, None
    if row.begun or (event.provisional and row.name != run.run):
        return
    row.begun, row.started, row.agent = not event.provisional, time, entry.parts.agent or ""
    row.name, row.purpose = event.name[:MAX_NAME] or run.run, event.purpose
    row.parent, row.forked_from, row.forked_at = _id(event.parent), _id(event.forked_from), forked_at
    if event.trace is not None and _TRACE.fullmatch(event.trace):
        row.trace = event.trace
    _set_origin(row, event.origin)


def on_joined(batch: Batch, run: RunState, entry: Entry, event: RunJoined) -> None:
    """``joined``."""
    batch.time(run, entry, event.time)


def on_left(batch: Batch, run: RunState, entry: Entry, event: WriterLeft) -> None:
    """``left``; a run that is over loses the steps that others had left open."""
    assert run.row is not None
    time = batch.time(run, entry, event.time)
    if run.row.status != RUNNING:
        lose_open(batch, run, entry, time)


def on_ended(batch: Batch, run: RunState, entry: Entry, event: RunEnded) -> None:
    """``ended``; written twice, the last counts."""
    row = run.row
    assert row is not None
    time = batch.time(run, entry, event.time)
    row.status, row.ended = event.status, stamp(time)
    row.reason = row.last_step = None
    row.error_type, row.error_message = failure(event.error)
    lose_open(batch, run, entry, time)


def on_crashed(batch: Batch, run: RunState, entry: Entry, event: RunCrashed) -> None:
    """``crashed``: only the bridge can say so, and only of a running run."""
    row = run.row
    assert row is not None
    if entry.parts.agent != subjects.RESERVED_PROJECT:
        raise poison.Poison("only the bridge says that a run has crashed")
    if row.status != RUNNING:
        return
    row.status, row.ended, row.reason = CRASHED, stamp(entry.time), event.reason[:MAX_MESSAGE]
    row.last_step = None if event.last_step is None else event.last_step[:64]
    lose_open(batch, run, entry, entry.time)


def on_deleted(batch: Batch, run: RunState, entry: Entry, event: RunDeleted) -> None:
    """``deleted``: nothing of the run stays but that it was."""
    key = (run.project, run.run)
    batch.drop_run(key)
    reason = None if event.reason is None else event.reason[:MAX_MESSAGE]
    batch.deletions[key] = DeletedRow(*key, entry.epoch, entry.seq, stamp(entry.time), event.by[:MAX_ID], reason)
    run.forget()


def on_agent_started(batch: Batch, run: RunState, entry: Entry, event: AgentStarted) -> None:
    """``agent.started``; an agent that begins again has been there since its first beginning."""
    time, agent = batch.time(run, entry, event.time), entry.parts.agent or ""
    is_new = agent not in run.agents
    row = agent_of(batch, run, entry, agent)
    if is_new or time < microseconds(row.started):
        row.started = stamp(time)
    if row.ended is None or time >= microseconds(row.ended):
        row.status, row.ended = RUNNING, None
    row.model = None if event.model is None else event.model[:MAX_TYPE]
    row.role = None if event.role is None else event.role[:MAX_TYPE]


def on_agent_ended(batch: Batch, run: RunState, entry: Entry, event: AgentEnded) -> None:
    """``agent.ended``; of several, told in whatever order, the latest counts."""
    time = batch.time(run, entry, event.time)
    row = agent_of(batch, run, entry, entry.parts.agent or "")
    if row.ended is None or time >= microseconds(row.ended):
        row.ended, row.status = stamp(time), event.status


def note_end(run: RunState, entry: Entry, identity: Identity, dropped: int) -> None:
    """A writer says that this is its last number, and what it had to drop."""
    assert run.row is not None
    row = run.writers[identity.writer].row
    row.final = identity.number
    run.row.dropped += dropped - row.dropped
    row.dropped = dropped


def _set_origin(row: RunRow, origin: Origin) -> None:
    row.host, row.command = origin.host[:MAX_TYPE] or None, origin.command[:MAX_COMMAND] or None
    row.pid = origin.pid if 0 < origin.pid <= poison.MAX_INTEGER else None
    row.python, row.tracecraft = origin.python[:MAX_TYPE] or None, origin.tracecraft[:MAX_TYPE] or None
    row.git_commit, row.git_branch = origin.git_commit[:MAX_TYPE] or None, origin.git_branch[:MAX_TYPE] or None
    row.git_dirty = origin.git_dirty


def _id(said: str | None) -> str | None:
    return None if said is None else poison.name(said, "the id of a run", MAX_ID)
