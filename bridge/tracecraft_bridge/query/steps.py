"""``runs.steps``: the steps of a run, page by page, those that are open among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import checked_limit, decode_cursor, encode_cursor, fitting
from tracecraft_bridge.query.values import moment, money
from tracecraft_core.queries import StepRow, StepsPage

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import StepsList

_SHARED: Final = "input_preview, output_preview, input_seq, output_seq, input_blob, output_blob"
_DOUBLED: Final = """
    SELECT step, max(ARRAY[epoch, first_seq]) FROM step
    WHERE step = ANY(%s) AND run = %s AND project = %s GROUP BY step
"""
"""Where each of these steps, as far as it has ended, last began."""
_COST: Final = """
    SELECT step, sum(input_tokens) FILTER (WHERE counted), sum(cache_read_tokens) FILTER (WHERE counted),
           sum(cache_write_tokens) FILTER (WHERE counted), sum(output_tokens) FILTER (WHERE counted),
           sum(reasoning_tokens) FILTER (WHERE counted), sum(amount) FILTER (WHERE currency = 'USD' AND counted),
           (array_agg(model ORDER BY seq))[1], (array_agg(provider ORDER BY seq))[1]
    FROM cost_entry WHERE project = %s AND run = %s AND step = ANY(%s) GROUP BY step
"""


async def runs_steps(asked: Asked, question: StepsList) -> StepsPage:
    """``runs.steps``."""
    limit = checked_limit(question.limit)
    after = decode_cursor(question.cursor, int, int, str) if question.cursor else None
    async with asked.pool.snapshot() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
        found = await _read(connection, asked.project, run, question, after, limit + 1)
        rows = await _once(connection, asked.project, run, found[:limit])
        costs = await _costs(connection, asked.project, run, [row[2] for row in rows])
    steps = [_step(row, costs.get(row[2])) for row in rows]
    fit = fitting(steps)
    if len(fit) < len(steps):
        return StepsPage(steps=fit, next=encode_cursor(*rows[len(fit) - 1][:3]))
    return StepsPage(steps=fit, next=encode_cursor(*found[limit - 1][:3]) if len(found) > limit else None)


async def _read(
    connection: Connection,
    project: str,
    run: str,
    question: StepsList,
    after: tuple[Any, ...] | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    """Rows of both tables, each read from the place on, merged."""
    own, values = "project = %s AND run = %s", [project, run]
    where, bound = own, list[Any](values)
    if question.agent is not None:
        where += " AND agent = %s"
        bound.append(question.agent)
    if after is not None:
        where += " AND (epoch, first_seq, step) > (%s, %s, %s)"
        bound.extend(after)
    ended = where + (" AND status <> 'ok'" if question.errors else "")
    begins = "epoch, first_seq, step, agent, name, kind"
    query = f"""
        (SELECT {begins}, status, started, ended, duration_us, last_seq, parent, task,
                coalesce(nullif(error_type, 'Error') || ': ' || nullif(error_message, ''),
                         nullif(error_message, ''), error_type), {_SHARED}
         FROM step WHERE {ended} ORDER BY epoch, first_seq, step LIMIT %s)
        UNION ALL
        (SELECT {begins}, 'open', started, NULL, NULL, NULL, parent, task, NULL, {_SHARED}
         FROM step_open WHERE {where} AND %s ORDER BY epoch, first_seq, step LIMIT %s)
        ORDER BY 1, 2, 3 LIMIT %s
    """
    cursor = await connection.execute(query.encode(), [*bound, limit, *bound, not question.errors, limit, limit])
    return await cursor.fetchall()


async def _once(connection: Connection, project: str, run: str, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Each step once: of one whose client began it again after its end, the last that ended stands for it."""
    if not rows:
        return rows
    cursor = await connection.execute(_DOUBLED, ([row[2] for row in rows], run, project))
    last = {step: tuple(place) for step, place in await cursor.fetchall()}
    return [row for row in rows if row[:2] == last.get(row[2], row[:2])]


async def _costs(connection: Connection, project: str, run: str, steps: list[str]) -> dict[str, tuple[Any, ...]]:
    if not steps:
        return {}
    cursor = await connection.execute(_COST, (project, run, steps))
    return {row[0]: row[1:] for row in await cursor.fetchall()}


def _step(row: tuple[Any, ...], spent: tuple[Any, ...] | None) -> StepRow:
    _, first_seq, step, agent, name, kind, status, started, ended, took, last_seq, parent, task, error, *values = row
    read, written, input_seq, output_seq, input_blob, output_blob = values
    return StepRow(
        step=step,
        agent=agent,
        name=name,
        kind=kind,
        status=status,
        started=moment(started),
        ended=moment(ended),
        seconds=None if took is None else took / 1e6,
        first_seq=first_seq,
        last_seq=last_seq,
        parent=parent,
        task=task,
        error=error,
        input=read,
        output=written,
        input_seq=input_seq,
        output_seq=output_seq,
        input_blob=input_blob,
        output_blob=output_blob,
        tokens=None if spent is None else runs.token_counts(spent[:5]),
        cost=None if spent is None else money(spent[5]),
        model=None if spent is None else spent[6],
        provider=None if spent is None else spent[7],
    )
