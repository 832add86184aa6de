"""Where moments stand in a run's time, which is that of its own events and not of their delivery. Pure.

Its zero, from which offsets (``+0:03.140``) are counted, is the run's own beginning by the clock of who began it.

A run that was recorded while no bus was there comes into the log hours later. What others did meanwhile stands in the
log between its events: such a moment has no place in the run's time, and goes along with those beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_cli.replay.moment import Moment

_OTHERS: Final = frozenset({"message", "receipt", "memory", "task", "other"})
"""Kinds whose moments have the server's time alone."""


LOOK: Final = 500
"""Moments among which the run's beginning is looked for: of a coding agent's session messages may come before it."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Microseconds since 1970."""

    start: int
    end: int
    times: list[int]
    """Of each moment, in their order."""


def axis(moments: Sequence[Moment]) -> Axis:
    """The time of a run, from its own first moment to its own last one; of all where none is its own."""
    own = [moment.time for moment in moments if _own(moment)] or [moment.time for moment in moments] or [0]
    start, end = min(own), max(own)
    times, latest = list[int](), start
    for moment in moments:
        inside = start <= moment.time <= end
        latest = max(latest, moment.time) if inside else latest
        times.append(moment.time if inside else latest)
    return Axis(start, end, times)


def zero(moments: Sequence[Moment], run: str) -> int | None:
    """When the run began; ``None`` where its first moments, at most `LOOK`, do not say.

    A run that was received as telemetry says it with each request, of which the last may begin first.
    """
    begun = (one for one in moments[:LOOK] if one.kind == "run" and one.event == "started" and one.run == run)
    return min((one.time for one in begun), default=None)


def _own(moment: Moment) -> bool:
    """Whether it is an event of the run, or of a run inside of it, with a time of the writer."""
    if moment.kind == "data" and moment.time == moment.stored:  # the writer did not say when
        return False
    presence = moment.kind == "agent" and moment.run is None
    return moment.kind not in _OTHERS and not presence and moment.event != "deleted"
