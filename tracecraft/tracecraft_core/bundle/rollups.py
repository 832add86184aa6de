"""Curves of a run's metrics, small enough to draw at once: at most `BUCKETS` roll-ups of each metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import run_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_core.facts import Fact

BUCKETS: Final = 1_000
"""Most roll-ups of one metric; with more, each two become one."""
KEYS: Final = 10_000
"""Most metrics of a bundle that have roll-ups; the points of all are among the entries."""


_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricRollup(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one agent of one run: parallel lists, one place for each bucket that has points."""

    run: str
    agent: str
    """Who logged it."""
    key: str
    points: int
    nans: int
    width: int
    """Steps of a bucket."""
    bucket: list[int]
    """The bucket holds the steps from ``bucket * width`` on."""
    count: list[int]
    """Numbers in it; NaN and infinities are counted in ``nans`` only."""
    min: list[float]
    max: list[float]
    mean: list[float]
    last: list[float]
    last_time: list[int]
    """Microseconds since 1970, the writer's clock."""


class _Curve:
    """One metric while its points go by."""

    __slots__ = ("buckets", "nans", "points", "width")

    def __init__(self) -> None:
        self.width = 1
        self.points = self.nans = 0
        self.buckets: dict[int, list[Any]] = {}
        """By number: count, min, max, sum, last step, last value, last time."""

    def add(self, step: int | None, value: float, time: int) -> None:
        step = self.points if step is None else step
        self.points += 1
        if not math.isfinite(value):
            self.nans += 1
            return
        self._merge(step // self.width, [1, value, value, value, step, value, time])
        while len(self.buckets) > BUCKETS:
            self._widen()

    def _merge(self, number: int, other: list[Any]) -> None:
        mine = self.buckets.get(number)
        if mine is None:
            self.buckets[number] = other
            return
        mine[0] += other[0]
        mine[1], mine[2] = min(mine[1], other[1]), max(mine[2], other[2])
        mine[3] += other[3]
        if other[4] >= mine[4]:
            mine[4:] = other[4:]

    def _widen(self) -> None:
        self.width *= 2
        before, self.buckets = self.buckets, {}
        for number in sorted(before):
            self._merge(number // 2, before[number])


class Rollups:
    """All metrics of a bundle while its entries go by."""

    def __init__(self) -> None:
        self._curves: dict[tuple[str, str, str], _Curve] = {}

    def take(self, fact: Fact) -> int:
        """Add the points of an event and return how many there were."""
        if not isinstance(fact.body, run_events.Metric):
            return 0
        points = 0
        for key, value, step, time in fact.body.points:
            number = as_number(value)
            if number is None:
                continue
            points += 1
            place = (fact.run, fact.tokens[1], key)
            curve = self._curves.get(place)
            if curve is None:
                if len(self._curves) >= KEYS:
                    continue
                curve = self._curves[place] = _Curve()
            curve.add(step, number, time)
        return points

    def done(self) -> Iterator[MetricRollup]:
        """The roll-ups, in the order in which the metrics began."""
        for (run, agent, key), curve in self._curves.items():
            rows = sorted(curve.buckets.items())
            yield MetricRollup(
                run=run,
                agent=agent,
                key=key,
                points=curve.points,
                nans=curve.nans,
                width=curve.width,
                bucket=[number for number, _ in rows],
                count=[row[0] for _, row in rows],
                min=[row[1] for _, row in rows],
                max=[row[2] for _, row in rows],
                mean=[row[3] / row[0] for _, row in rows],
                last=[row[5] for _, row in rows],
                last_time=[row[6] for _, row in rows],
            )


def as_number(value: Any) -> float | None:
    """A point's value: a number, or the words that stand for what JSON does not have."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return _WORDS.get(value) if isinstance(value, str) else None
