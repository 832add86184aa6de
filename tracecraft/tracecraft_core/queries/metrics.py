"""The metrics of a run: in short, as curves, and point by point."""

from __future__ import annotations

from typing import Any

import msgspec

from tracecraft_core.queries.question import MAX_PAGE, Answer, RunQuestion


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a run; numbers that JSON does not have are strings."""

    key: str
    agent: str
    """Empty: of the whole run."""
    value: Any
    step: int
    time: str
    first: Any
    min: Any
    max: Any
    mean: Any
    points: int
    nans: int = 0
    infinite: int = 0
    """Points that are infinite: ``min`` and ``max`` count them, ``mean`` does not."""


class PlotQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.plot`` → `Plot`: curves of at most ``points`` points each, from the roll-ups."""

    keys: list[str]
    agent: str = ""
    points: int = 500


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One curve: parallel lists. With ``raw`` a point is one that was logged, else the roll-up of a range of steps."""

    key: str
    raw: bool
    steps: list[int]
    mean: list[Any]
    min: list[Any]
    max: list[Any]
    times: list[str]


class Plot(Answer, frozen=True, kw_only=True):
    """Curves of one run."""

    curves: list[Curve]


class PointsQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.points`` → `PointsPage`: raw points in the order in which they came."""

    key: str
    limit: int = MAX_PAGE
    cursor: str | None = None


class PointsPage(Answer, frozen=True, kw_only=True):
    """Raw points: ``[step, value, time, agent]``."""

    points: list[tuple[int, Any, str, str]]
    next: str | None = None
