"""Metrics of a run: the points as they came, the newest state of each key, and roll-ups of its steps.

Sums are added up in the order of the log, chunk by chunk (`math.fsum` of the points of one key in one event), so they
do not depend on how entries were gathered into transactions.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracecraft_bridge.projection.batch import AHEAD_US, EARLIEST_US
from tracecraft_bridge.projection.copy_text import stamp
from tracecraft_bridge.projection.metric_row import LARGEST, WIDTHS, BucketRow, Series, SeriesRow
from tracecraft_core.metric_point import MAX_STEP
from tracecraft_core.run_events import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.run_state import RunState
    from tracecraft_core.run_events import Metric

COPY_CHUNKS: Final = "COPY metric_chunk (project, run, key, agent, epoch, seq, time, steps, times, vals) FROM STDIN"
WHOLE_RUN: Final = ""
"""In the place of an agent: the metric of the run, whoever logged it."""
NOT_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
MAX_POINTS: Final = 100_000
"""In one event; a body has no room for more."""

Point = tuple[str, float, int | None, int]


class Chunk:
    """Points of one key in one event."""

    __slots__ = ("given", "key", "steps", "times", "values")

    def __init__(self, key: str, value: float, step: int | None, time: int) -> None:
        self.key = key
        self.given: list[int | None] = [step]
        """The steps as they were given."""
        self.steps: list[int] = []
        """The same without holes, by `Steps`."""
        self.times = [time]
        self.values = [value]


class Sums(NamedTuple):
    """What a range of points adds."""

    points: int
    nans: int
    """Points that are no numbers; in min, max and sum they are not."""
    min: float | None
    max: float | None
    sum: float
    first: Any
    last: Any
    first_time: str
    last_time: str


def chunks(event: Metric) -> tuple[list[Chunk], str]:
    """The points of an event by key, and what is wrong with those that cannot be, which are left out."""
    found: dict[str, Chunk] = {}
    wrong = list[str]()
    for key, value, step, time in event.points:
        if value.__class__ is str:
            value = NOT_NUMBERS.get(value, value)
        chunk = found.get(key)
        if (
            value.__class__ is str
            or (step is not None and not -MAX_STEP <= step <= MAX_STEP)
            or (chunk is None and not 0 < len(key) <= MAX_NAME)
        ):
            wrong.append(_wrong(key, value))
        elif chunk is None:
            found[key] = Chunk(key, value + 0.0, step, time)  # jsonb knows no negative zero
        else:
            chunk.values.append(value + 0.0)
            chunk.given.append(step)
            chunk.times.append(time)
    return list(found.values()), _told(wrong, len(event.points)) if wrong else ""


def _wrong(key: str, value: float | str) -> str:
    """Why a point cannot be."""
    if not 0 < len(key) <= MAX_NAME:
        return f"the name of a metric has {len(key)} characters, not 1 to {MAX_NAME}"
    if isinstance(value, str):
        return f"the value of {key} is a text that is no number"
    return f"a step of {key} is out of range"


def _told(wrong: list[str], points: int) -> str:
    """What is wrong with the points that were left out, each thing once."""
    return f"{len(wrong)} of {points} points cannot be and were left out: {', '.join(dict.fromkeys(wrong))}"


class Steps:
    """Gives steps to the points that have none, and finds what of the roll-ups must be read from the tables.

    Both need the points of a batch in their order, and the newest state of their series.
    """

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str, str, str], int] = {}
        self.old_buckets: set[tuple[str, str, str, str, int, int]] = set()
        """Buckets that the tables may have and that are not at hand."""

    def resolve(self, run: RunState, agent: str, found: list[Chunk]) -> None:
        """The next event of the batch."""
        for chunk in found:
            self._number(run, agent, chunk)
            whole = run.series.get((chunk.key, WHOLE_RUN))
            if whole is not None and whole.known and min(chunk.steps) < whole.floor:
                self._want(whole, chunk.steps)
                own = run.series.get((chunk.key, agent))
                if own is not None and own.known:
                    self._want(own, chunk.steps)

    def _number(self, run: RunState, agent: str, chunk: Chunk) -> None:
        """A point without a step is the next of its agent."""
        name, given = (run.run, chunk.key, agent, run.project), chunk.given
        newest = self._newest.get(name)
        if newest is None:
            series = run.series.get((chunk.key, agent))
            newest = max(-1, series.row.step) if series is not None else -1
        steps = chunk.steps
        if None in given:
            for step in given:
                steps.append(newest + 1 if step is None else step)
                newest = max(newest, steps[-1])
        else:
            steps += given  # type: ignore[arg-type]
            newest = max(newest, *steps)
        self._newest[name] = newest

    def _want(self, series: Series, steps: list[int]) -> None:
        if min(steps) >= series.floor:
            return
        row = series.row
        for width in WIDTHS:
            for number in {step // width for step in steps if step <= series.top}:
                if (width, number) not in series.buckets:
                    self.old_buckets.add((row.project, row.run, row.key, row.agent, width, number))


def on_metric(batch: Batch, run: RunState, entry: Entry, found: list[Chunk]) -> None:
    """``metric``."""
    row = run.row
    assert row is not None
    agent = entry.parts.agent or ""
    latest = entry.time + AHEAD_US
    lines = batch.chunks.get((run.project, run.run))
    if lines is None:
        lines = batch.chunks[run.project, run.run] = []
    shown = f"{entry.epoch}\t{entry.seq}\t{stamp(entry.time)}"
    for chunk in found:
        own, whole = series_of(run, chunk.key, agent), series_of(run, chunk.key, WHOLE_RUN)
        batch.series[id(own)], batch.series[id(whole)] = own, whole
        times, values = chunk.times, chunk.values
        row.points += len(values)
        if not (min(times) >= EARLIEST_US and max(times) <= latest):
            batch.problem(run, entry, "a time cannot be, the server's was taken")
            times = [time if EARLIEST_US <= time <= latest else entry.time for time in times]
        if len(values) == 1:
            value, step, time = values[0], chunk.steps[0], times[0]
            point = (step, time, value)
            own.waiting.append(point)
            whole.waiting.append(point)
            lines.append(f"{own.prefix}{shown}\t{{{step}}}\t{{{time}}}\t{{{value!r}}}\n")
        else:
            _fold_many(batch, (own, whole), chunk, times)
            columns = "\t".join("{" + ",".join(map(repr, column)) + "}" for column in (chunk.steps, times, values))
            lines.append(f"{own.prefix}{shown}\t{columns}\n")


def series_of(run: RunState, key: str, agent: str) -> Series:
    """The series at hand, made when it is new."""
    found = run.series.get((key, agent))
    if found is None:
        row = SeriesRow(run.project, run.run, key, agent, None, -1, "", None)
        found = run.series[key, agent] = Series(row, known=False)
    return found


def fold_waiting(batch: Batch) -> None:
    """Fold the single points that wait in the series of a batch, before these are written."""
    for series in batch.series.values():
        if series.waiting:
            _fold_points(batch, series)


def _fold_points(batch: Batch, series: Series) -> None:
    """The same as folding them one by one."""
    steps, times, values = zip(*series.waiting, strict=True)
    series.waiting.clear()
    row = series.row
    if not row.points:
        row.first, row.step = json_number(values[0]), steps[0]
    _add(row, values)
    newest = _newest(steps)
    if steps[newest] >= row.step:
        row.value, row.step, row.time = json_number(values[newest]), steps[newest], stamp(times[newest])
    lowest, highest = min(steps), max(steps)
    for width in WIDTHS:
        if lowest // width == highest // width:
            _add_range(batch, series, (width, lowest // width), times, values)
            continue
        begin = 0
        for number, group in groupby([step // width for step in steps]):
            end = begin + sum(1 for _ in group)
            _add_range(batch, series, (width, number), times[begin:end], values[begin:end])
            begin = end


def _add_range(
    batch: Batch, series: Series, name: tuple[int, int], times: Sequence[int], values: Sequence[float]
) -> None:
    """Points to one bucket."""
    last, last_time = json_number(values[-1]), stamp(times[-1])
    bucket = series.buckets.get(name)
    if bucket is None:
        bucket = _bucket(series, name, json_number(values[0]), last, stamp(times[0]), last_time)
    else:
        bucket.last, bucket.last_time = last, last_time
    batch.buckets[id(bucket)] = bucket
    _add(bucket, values)


def _bucket(series: Series, name: tuple[int, int], first: Any, last: Any, first_time: str, last_time: str) -> BucketRow:
    row = series.row
    key = (row.project, row.run, row.key, row.agent, *name)
    bucket = series.buckets[name] = BucketRow(*key, first, last, first_time, last_time)
    return bucket


def _add(row: SeriesRow | BucketRow, values: Sequence[float]) -> None:
    """Points to a row, one by one."""
    row.points += len(values)
    if not math.isfinite(sum(values)):
        numbers = [value for value in values if math.isfinite(value)]
        row.nans += len(values) - len(numbers)
        if not numbers:
            return
        values = numbers
    lowest, highest = min(values), max(values)
    if row.min is None or lowest < row.min:
        row.min = lowest
    if row.max is None or highest > row.max:
        row.max = highest
    total = row.sum
    for value in values:
        total += value
    if not -LARGEST <= total <= LARGEST:
        total = row.sum
        for value in values:
            total = _bounded(total + value)
    row.sum = total


def _fold_many(batch: Batch, both: tuple[Series, Series], chunk: Chunk, times: list[int]) -> None:
    """A chunk of several points: what it adds is summed up first."""
    values = chunk.values
    whole, ranges = _sums(times, values, 0, len(values)), _ranges(chunk.steps, times, values)
    for series in both:
        if series.waiting:
            _fold_points(batch, series)
        _renew(series.row, chunk, times, whole)
        for step, sums in ranges:
            _roll_up(batch, series, step, sums)


def _ranges(steps: list[int], times: list[int], values: list[float]) -> list[tuple[int, Sums]]:
    """What the points add to each of the narrowest buckets that they meet one after another."""
    found, begin = list[tuple[int, Sums]](), 0
    for _, group in groupby([step // WIDTHS[0] for step in steps]):
        end = begin + sum(1 for _ in group)
        found.append((steps[begin], _sums(times, values, begin, end)))
        begin = end
    return found


def _renew(row: SeriesRow, chunk: Chunk, times: list[int], sums: Sums) -> None:
    """The newest state of a series."""
    steps = chunk.steps
    if not row.points:
        row.first, row.step = sums.first, min(steps)
    _merge(row, sums)
    newest = _newest(steps)
    if steps[newest] >= row.step:
        row.value, row.step, row.time = json_number(chunk.values[newest]), steps[newest], stamp(times[newest])


def _newest(steps: Sequence[int]) -> int:
    """The place of the highest step; of equal ones the last."""
    if len(steps) == 1:
        return 0
    last = len(steps) - 1
    highest = max(steps)
    return last if steps[last] == highest else last - steps[::-1].index(highest)


def _roll_up(batch: Batch, series: Series, step: int, sums: Sums) -> None:
    buckets, changed = series.buckets, batch.buckets
    for width in WIDTHS:
        name = (width, step // width)
        bucket = buckets.get(name)
        if bucket is None:
            bucket = _bucket(series, name, sums.first, sums.last, sums.first_time, sums.last_time)
        _merge(bucket, sums)
        bucket.last, bucket.last_time = sums.last, sums.last_time
        changed[id(bucket)] = bucket


def _merge(row: SeriesRow | BucketRow, sums: Sums) -> None:
    points, nans, lowest, highest, total = sums[:5]
    row.points += points
    row.nans += nans
    if lowest is None or highest is None:
        return
    if row.min is None or lowest < row.min:
        row.min = lowest
    if row.max is None or highest > row.max:
        row.max = highest
    total += row.sum
    row.sum = total if -LARGEST <= total <= LARGEST else math.copysign(LARGEST, total)


def _sums(times: list[int], values: list[float], begin: int, end: int) -> Sums:
    first, last = values[begin], values[end - 1]
    numbers = [value for value in values[begin:end] if math.isfinite(value)]
    edges = (json_number(first), json_number(last), stamp(times[begin]), stamp(times[end - 1]))
    if not numbers:
        return Sums(end - begin, end - begin, None, None, 0.0, *edges)
    return Sums(end - begin, end - begin - len(numbers), min(numbers), max(numbers), _total(numbers), *edges)


def _total(numbers: list[float]) -> float:
    try:
        return _bounded(math.fsum(numbers))
    except OverflowError:
        return LARGEST


def _bounded(total: float) -> float:
    return max(-LARGEST, min(LARGEST, total))


def json_number(value: float) -> float | str:
    """A number as JSON can have it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
