"""What a run came to: steps, errors, tokens, cost and time of its own, as `runs inspect` tells them.

The bridge has them, with the prices of its list. Where only entries are there the same rules count them: not what a
fork or a replay repeats, not a call that was reported before, not the runs inside of it; and costs are only those that
the sources reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.replay.steps import tokens_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_cli.replay.moment import Moment
    from tracecraft_core.queries import Entry, RunRow

COUNTED: Final = ("original", "retry")
"""Causes of model calls that are paid for."""


class Calls:
    """Which model calls count."""

    def __init__(self) -> None:
        self._requests: set[str] = set()
        self._replays: set[str] = set()

    def counts(self, moment: Moment, body: dict[str, Any]) -> bool:
        """Whether a call is paid for, and for the first time; to be asked of every event once, in their order."""
        if moment.event == "started" and body.get("purpose") == "replay":
            self._replays.add(moment.run or "")
        if moment.event != "usage" or body.get("cause", "original") not in COUNTED or moment.run in self._replays:
            return False
        request = body.get("request")
        if isinstance(request, str):
            if request in self._requests:
                return False
            self._requests.add(request)
        return True


@dataclass(slots=True)
class Totals:
    """Counts the entries of a run as they pass."""

    run: str
    steps: int = 0
    errors: int = 0
    tokens: int = 0
    cost: float | None = None
    _seen: set[str] = field(default_factory=set)
    _calls: Calls = field(default_factory=Calls)
    _began: int | None = None
    _ended: int | None = None

    def add(self, moments: Sequence[Moment], entries: Sequence[Entry]) -> None:
        """Take in a page."""
        for moment, entry in zip(moments, entries, strict=True):
            if isinstance(entry.body, dict) and moment.event and moment.kind not in ("message", "receipt"):
                self._take(moment, entry.body)

    def _take(self, moment: Moment, body: dict[str, Any]) -> None:
        counts = self._calls.counts(moment, body)
        if moment.run != self.run:
            return
        if moment.event == "started" and self._began is None:
            self._began = moment.time
        elif moment.event in ("ended", "crashed"):
            self._ended = moment.time
        elif moment.event in ("step.started", "step.ended") and moment.step:
            self._seen.add(moment.step)
            self.steps = len(self._seen)
            self.errors += moment.event == "step.ended" and body.get("status") == "error"
        elif counts:
            self.tokens += tokens_of(body)
            cost = body.get("cost")
            if isinstance(cost, (int, float)) and body.get("currency", "USD") == "USD":
                self.cost = (self.cost or 0.0) + cost

    def told(self) -> dict[str, Any]:
        """For the page."""
        seconds = None if self._began is None or self._ended is None else (self._ended - self._began) / 1e6
        return {
            **{"steps": self.steps, "errors": self.errors, "tokens": self.tokens, "cost": self.cost},
            **{"unpriced": 0, "seconds": seconds, "reported": True},
        }


def of_row(row: RunRow) -> dict[str, Any]:
    """What the bridge says of a run, for the page."""
    used = row.tokens
    return {
        "steps": row.steps,
        "errors": row.errors,
        "tokens": used.input + used.cache_read + used.cache_write + used.output + used.reasoning,
        "cost": row.cost,
        "unpriced": row.unpriced,
        "seconds": row.seconds,
    }
