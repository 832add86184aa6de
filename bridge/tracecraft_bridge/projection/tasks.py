"""Attempts at tasks: who claimed, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_bridge.projection.attempt_row import AttemptRow
from tracecraft_bridge.projection.copy_text import stamp
from tracecraft_bridge.projection.entry import run_and_step
from tracecraft_bridge.projection.poison import MAX_INTEGER, Poison, decode
from tracecraft_core import bodies
from tracecraft_core.tasks import SETTLED

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry

_RECORD: Final = msgspec.json.Decoder(bodies.TaskRecord)
_EVENT: Final = msgspec.json.Decoder(bodies.AgentEvent)
LOST: Final = "lost"


NEWEST: Final = """
    SELECT row_to_json(t)::text FROM json_to_recordset(%s::json) AS k(project text, task text, epoch integer),
    LATERAL (SELECT * FROM task_attempt a WHERE a.project = k.project AND a.task = k.task AND a.epoch = k.epoch
             ORDER BY attempt DESC LIMIT 1) t
"""
"""The newest attempt at each of some tasks."""


def task_of(entry: Entry) -> tuple[str, str, int] | None:
    """The task whose newest attempt an entry is about: project, task, epoch."""
    parts = entry.parts
    if parts.family == "task":
        return parts.project or "", parts.key or "", entry.epoch
    if parts.event == LOST:
        try:
            event = decode(_EVENT, entry.body)
        except Poison:
            return None
        return None if event.task is None else (parts.project or "", event.task, entry.epoch)
    return None


def on_change(batch: Batch, entry: Entry) -> None:
    """A new state of the task's record; a reservation of files has its last one in its deletion."""
    key = task_of(entry)
    try:
        record = decode(_RECORD, entry.body)
    except Poison:
        return
    if key is None or not 0 <= record.attempt <= MAX_INTEGER or entry.operation not in (None, "PUT", "DEL"):
        return
    current = batch.newest_attempts.get(key)
    if record.owner is not None and (current is None or record.attempt > current.attempt):
        if current is not None and current.outcome == "claimed":
            _end(batch, current, entry, LOST)
        current = _begin(batch, key, record, entry)
    if current is None or record.attempt != current.attempt:
        return
    if record.state in SETTLED:
        current.note = record.handoff.note if record.handoff else None
        _end(batch, current, entry, "forced" if record.forced else record.state)
    elif record.state == "open" and current.outcome == "claimed":
        _end(batch, current, entry, "released")


def on_lost(batch: Batch, entry: Entry) -> None:
    """An agent lost a task: its lease lapsed."""
    key = task_of(entry)
    current = None if key is None else batch.newest_attempts.get(key)
    if current is None or current.outcome != "claimed":
        return
    if decode(_EVENT, entry.body).fence == current.fence:
        _end(batch, current, entry, LOST)


def _begin(batch: Batch, key: tuple[str, str, int], record: bodies.TaskRecord, entry: Entry) -> AttemptRow:
    run, _ = run_and_step(entry.headers)
    project, task, epoch = key
    row = AttemptRow(
        *(project, task, record.attempt, record.owner or "", record.session, entry.origin_seq, epoch),
        *(entry.seq, entry.seq, stamp(entry.time)),
        run=run,
    )
    batch.newest_attempts[key] = batch.attempts[project, task, row.attempt, epoch] = row
    return row


def _end(batch: Batch, row: AttemptRow, entry: Entry, outcome: str) -> None:
    row.outcome, row.ended, row.last_seq = outcome, stamp(entry.time), entry.seq
    batch.attempts[row.project, row.task, row.attempt, row.epoch] = row
