"""What is written of an experiment: of its branch, of the run that goes on, of a row.

Every batch is what one writer says, and the writer's id is made of what it says. So a batch that is written again,
after a crash or by a second watcher, has the same ids (``Nats-Msg-Id``), and counts once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from tracecraft_cli.autoresearch import naming
from tracecraft_cli.autoresearch.rows import CRASH, DISCARD, KEEP
from tracecraft_core.run_events import (
    Failure,
    Metric,
    Origin,
    Params,
    RunEnded,
    RunStarted,
    Tags,
    WriterLeft,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracecraft_cli.autoresearch.rows import Row
    from tracecraft_cli.autoresearch.training_log import Point, TrainingLog
    from tracecraft_core.bodies import Body

SOURCE: Final = "autoresearch"
"""Value of the tag ``source`` of all these runs."""
LONGEST_NAME: Final = 250
LONGEST_TAG: Final = 400

_Point: TypeAlias = tuple[str, Any, int | None, int]
Kind = Literal["running", "row", "changed", "abandoned"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one writer says of a run; its events are numbered from ``first``."""

    run: str
    writer: str
    events: Sequence[tuple[str, Body]]
    first: int = 1


@dataclass(frozen=True, slots=True)
class File:
    """A file of a run."""

    run: str
    name: str
    content: bytes
    kind: Literal["text", "log"] = "text"


@dataclass(frozen=True, slots=True)
class Branch:
    """The experiment that the rows belong to."""

    repository: str
    """What clones have in common."""
    name: str
    metric: str | None
    """What the agent goes by."""
    higher: bool
    """Whether higher is better."""

    @property
    def run(self) -> str:
        """Its run."""
        return naming.experiment(self.repository, self.name)


@dataclass(frozen=True, slots=True)
class Change:
    """What git knows of an experiment."""

    commit: str = ""
    parent: str = ""
    subject: str = ""
    time: int = 0
    """Microseconds since 1970; 0: not known."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    patch_id: str = ""
    diff: bytes = b""

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the run: the script's constants, which of them are new, and the hash of the change."""
        own = {"commit": self.commit, "parent_commit": self.parent, "patch_id": self.patch_id}
        found = {**self.constants, **{name: value for name, value in own.items() if value}}
        return found | ({"changed": dict(self.changed)} if self.changed else {})


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment: its run, and what is known of it."""

    run: str
    branch: Branch
    change: Change
    began: int
    """Microseconds since 1970."""
    ended: int = 0

    def beginning(self) -> Batch:
        """The run goes on, and has no row yet."""
        return Batch(self.run, self._live, [("started", self._started(self.change.subject, {}, provisional=True))])

    def points(self, points: Sequence[Point], known: int, time: int) -> Batch:
        """The points behind the ``known`` first ones: the number of an event is that of its point."""
        events: list[tuple[str, Body]] = [
            ("metric", Metric(points=[(name, _value(value), point.step, time) for name, value in point.values.items()]))
            for point in points[known:]
        ]
        return Batch(self.run, self._live, events, first=2 + known)

    def left(self, points: int, time: int) -> Batch:
        """The log is over: nothing more of it will come."""
        return Batch(self.run, self._live, [("left", WriterLeft(time=time))], first=2 + points)

    def abandoned(self, time: int) -> Batch:
        """Another experiment began, and nobody wrote a row for this one."""
        error = Failure(type="no row", message="another experiment began before results.tsv had a row for this one")
        ended = RunEnded(status="killed", time=time, error=error)
        return Batch(self.run, naming.writer(self.run, "abandoned"), [("ended", ended)])

    def result(self, row: Row, log: TrainingLog | None, *, before: Row | None = None) -> Batch:
        """What its row says; ``before``: what it said earlier, where it was changed by hand."""
        tags = {"status": row.status, "description": row.description, **row.labels, **(log.labels if log else {})}
        started = self._started(row.description or self.change.subject, tags)
        metrics = {} if before is not None and before.metrics == row.metrics else {**row.metrics}
        if log is not None and not row.crashed and before is None:
            metrics = {**row.metrics, **log.summary}
        events: list[tuple[str, Body]] = [("started", started)]
        if not row.crashed:  # always, so that the numbers behind it hang on the row alone
            points: list[tuple[str, Any, int | None, int]] = [
                (name, value, None, self.ended) for name, value in metrics.items()
            ]
            events.append(("metric", Metric(points=points)))
        events.append(("ended", self._end(row, log)))
        return Batch(self.run, naming.writer(self.run, "row", row.text, before is not None), events)

    def files(self, log: bytes) -> list[File]:
        """Its change and its log."""
        found = [File(self.run, "train.diff", self.change.diff)] if self.change.diff else []
        return [*found, File(self.run, "run.log", log, "log")] if log else found

    @property
    def _live(self) -> str:
        return naming.writer(self.run, "log")

    def _started(self, name: str, tags: Mapping[str, str], *, provisional: bool = False) -> RunStarted:
        change, branch = self.change, self.branch
        own = {"source": SOURCE, "branch": branch.name, "commit": change.commit[:7]}
        return RunStarted(
            name=(name or change.commit[:7] or self.run)[:LONGEST_NAME],
            time=self.began,
            params=change.params,
            tags={key[:LONGEST_NAME]: value[:LONGEST_TAG] for key, value in {**own, **tags}.items() if value},
            parent=branch.run,
            origin=Origin(git_commit=change.commit, git_branch=branch.name, git_dirty=False if change.commit else None),
            provisional=provisional,
        )

    def _end(self, row: Row, log: TrainingLog | None) -> RunEnded:
        if row.status != CRASH:
            return RunEnded(status="finished", time=self.ended)
        said = (log.last_line if log else "") or row.description or "it crashed"
        return RunEnded(
            status="failed", time=self.ended, error=Failure(type="crash", message=said, trace=log.tail if log else "")
        )


def best_of(rows: Sequence[Row], branch: Branch) -> Row | None:
    """The best of the rows that were kept."""
    metric, found = branch.metric or "", None
    for row in rows:
        value = row.metrics.get(metric)
        if row.status != KEEP or value is None or math.isnan(value):
            continue
        if found is None or (value > found.metrics[metric] if branch.higher else value < found.metrics[metric]):
            found = row
    return found


def opened(branch: Branch, writer: str, time: int) -> Batch:
    """The experiment is watched, from now on or again."""
    started = RunStarted(
        name=branch.name[:LONGEST_NAME],
        time=time,
        params={**_goes_by(branch), "better": "higher" if branch.higher else "lower"},
        tags={"source": SOURCE, "branch": branch.name[:LONGEST_TAG]},
        origin=Origin(git_branch=branch.name),
    )
    return Batch(branch.run, writer, [("started", started)])


def measured(branch: Branch, writer: str, time: int) -> Batch:
    """What the agent goes by is known now, or is another one."""
    given = Params(params=_goes_by(branch), time=time)
    return Batch(branch.run, writer, [("param", given), ("left", WriterLeft(time=time))])


def _goes_by(branch: Branch) -> dict[str, Any]:
    """Nothing before there is a table."""
    return {} if branch.metric is None else {"metric": branch.metric}


def closed(branch: Branch, writer: str, time: int) -> Batch:
    """Nobody watches it any more."""
    return Batch(branch.run, writer, [("ended", RunEnded(status="finished", time=time))], first=2)


def progress(branch: Branch, row: Row, run: str, best: Row | None, best_run: str, time: int) -> Batch:
    """What a row means for its experiment: a point of its metric, and of the best so far."""
    metric = branch.metric or ""
    points: list[_Point] = []
    if metric in row.metrics:
        points.append((metric, row.metrics[metric], row.number, time))
    counts = [("kept", row.status == KEEP), ("discarded", row.status == DISCARD), ("crashed", row.crashed)]
    points += [(name, 1.0, row.number, time) for name, true in counts if true]
    tags: dict[str, str] = {}
    if best is not None:
        points.append((f"best_{metric}", best.metrics[metric], row.number, time))
        said = {"best": f"{best.metrics[metric]:g}", "best_run": best_run, "best_commit": best.commit}
        tags = {key: value[:LONGEST_TAG] for key, value in {**said, "best_description": best.description}.items()}
    events: list[tuple[str, Body]] = [
        ("metric", Metric(points=points)),
        ("tag", Tags(tags=tags, time=time)),
        ("left", WriterLeft(time=time)),
    ]
    return Batch(branch.run, naming.writer(branch.run, run, row.text), events)


def _value(number: float) -> float | str:
    """A number as events have it: JSON has no NaN and no infinities."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
