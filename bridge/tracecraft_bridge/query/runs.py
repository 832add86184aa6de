"""Runs as rows of answers, and which run is meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tracecraft_bridge.query.refusal import not_found
from tracecraft_bridge.query.values import moment, money, number
from tracecraft_core.queries import RunRow, Tokens

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from tracecraft_bridge.database import Connection

KEYS: Final = 50
"""Most params, tags and metrics, each, of a run in a list."""
VALUE: Final = 512
"""Characters of a param or tag in a list; a longer one is cut, with ``…``."""
CANDIDATES: Final = 5
"""Ids that a refusal names."""
_RECENT: Final = 1_000
"""Newest runs among which the nearest ids are looked for."""

_ELSEWHERE: Final = " (-p names another project)"
_COLUMNS: Final = (
    "r.run, r.name, r.status, r.agent, r.started, r.ended, r.heard, r.purpose, r.parent, r.steps, r.errors, "
    "r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.output_tokens, r.reasoning_tokens, "
    "r.cost, r.unpriced, coalesce(r.reason, r.error_message)"
)


class Details(NamedTuple):
    """What other tables have of some runs, by run."""

    params: dict[str, dict[str, Any]]
    tags: dict[str, dict[str, str]]
    metrics: dict[str, dict[str, Any]]


async def resolve(connection: Connection, project: str, given: str) -> str:
    """The id of the run that is meant: it itself, or the end of it that only one run has. Refuses with 404."""
    if await _exists(connection, project, given):
        return given
    ending = await _ending(connection, project, given)
    if len(ending) == 1:
        return ending[0]
    if ending:
        more = "" if len(ending) <= CANDIDATES else ", …"
        raise not_found("run", given, f"several runs end so: {', '.join(ending[:CANDIDATES])}{more}")
    raise not_found("run", given, await _nearest(connection, project, given))


async def _exists(connection: Connection, project: str, run: str) -> bool:
    cursor = await connection.execute("SELECT FROM run WHERE project = %s AND run = %s", (project, run))
    return await cursor.fetchone() is not None


async def _ending(connection: Connection, project: str, end: str) -> list[str]:
    if not end:
        return []
    cursor = await connection.execute(
        "SELECT run FROM run WHERE project = %s AND right(run, %s) = %s ORDER BY run DESC LIMIT %s",
        (project, len(end), end, CANDIDATES + 1),
    )
    return [run for (run,) in await cursor.fetchall()]


async def _nearest(connection: Connection, project: str, given: str) -> str:
    cursor = await connection.execute(
        "SELECT run, name FROM run WHERE project = %s ORDER BY started DESC LIMIT %s", (project, _RECENT)
    )
    found = await cursor.fetchall()
    if not found:
        return f"project {project} has no runs{_ELSEWHERE}"
    named = [run for run, name in found if name == given]
    if named:
        return f"runs of this name in project {project}: {', '.join(named[:CANDIDATES])}"
    near = difflib.get_close_matches(given, [run for run, _ in found], 3)
    near += [run for run, _ in found if run.endswith(tuple(difflib.get_close_matches(given, _ends(found), 3)))][:3]
    if near:
        return f"the nearest in project {project} are {', '.join(dict.fromkeys(near))}{_ELSEWHERE}"
    return f"the newest in project {project} is {found[0][0]}{_ELSEWHERE}"


def _ends(found: Sequence[tuple[Any, ...]]) -> list[str]:
    return [run.rpartition("-")[2] for run, _ in found] or ["-"]


async def rows(connection: Connection, project: str, wanted: Sequence[str], *, whole: bool = False) -> list[RunRow]:
    """The rows of these runs, in this order; ``whole``: with every key and every value as long as it is."""
    if not wanted:
        return []
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM run r WHERE r.project = %s AND r.run = ANY(%s)", (project, list(wanted))
    )
    found = {row[0]: row for row in await cursor.fetchall()}
    details = await _details(connection, project, list(found), None if whole else KEYS)
    return [_row(found[run], details) for run in wanted if run in found]


async def _details(connection: Connection, project: str, wanted: list[str], keys: int | None) -> Details:
    params = await _by_run(connection, _of_each("run_param", "value::text", keys), project, wanted)
    tags = await _by_run(connection, _of_each("run_tag", "value", keys), project, wanted)
    metrics = await _by_run(connection, _of_each("metric_latest", "value", keys, "AND agent = ''"), project, wanted)
    long = None if keys is None else VALUE
    return Details(
        {run: {key: _param(value, long) for key, value in pairs} for run, pairs in params.items()},
        {run: {key: _cut(value, long) for key, value in pairs} for run, pairs in tags.items()},
        {run: {key: number(value) for key, value in pairs} for run, pairs in metrics.items()},
    )


def _of_each(table: str, value: str, keys: int | None, more: str = "") -> str:
    """Key and value of each run, in the order of the keys."""
    return (
        f"SELECT w.run, x.key, x.value FROM unnest(%s::text[]) AS w(run), LATERAL (SELECT key, {value} AS value "
        f"FROM {table} WHERE project = %s AND run = w.run {more} ORDER BY key {f'LIMIT {keys}' if keys else ''}) x"
    )


async def _by_run(
    connection: Connection, query: str, project: str, wanted: list[str]
) -> dict[str, list[tuple[str, Any]]]:
    cursor = await connection.execute(query, (wanted, project))
    found: dict[str, list[tuple[str, Any]]] = {}
    for run, key, value in await cursor.fetchall():
        found.setdefault(run, []).append((key, value))
    return found


def _param(text: str, long: int | None) -> Any:
    """A parameter's JSON as it is; one that is too long for a list becomes text that says so."""
    return msgspec.Raw(text.encode()) if long is None or len(text) <= long else text[:long] + "…"


def _cut(text: str, long: int | None) -> str:
    return text if long is None or len(text) <= long else text[:long] + "…"


def _row(row: tuple[Any, ...], details: Details) -> RunRow:
    run, name, status, agent, started, ended, heard, purpose, parent, steps, errors, *tokens, cost, unpriced, why = row
    return RunRow(
        run=run,
        name=name,
        status=status,
        agent=agent,
        started=moment(started),
        ended=moment(ended),
        seconds=_seconds(started, ended or heard),
        purpose=purpose,
        parent=parent,
        steps=steps,
        errors=errors,
        tokens=token_counts(tokens),
        cost=money(cost),
        unpriced=unpriced,
        reason=why,
        params=details.params.get(run, {}),
        tags=details.tags.get(run, {}),
        metrics=details.metrics.get(run, {}),
    )


def token_counts(counts: Iterable[int | Decimal | None]) -> Tokens:
    """Input, cache read, cache write, output and reasoning tokens, as they stand in the tables."""
    read, cached, written, output, reasoning = (int(count or 0) for count in counts)
    return Tokens(input=read, cache_read=cached, cache_write=written, output=output, reasoning=reasoning)


def _seconds(began: datetime.datetime, ended: datetime.datetime) -> float:
    return max(0.0, (ended - began).total_seconds())
