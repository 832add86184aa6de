"""Events of runs: received one by one (who, which number, what), then folded into the rows of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracecraft_bridge.projection import artifacts, costs, labels, lifecycle, metrics, poison, steps
from tracecraft_bridge.projection.copy_text import stamp
from tracecraft_bridge.projection.entry import identity
from tracecraft_bridge.projection.shapes import DECODERS
from tracecraft_bridge.projection.writers import Writer, WriterRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry, Identity
    from tracecraft_bridge.projection.run_state import RunState

METRIC: Final = "metric"
DELETED: Final = "deleted"
_LAST: Final = ("left", "ended")

HANDLERS: Final[dict[str, Callable[[Batch, RunState, Entry, Any], None]]] = {
    "started": lifecycle.on_started,
    "joined": lifecycle.on_joined,
    "left": lifecycle.on_left,
    "ended": lifecycle.on_ended,
    "crashed": lifecycle.on_crashed,
    DELETED: lifecycle.on_deleted,
    "agent.started": lifecycle.on_agent_started,
    "agent.ended": lifecycle.on_agent_ended,
    "step.started": steps.on_started,
    "step.input": steps.on_input,
    "step.output": steps.on_output,
    "step.ended": steps.on_ended,
    "usage": costs.on_usage,
    METRIC: metrics.on_metric,
    "param": labels.on_params,
    "tag": labels.on_tags,
    "artifact": artifacts.on_artifact,
}
"""What each event does; one that is not here (``log``, or of a newer writer) only counts."""


class Received(NamedTuple):
    """An event that is no repeat."""

    run: RunState
    entry: Entry
    identity: Identity | None
    event: Any
    """The body; for ``metric`` its chunks; or `Poison`."""
    late: bool
    again: bool = False
    """Deletes a run that was deleted before: it may have come back in a bundle."""
    problem: str = ""
    """What is wrong with a part of it that was left out."""


def receive(batch: Batch, run: RunState, entry: Entry) -> Received | None:
    """Take the number and read the body; ``None`` for a repeat, and for what is of a deleted run."""
    if run.deleted is not None and entry.epoch <= run.deleted:
        return _again(run, entry) if entry.parts.event == DELETED else None
    who = identity(entry.headers)
    late = True
    if who is not None:
        writer = run.writers.get(who.writer)
        if writer is None:
            writer = run.writers[who.writer] = _writer(run, entry, who)
        batch.writers[id(writer)] = writer
        in_order = writer.take(who.number)
        if in_order is None:
            return None
        writer.heard = entry.time
        late = not in_order
    name = entry.parts.event or ""
    decoder = DECODERS.get(name)
    event: Any = None
    problem = ""
    if decoder is not None:
        try:
            event = poison.decode(decoder, entry.body)
            if name == METRIC:
                event, problem = metrics.chunks(event)
        except poison.Poison as error:
            event = error
        else:
            if name == DELETED:
                run.deleted = entry.epoch
    return Received(run, entry, who, event, late, problem=problem)


def fold(batch: Batch, received: Received) -> None:
    """Change what the event changes; what is wrong with it is noted, and no more."""
    run, entry, who, event, late, again, problem = received
    if again and run.row is None:
        return
    batch.runs[run.project, run.run] = run
    lifecycle.touch(run, entry, who)
    name = entry.parts.event or ""
    if event.__class__ is poison.Poison:
        batch.problem(run, entry, str(event))
        return
    if problem:
        batch.problem(run, entry, problem)
    handler = HANDLERS.get(name)
    if handler is None:
        return
    batch.late = late
    try:
        handler(batch, run, entry, event)
        if who is not None and name in _LAST:
            lifecycle.note_end(run, entry, who, poison.count(event.dropped, "dropped"))
    except poison.Poison as error:
        batch.problem(run, entry, str(error))


def _again(run: RunState, entry: Entry) -> Received | None:
    try:
        return Received(run, entry, None, poison.decode(DECODERS[DELETED], entry.body), True, again=True)
    except poison.Poison:
        return None


def _writer(run: RunState, entry: Entry, who: Identity) -> Writer:
    return Writer(
        WriterRow(*(run.project, run.run, who.writer, entry.parts.agent or ""), 0, None, 0, 0, 0, stamp(entry.time)),
        [],
    )
