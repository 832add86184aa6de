"""``runs.get``: everything about one run but its steps and points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.bundles.extent import extent
from tracecraft_bridge.filters.fields import AGENT_STATUS, MEAN
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import ROWS_BYTES, fitting
from tracecraft_bridge.query.values import moment, money, number
from tracecraft_core import ids
from tracecraft_core.queries import AgentRow, ArtifactRow, BundleRow, MetricSummary, RunDetail, RunRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import RunQuestion

MOST: Final = 1_000
"""Most agents, metrics, artifacts and children, each."""
_ORIGIN: Final = ("host", "pid", "command", "python", "tracecraft", "git_commit", "git_branch", "git_dirty")

_RUN: Final = f"""
    SELECT events, points, problems, trace, {", ".join(_ORIGIN)},
           error_type, error_message, last_step, forked_from, forked_at
    FROM run WHERE project = %s AND run = %s
"""
_AGENTS: Final = f"""
    SELECT x.agent, {AGENT_STATUS}, x.started,
           CASE WHEN x.status = 'running' AND r.status <> 'running' THEN r.ended ELSE x.ended END,
           x.model, x.role, x.steps, x.errors, x.last_step,
           c.input, c.cache_read, c.cache_write, c.output, c.reasoning, c.cost, coalesce(c.unpriced, 0)
    FROM run_agent x JOIN run r USING (project, run) LEFT JOIN (
        SELECT agent, sum(input_tokens) AS input, sum(cache_read_tokens) AS cache_read,
               sum(cache_write_tokens) AS cache_write, sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning,
               sum(amount) FILTER (WHERE currency = 'USD') AS cost,
               count(*) FILTER (WHERE amount IS NULL) AS unpriced
        FROM cost_entry WHERE project = %s AND run = %s AND counted GROUP BY agent
    ) c ON c.agent = x.agent
    WHERE x.project = %s AND x.run = %s ORDER BY x.first_seq, x.agent LIMIT %s
"""
"""An agent that nobody ended is over with its run."""
_METRICS: Final = f"""
    SELECT key, agent, value, step, time, first, min, max, {MEAN}, points, nans
    FROM metric_latest x WHERE project = %s AND run = %s ORDER BY agent <> '', key, agent LIMIT %s
"""
_INFINITE: Final = """
    SELECT c.key, c.agent, count(*) FILTER (WHERE v = '-Infinity'), count(*) FILTER (WHERE v = 'Infinity')
    FROM metric_chunk c CROSS JOIN unnest(c.vals) v
    WHERE c.project = %s AND c.run = %s AND c.key = ANY(%s) AND v IN ('-Infinity', 'Infinity') GROUP BY c.key, c.agent
"""
"""Only the points say which of those that are not finite are infinite."""
_ARTIFACTS: Final = """
    SELECT name, sha256, size, media_type, kind, agent, time, run, step
    FROM artifact WHERE project = %s AND run = %s ORDER BY name LIMIT %s
"""
_CHILDREN: Final = "SELECT run FROM run WHERE project = %s AND parent = %s ORDER BY started, run LIMIT %s"
_BUNDLE: Final = "SELECT sha256, size, root, first_seq, last_seq, made FROM bundle WHERE project = %s AND run = %s"


async def runs_get(asked: Asked, question: RunQuestion) -> RunDetail:
    """``runs.get``."""
    project = asked.project
    async with asked.pool.snapshot() as connection:
        run = await runs.resolve(connection, project, question.run)
        row = (await runs.rows(connection, project, [run], whole=True))[0]
        (found,) = await _rows(connection, _RUN, project, run)
        place = await extent(connection, project, run, alone=True)
        agents = [_agent(one) for one in await _rows(connection, _AGENTS, project, run, project, run, MOST)]
        metrics = [_metric(one) for one in await _rows(connection, _METRICS, project, run, MOST)]
        metrics = await _with_infinities(connection, project, run, metrics)
        artifacts = [artifact_row(one) for one in await _rows(connection, _ARTIFACTS, project, run, MOST)]
        names = [name for (name,) in await _rows(connection, _CHILDREN, project, run, MOST)]
        children = await runs.rows(connection, project, names)
        bundles = await _rows(connection, _BUNDLE, project, run)
    assert place is not None
    (*counts, trace), origin, (error, message, *rest) = found[:4], found[4:12], found[12:]
    detail = RunDetail(
        row=row,
        project=project,
        epoch=place.epoch.id,
        first_seq=place.first_seq,
        last_seq=place.last_seq,
        **dict(zip(("events", "points", "problems"), counts, strict=True)),
        trace=trace or ids.trace(project, run),
        origin={name: value for name, value in zip(_ORIGIN, origin, strict=True) if value is not None},
        error=None if error is None else {"type": error, "message": message or ""},
        **dict(zip(("last_step", "forked_from", "forked_at"), rest, strict=True)),
        agents=agents,
        metrics=metrics,
        artifacts=artifacts,
        children=children,
        bundle=_bundle(bundles[0]) if bundles else None,
    )
    return _within_bounds(detail)


def _within_bounds(detail: RunDetail) -> RunDetail:
    """A run with very much of everything, cut to what one message holds; ``cut`` says what is not whole."""
    cut = [name for name in ("agents", "metrics", "artifacts", "children") if len(getattr(detail, name)) >= MOST]
    if len(msgspec.json.encode(detail)) > ROWS_BYTES:
        for name in ("params", "tags", "metrics"):
            kept = dict(fitting(list(getattr(detail.row, name).items()), ROWS_BYTES // 6))
            if len(kept) < len(getattr(detail.row, name)):
                cut.append(f"row.{name}")
            row: RunRow = msgspec.structs.replace(detail.row, **{name: kept})
            detail = msgspec.structs.replace(detail, row=row)
        for name in ("agents", "metrics", "artifacts", "children"):
            rows = fitting(getattr(detail, name), ROWS_BYTES // 9)
            if len(rows) < len(getattr(detail, name)):
                cut.append(name)
            detail = msgspec.structs.replace(detail, **{name: rows})
    return msgspec.structs.replace(detail, cut=sorted(set(cut))) if cut else detail


async def _rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query.encode(), values)
    return await cursor.fetchall()


def _agent(row: tuple[Any, ...]) -> AgentRow:
    agent, status, started, ended, model, role, steps, errors, last_step, *tokens, cost, unpriced = row
    return AgentRow(
        agent=agent,
        status=status,
        started=moment(started),
        ended=moment(ended),
        model=model,
        role=role,
        steps=steps,
        errors=errors,
        last_step=last_step,
        tokens=runs.token_counts(tokens),
        cost=money(cost),
        unpriced=unpriced,
    )


def _metric(row: tuple[Any, ...]) -> MetricSummary:
    key, agent, value, step, time, *numbers, points, nans = row
    first, least, most, mean = _numbers(numbers)
    return MetricSummary(
        key=key,
        agent=agent,
        value=number(value),
        step=step,
        time=moment(time),
        first=first,
        min=least,
        max=most,
        mean=mean,
        points=points,
        nans=nans,
    )


async def _with_infinities(
    connection: Connection, project: str, run: str, metrics: list[MetricSummary]
) -> list[MetricSummary]:
    """The same, with infinities told from NaN; points are read only of metrics that have one or the other."""
    keys = sorted({metric.key for metric in metrics if metric.nans})
    if not keys:
        return metrics
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for key, agent, low, high in await _rows(connection, _INFINITE, project, run, keys):
        for who in {agent, ""}:  # every point is one of the whole run too
            before = found.get((key, who), (0, 0))
            found[key, who] = (before[0] + low, before[1] + high)
    return [_told_apart(metric, *found.get((metric.key, metric.agent), (0, 0))) for metric in metrics]


def _told_apart(metric: MetricSummary, low: int, high: int) -> MetricSummary:
    if not low + high:
        return metric
    least = "-Infinity" if low else "Infinity" if metric.min is None else metric.min
    most = "Infinity" if high else "-Infinity" if metric.max is None else metric.max
    told: MetricSummary = msgspec.structs.replace(
        metric, min=least, max=most, nans=metric.nans - low - high, infinite=low + high
    )
    return told


def _numbers(values: list[float | None]) -> Iterator[float | str | None]:
    return (number(value) for value in values)


def artifact_row(row: tuple[Any, ...]) -> ArtifactRow:
    """An artifact of the columns name, sha256, size, media_type, kind, agent, time, run, step."""
    name, sha256, size, media_type, kind, agent, time, run, step = row
    return ArtifactRow(
        name=name,
        sha256=sha256,
        size=size,
        media_type=media_type,
        kind=kind,
        agent=agent,
        time=moment(time),
        run=run,
        step=step,
    )


def _bundle(row: tuple[Any, ...]) -> BundleRow:
    sha256, size, root, first_seq, last_seq, made = row
    return BundleRow(sha256=sha256, size=size, root=root, first_seq=first_seq, last_seq=last_seq, made=moment(made))
