"""Runs side by side: what differs, by how much, and why the numbers may not be comparable."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.runs_view import numbers
from tracecraft_core.divergence import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_core.queries import Curve, MetricSummary, RunDetail

MISSING: Final = "-"


@dataclass(frozen=True, slots=True)
class Difference:
    """A parameter, tag or fact that is not the same in all runs."""

    name: str
    values: list[Any]
    """One a run; ``None`` where it has none."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric in each of the runs."""

    key: str
    found: list[MetricSummary | None]

    @property
    def values(self) -> list[Any]:
        """The newest value in each run."""
        return [None if one is None else one.value for one in self.found]

    @property
    def deltas(self) -> list[float | None]:
        """By how much each run's newest value is over the first run's."""
        first = numbers.number(self.values[0])
        found = [numbers.number(value) - first for value in self.values]
        return [None if delta != delta else delta for delta in found]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs or more; the first is what the others are compared with."""

    runs: list[RunDetail]
    differences: list[Difference]
    same: int
    """Parameters that all have, with the same value."""
    measures: list[Measure]
    warnings: list[str]
    curves: dict[str, list[Curve | None]]
    """By key of a metric, one for each run."""

    def as_json(self) -> dict[str, Any]:
        """The result of the command."""
        return {
            "runs": [run.row.run for run in self.runs],
            "differences": {one.name: one.values for one in self.differences},
            "same_params": self.same,
            "metrics": {
                one.key: {"values": one.values, "deltas": one.deltas, "points": [m and m.points for m in one.found]}
                for one in self.measures
            },
            "warnings": self.warnings,
        }


def tails(runs: Sequence[RunDetail]) -> list[str]:
    """Short names: the end of each id, as long as it needs to be."""
    ids = [run.row.run for run in runs]
    for length in itertools.count(6):
        short = [one[-length:] for one in ids]
        if len(set(short)) == len(set(ids)) or length > max(map(len, ids)):
            return short
    raise AssertionError


def twins(curves: Sequence[Curve | None]) -> list[int | None]:
    """For each curve the place of the first one that has the same points, when there is one before it."""
    points = [None if one is None or not one.steps else (one.steps, one.mean) for one in curves]
    firsts = [points.index(one) for one in points]
    return [
        None if one is None or first == place else first
        for place, (one, first) in enumerate(zip(points, firsts, strict=True))
    ]


def compare(runs: list[RunDetail], curves: dict[str, list[Curve | None]]) -> Comparison:
    """Put runs side by side."""
    params = [run.row.params for run in runs]
    names = list(dict.fromkeys(key for one in params for key in one))
    differing = [key for key in names if any(key not in one or one[key] != params[0].get(key) for one in params)]
    differences = [Difference(f"params.{key}", [one.get(key) for one in params]) for key in differing]
    tags = [run.row.tags for run in runs]
    for key in dict.fromkeys(key for one in tags for key in one):
        values = [one.get(key) for one in tags]
        if len(set(values)) > 1:
            differences.append(Difference(f"tags.{key}", list(values)))
    commits = [run.origin.get("git_commit") or None for run in runs]
    if len(set(commits)) > 1:
        differences.append(Difference("git_commit", [commit and commit[:12] for commit in commits]))
    measures = _measures(runs)
    return Comparison(runs, differences, len(names) - len(differing), measures, _warnings(runs, measures), curves)


def _measures(runs: Sequence[RunDetail]) -> list[Measure]:
    """The metrics of the whole runs."""
    by_run = [{metric.key: metric for metric in run.metrics if not metric.agent} for run in runs]
    keys = dict.fromkeys(key for metrics in by_run for key in metrics)
    return [Measure(key, [metrics.get(key) for metrics in by_run]) for key in keys]


def _warnings(runs: Sequence[RunDetail], measures: Sequence[Measure]) -> list[str]:
    short = tails(runs)
    found = []
    for name, run in zip(short, runs, strict=True):
        if run.row.status == "running":
            found.append(f"{name} is still running: its numbers are not final")
        elif run.row.status != "finished":
            found.append(f"{name} {run.row.status}: it may have stopped early")
        if run.origin.get("git_dirty"):
            found.append(f"{name} ran with uncommitted changes: its commit does not say what ran")
    for measure in measures:
        if measure.key.startswith(SYSTEM):
            continue  # measured while it lasted: nobody compares that step by step
        there = [(name, one) for name, one in zip(short, measure.found, strict=True) if one is not None]
        if len({one.step for _, one in there}) > 1:
            steps = ", ".join(f"{name} {one.step}" for name, one in there)
            found.append(f"{measure.key}: the newest values are of different steps: {steps}")
        found += [f"{measure.key}: {name} has {odd}" for name, one in there if (odd := numbers.unusual(one))]
    return found
