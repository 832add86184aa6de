"""``runs.outline``: the tree of a run's steps with equal siblings taken together, small for any run.

Where steps are named by number (``epoch 1``, ``epoch 2``) and have very many names, their numbers count as equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import fitting
from tracecraft_bridge.query.values import moment, money
from tracecraft_core.queries import Outline, OutlineGroup

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import RunQuestion

MOST: Final = 1_000
"""Groups of an outline."""
NAMES: Final = 50
"""Different names of steps from which on the numbers in them count as equal."""
DEPTH: Final = 24
"""Levels of the tree; what is deeper stands as if it had no parent."""

_PLAIN: Final = "name"
_NUMBERED: Final = r"regexp_replace(name, '\d+', '#', 'g')"

_MANY_NAMES: Final = """
    SELECT count(*) > %s FROM (SELECT DISTINCT name FROM step WHERE project = %s AND run = %s LIMIT %s) n
"""
# Only steps that have children get a path; `place` is where a step began, epoch and sequence in one number.
_GROUPS: Final = """
    WITH RECURSIVE every AS MATERIALIZED (
        SELECT step, parent, agent, {name} AS name, kind, status, started, ended, duration_us,
               (epoch::bigint << 48) | first_seq AS place
        FROM step WHERE project = %(project)s AND run = %(run)s
        UNION ALL
        SELECT step, parent, agent, {name}, kind, 'open', started, NULL, 0, (epoch::bigint << 48) | first_seq
        FROM step_open WHERE project = %(project)s AND run = %(run)s
    ), parents AS MATERIALIZED (
        SELECT DISTINCT ON (e.step) e.step, e.parent, e.name FROM every e
        JOIN (SELECT DISTINCT parent FROM every WHERE parent IS NOT NULL) p ON p.parent = e.step
    ), tree AS (
        SELECT i.step, ARRAY[i.name] AS path FROM parents i
        WHERE i.parent IS NULL OR NOT EXISTS (SELECT FROM parents p WHERE p.step = i.parent)
        UNION ALL
        SELECT i.step, t.path || i.name FROM tree t JOIN parents i ON i.parent = t.step
        WHERE cardinality(t.path) < %(depth)s
    ), spent AS (
        SELECT step, sum(input_tokens) AS input, sum(cache_read_tokens) AS cache_read,
               sum(cache_write_tokens) AS cache_write, sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning,
               sum(amount) FILTER (WHERE currency = 'USD') AS cost
        FROM cost_entry WHERE project = %(project)s AND run = %(run)s AND counted AND step IS NOT NULL GROUP BY step
    ), grouped AS (
        SELECT e.agent, t.path, e.name, e.kind, count(*), count(*) FILTER (WHERE e.status IN ('error', 'lost')),
               count(*) FILTER (WHERE e.status = 'open'), sum(e.duration_us), max(e.duration_us), min(e.place) AS place,
               min(e.started), max(e.ended),
               sum(s.input), sum(s.cache_read), sum(s.cache_write), sum(s.output), sum(s.reasoning), sum(s.cost)
        FROM every e LEFT JOIN tree t ON t.step = e.parent LEFT JOIN spent s ON s.step = e.step
        GROUP BY 1, 2, 3, 4 ORDER BY place LIMIT %(limit)s
    )
    SELECT g.*, e.step FROM grouped g JOIN every e USING (place) ORDER BY place
"""


async def runs_outline(asked: Asked, question: RunQuestion) -> Outline:
    """``runs.outline``."""
    async with asked.pool.snapshot() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
        found = await _groups(connection, asked.project, run)
    groups = fitting([_group(row) for row in found[:MOST]])
    return Outline(groups=groups, cut=len(groups) < len(found))


async def _groups(connection: Connection, project: str, run: str) -> list[tuple[Any, ...]]:
    many = await (await connection.execute(_MANY_NAMES, (NAMES, project, run, NAMES + 1))).fetchone()
    await connection.execute("SET LOCAL enable_mergejoin = off")  # the size of the recursion is guessed far too high
    found = [] if many and many[0] else await _grouped(connection, _PLAIN, project, run)
    if not found or len(found) > MOST:
        found = await _grouped(connection, _NUMBERED, project, run)
    return found


async def _grouped(connection: Connection, name: str, project: str, run: str) -> list[tuple[Any, ...]]:
    values = {"project": project, "run": run, "depth": DEPTH, "limit": MOST + 1}
    cursor = await connection.execute(_GROUPS.format(name=name).encode(), values)
    return await cursor.fetchall()


def _group(row: tuple[Any, ...]) -> OutlineGroup:
    agent, path, name, kind, steps, errors, still, took, longest, place, started, ended, *tokens, cost, example = row
    return OutlineGroup(
        agent=agent,
        path=[*(path or ()), name],
        kind=kind,
        steps=steps,
        errors=errors,
        open=still,
        seconds=float(took) / 1e6,
        longest=longest / 1e6,
        first_seq=place & (1 << 48) - 1,
        started=moment(started),
        ended=moment(ended),
        example=example,
        tokens=runs.token_counts(tokens),
        cost=money(cost),
    )
