"""Writing a batch: one COPY for each table that grows, one statement for each table whose rows are replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_bridge.projection import costs, labels, memory, metrics, step_row, table, talk
from tracecraft_bridge.projection.artifact_row import ARTIFACTS
from tracecraft_bridge.projection.attempt_row import ATTEMPTS
from tracecraft_bridge.projection.batch import PROBLEMS
from tracecraft_bridge.projection.copy_text import text
from tracecraft_bridge.projection.label_row import TAGS
from tracecraft_bridge.projection.metric_row import BUCKETS, SERIES
from tracecraft_bridge.projection.run_row import AGENTS, DELETED, RUNS
from tracecraft_bridge.projection.writers import HOLES, WRITERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.projection.batch import Batch, StepKey
    from tracecraft_bridge.projection.writers import HoleRow

RUN_TABLES: Final = (
    *("run", "run_writer", "run_hole", "run_problem", "run_param", "run_tag", "run_agent", "step_open", "step"),
    *("metric_chunk", "metric_latest", "metric_bucket", "artifact", "cost_entry"),
)
"""Tables whose rows belong to a run and go with it."""

_STEP_KEY: Final = ("project", "run", "step")
_DELETE_BUNDLE: Final = """
    DELETE FROM bundle b WHERE b.project = %s AND b.run = %s AND (b.epoch <= %s OR EXISTS (
        SELECT FROM epoch e WHERE e.id = b.epoch AND (e.previous, e.imported_at) <= (%s, %s)))
"""
"""That of a run imported before the deletion too, and in a rebuild not that of one imported since."""
_REVIVE: Final = f"{step_row.STEPS.delete} AND t.epoch = k.epoch AND t.first_seq = k.first_seq"


async def write(connection: Connection, batch: Batch) -> None:
    """Write everything, within the caller's transaction."""
    metrics.fold_waiting(batch)
    if batch.revived:
        await connection.execute(_REVIVE, (table.rows(batch.revived),))
    for statement, lines in _copies(batch):
        if lines:
            async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                await copy.write("".join(lines).encode())
    async with connection.pipeline():
        for statement, value in _statements(batch):
            await connection.execute(statement, (value,))
        for key, row in batch.deletions.items():
            for name in RUN_TABLES:
                await connection.execute(_delete(name), key)
            await connection.execute(_DELETE_BUNDLE, (*key, row.epoch, row.epoch, row.seq))
        if batch.deletions:
            await connection.execute(DELETED.upsert, (table.rows(batch.deletions.values()),))


def _delete(name: str) -> str:
    return f"DELETE FROM {name} WHERE project = %s AND run = %s"


def _copies(batch: Batch) -> Iterator[tuple[str, list[str]]]:
    yield step_row.COPY_STEPS, _step_lines(batch)
    yield metrics.COPY_CHUNKS, [line for lines in batch.chunks.values() for line in lines]
    yield costs.COPY_COSTS, [line for lines in batch.costs.values() for line in lines]
    yield talk.COPY_MESSAGES, batch.messages
    yield talk.COPY_DELIVERIES, batch.deliveries
    yield memory.COPY_VERSIONS, batch.versions


def _step_lines(batch: Batch) -> list[str]:
    return [row.line(f"{text(row.project)}\t{text(row.run)}\t") for ended in batch.ended.values() for row in ended]


def _statements(batch: Batch) -> Iterator[tuple[str, str]]:
    """Statements with their one argument; none for a table that does not change."""
    runs = [run for run in batch.runs.values() if run.row is not None]
    gone, new = _holes(batch)
    changes: tuple[tuple[str, Iterable[object]], ...] = (
        (RUNS.upsert, [run.settled() for run in runs]),
        (WRITERS.upsert, [writer.settled() for writer in batch.writers.values()]),
        (HOLES.delete, gone),
        (HOLES.insert, new),
        (PROBLEMS.upsert, list(batch.problems.values())),
        (AGENTS.upsert, [batch.runs[key[:2]].agents[key[2]] for key in batch.agents]),
        (labels.UPSERT_PARAMS, list(batch.params.values())),
        (TAGS.upsert, list(batch.tags.values())),
        (ARTIFACTS.upsert, list(batch.artifacts.values())),
        (step_row.OPEN.upsert, _opened(batch)),
        (step_row.PATCH_STEPS, list(batch.patched.values())),
        (SERIES.upsert, [series.row for series in batch.series.values()]),
        (BUCKETS.upsert, list(batch.buckets.values())),
        (ATTEMPTS.upsert, list(batch.attempts.values())),
    )
    if batch.closed:
        yield step_row.OPEN.delete, table.keys(_STEP_KEY, batch.closed)
    for statement, found in changes:
        if found:
            yield statement, table.rows(found)


def _opened(batch: Batch) -> list[step_row.OpenStep]:
    found: list[step_row.OpenStep] = []
    for key, row in batch.opened.items():
        batch.runs[_run_of(key)].stored.add(row.step)
        found.append(row)
    return found


def _run_of(key: StepKey) -> tuple[str, str]:
    return key[0], key[1]


def _holes(batch: Batch) -> tuple[list[HoleRow], list[HoleRow]]:
    gone: list[HoleRow] = []
    new: list[HoleRow] = []
    for writer in batch.writers.values():
        if writer.holes or writer.stored:
            less, more = writer.hole_changes()
            gone += less
            new += more
    return gone, new
