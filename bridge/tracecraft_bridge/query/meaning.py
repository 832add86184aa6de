"""What a filter names, held against what the project has: ends of ids, and keys that no run has."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Final, cast

from tracecraft_bridge.filters import conditions
from tracecraft_bridge.filters.conditions import Comparison, IsNan, Not, Present
from tracecraft_bridge.query.refusal import bad_question

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.filters.conditions import Condition
    from tracecraft_bridge.filters.fields import Field

SHOWN: Final = 5
"""Ids or keys that a note or a refusal names."""
_IDS: Final = ("run", "parent", "forked_from")
_EQUALITY: Final = ("=", "!=", "in", "not in")
_NOUNS: Final = {"metric_latest": "metric", "run_param": "param", "run_tag": "tag"}
_ENDING: Final = """
    SELECT r.run FROM run r WHERE r.project = %(project)s AND right(r.run, %(length)s) = %(end)s
    UNION SELECT {column} FROM run r WHERE r.project = %(project)s AND right({column}, %(length)s) = %(end)s
    ORDER BY 1 DESC LIMIT %(limit)s
"""
_KEYS: Final = """
    WITH RECURSIVE k(key) AS (
        (SELECT key FROM {table} WHERE project = %(project)s {more} ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT key FROM {table} WHERE project = %(project)s AND key > k.key {more} ORDER BY key LIMIT 1)
        FROM k WHERE k.key IS NOT NULL
    )
    SELECT key FROM k WHERE key IS NOT NULL LIMIT 1000
"""
"""From key to key by the index, however many runs have each."""


async def whole_ids(connection: Connection, project: str, condition: Condition) -> tuple[Condition, list[str]]:
    """The condition with ids of runs in place of their ends, and a note for each that there is not.

    Refuses with 400 an end that several ids have.
    """
    known: dict[str, str] = {}
    notes = []
    for one in _leaves(condition):
        if not (isinstance(one, Comparison) and one.field.name in _IDS and one.operator in _EQUALITY):
            continue
        for end in cast("tuple[str, ...]", one.values):
            if not end or end in known:
                continue
            found = await _ending(connection, project, one.field, end)
            if not found:
                notes.append(f"no run has an id that is or ends with {end!r}")
            elif end not in found and len(found) > 1:
                more = ", …" if len(found) > SHOWN else ""
                raise bad_question(
                    f"the filter: {end!r} is the end of several ids", f"{', '.join(found[:SHOWN])}{more}"
                )
            known[end] = found[0] if found and end not in found else end
    return _renamed(condition, known), notes


async def unknown_keys(connection: Connection, project: str, asked: Iterable[Field]) -> list[str]:
    """A note for each metric, parameter or tag that no run of the project has."""
    notes = {}
    for field in asked:
        place = field.table, field.key
        if field.key is None or field.table not in _NOUNS or place in notes:
            continue
        more = "AND agent = ''" if field.table == "metric_latest" else ""
        query = f"SELECT FROM {field.table} WHERE project = %s AND key = %s {more} LIMIT 1"
        cursor = await connection.execute(query.encode(), (project, field.key))
        if await cursor.fetchone() is None:
            query = _KEYS.format(table=field.table, more=more)
            cursor = await connection.execute(query.encode(), {"project": project})
            keys = [key for (key,) in await cursor.fetchall()]
            notes[place] = f"no run has {_NOUNS[field.table]} {field.key}: {_instead(field.key, keys)}"
    return list(notes.values())


def fields(condition: Condition) -> Iterator[Field]:
    """The fields that a condition asks about."""
    return (one.field for one in _leaves(condition))


async def _ending(connection: Connection, project: str, field: Field, end: str) -> list[str]:
    cursor = await connection.execute("SELECT run FROM run WHERE project = %s AND run = %s", (project, end))
    if await cursor.fetchone() is not None:
        return [end]
    values = {"project": project, "length": len(end), "end": end, "limit": SHOWN + 1}
    cursor = await connection.execute(_ENDING.format(column=field.sql).encode(), values)
    return [run for (run,) in await cursor.fetchall()]


def _instead(key: str, keys: list[str]) -> str:
    if not keys:
        return "none has any"
    near = difflib.get_close_matches(key, keys, 1)
    shown = ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
    return f"did you mean {near[0]}?" if near else f"there are {shown}"


def _leaves(condition: Condition) -> Iterator[Comparison | Present | IsNan]:
    match condition:
        case Not(inner):
            yield from _leaves(inner)
        case conditions.All(parts) | conditions.Any(parts):
            for part in parts:
                yield from _leaves(part)
        case leaf:
            yield leaf


def _renamed(condition: Condition, known: Mapping[str, str]) -> Condition:
    match condition:
        case Not(inner):
            return Not(_renamed(inner, known))
        case conditions.All(parts) | conditions.Any(parts):
            return type(condition)(tuple(_renamed(part, known) for part in parts))
        case Comparison(field, operator, values) if field.name in _IDS and operator in _EQUALITY:
            return dataclasses.replace(condition, values=tuple(known.get(str(one), one) for one in values))
        case leaf:
            return leaf
