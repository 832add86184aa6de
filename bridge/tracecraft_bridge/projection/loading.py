"""Reading the rows that a batch will change and that are not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_bridge.projection import costs, table, tasks
from tracecraft_bridge.projection.attempt_row import ATTEMPTS
from tracecraft_bridge.projection.metric_row import BUCKETS, SERIES, WIDTHS, Series
from tracecraft_bridge.projection.run_row import AGENTS, DELETED, RUNS
from tracecraft_bridge.projection.run_state import RunState
from tracecraft_bridge.projection.step_row import OPEN, STEPS
from tracecraft_bridge.projection.writers import HOLES, WRITERS, Writer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.projection.batch import Batch, RunKey, StepKey

SeriesKey = tuple[str, str, str, str]
BucketKey = tuple[str, str, str, str, int, int]

_RUN: Final = ("project", "run")
_STEP: Final = ("project", "run", "step")
_SERIES: Final = SERIES.key
_NEWEST_BUCKETS: Final = f"""
    SELECT row_to_json(b)::text FROM json_populate_recordset(NULL::metric_latest, %s::json) k
    JOIN metric_latest t ON {" AND ".join(f"t.{column} = k.{column}" for column in _SERIES)}
    CROSS JOIN (VALUES {", ".join(f"({width})" for width in WIDTHS)}) AS w(width)
    JOIN metric_bucket b ON {" AND ".join(f"b.{column} = k.{column}" for column in _SERIES)} AND b.width = w.width
        AND b.bucket = (t.step - ((t.step %% w.width) + w.width) %% w.width) / w.width
"""
PLANNER: Final = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
"""Every statement of the projections finds a few rows by their key, also in a table that was empty a second ago."""


class Wanted:
    """What the entries of a batch need to know of the tables."""

    def __init__(self) -> None:
        self.series: set[SeriesKey] = set()
        self.steps: set[StepKey] = set()
        self.requests: set[tuple[str, str]] = set()
        self.tasks: set[tuple[str, str, int]] = set()


async def load_runs(connection: Connection, wanted: Collection[RunKey]) -> dict[RunKey, RunState]:
    """Runs with their writers, agents and open steps."""
    found = {key: RunState(*key) for key in wanted}
    argument = (table.keys(_RUN, wanted),)
    async with connection.pipeline():
        runs = await connection.execute(RUNS.select(_RUN), argument)
        writers = await connection.execute(WRITERS.select(_RUN), argument)
        holes = await connection.execute(HOLES.select(_RUN), argument)
        agents = await connection.execute(AGENTS.select(_RUN), argument)
        steps = await connection.execute(OPEN.select(_RUN), argument)
        deleted = await connection.execute(DELETED.select(_RUN), argument)
    for (text,) in await runs.fetchall():
        row = RUNS.row(text)
        state = found[row.project, row.run]
        state.row, state.fresh = row, False
    gaps: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for (text,) in await holes.fetchall():
        hole = HOLES.row(text)
        gaps.setdefault((hole.project, hole.run, hole.writer), []).append((hole.first_number, hole.last_number))
    for (text,) in await writers.fetchall():
        writer = WRITERS.row(text)
        own = sorted(gaps.get((writer.project, writer.run, writer.writer), ()))
        found[writer.project, writer.run].writers[writer.writer] = Writer(writer, own)
    for (text,) in await agents.fetchall():
        agent = AGENTS.row(text)
        found[agent.project, agent.run].agents[agent.agent] = agent
    for step in sorted((OPEN.row(text) for (text,) in await steps.fetchall()), key=lambda row: row.first_seq):
        state = found[step.project, step.run]
        state.open[step.step] = step
        state.stored.add(step.step)
    for (text,) in await deleted.fetchall():
        gone = DELETED.row(text)
        found[gone.project, gone.run].deleted = gone.epoch
    return found


async def load_wanted(connection: Connection, batch: Batch, runs: dict[RunKey, RunState], wanted: Wanted) -> None:
    """Everything else that the receivers asked for."""
    if not (wanted.series or wanted.steps or wanted.requests or wanted.tasks):
        return
    async with connection.pipeline():
        series = buckets = steps = requests = attempts = None
        if wanted.series:
            argument = (table.keys(_SERIES, wanted.series),)
            series = await connection.execute(SERIES.select(_SERIES), argument)
            buckets = await connection.execute(_NEWEST_BUCKETS, argument)
        if wanted.steps:
            steps = await connection.execute(STEPS.select(_STEP), (table.keys(_STEP, wanted.steps),))
        if wanted.requests:
            argument = (table.keys(("project", "request"), wanted.requests),)
            requests = await connection.execute(costs.FIND_REQUESTS, argument)
        if wanted.tasks:
            argument = (table.keys(("project", "task", "epoch"), wanted.tasks),)
            attempts = await connection.execute(tasks.NEWEST, argument)
    if series is not None and buckets is not None:
        for (text,) in await series.fetchall():
            row = SERIES.row(text)
            runs[row.project, row.run].series[row.key, row.agent] = Series(row, known=True)
        _take_buckets(runs, await buckets.fetchall())
    if steps is not None:
        for (text,) in await steps.fetchall():
            step = STEPS.row(text)
            key = (step.project, step.run, step.step)
            known = batch.old_steps.get(key)
            if known is None or (known.epoch, known.first_seq) < (step.epoch, step.first_seq):
                batch.old_steps[key] = step
    if requests is not None:
        for project, request, run in await requests.fetchall():
            batch.requests[project, request] = run
    if attempts is not None:
        for (text,) in await attempts.fetchall():
            attempt = ATTEMPTS.row(text)
            batch.newest_attempts[attempt.project, attempt.task, attempt.epoch] = attempt


async def load_buckets(connection: Connection, runs: dict[RunKey, RunState], wanted: Collection[BucketKey]) -> None:
    """Buckets of steps that lie back."""
    if wanted:
        argument = (table.keys(BUCKETS.key, wanted),)
        cursor = await connection.execute(BUCKETS.select(BUCKETS.key), argument)
        _take_buckets(runs, await cursor.fetchall())


def _take_buckets(runs: dict[RunKey, RunState], found: Iterable[tuple[str]]) -> None:
    for (text,) in found:
        row = BUCKETS.row(text)
        runs[row.project, row.run].series[row.key, row.agent].buckets[row.width, row.bucket] = row
