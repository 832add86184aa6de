"""``runs.list``: a page of the runs that a filter holds for, in an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from tracecraft_bridge.filters.grammar import parse
from tracecraft_bridge.filters.mistake import FilterError
from tracecraft_bridge.filters.sql import Compiled, compiled
from tracecraft_bridge.query import meaning, ordering, runs
from tracecraft_bridge.query.pages import checked_limit, decode_cursor, encode_cursor, fitting
from tracecraft_bridge.query.refusal import bad_question
from tracecraft_core.queries import RunsPage

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.filters.conditions import Condition
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_bridge.query.ordering import Section
    from tracecraft_core.queries import RunsList

Place = tuple[int, str, str]
"""Section, value and run of the last row of a page."""


async def runs_list(asked: Asked, question: RunsList) -> RunsPage:
    """``runs.list``."""
    limit = checked_limit(question.limit)
    condition = _condition(question.filter)
    async with asked.pool.snapshot() as connection:
        where, notes = await _meant(connection, asked.project, condition)
        try:
            places = await _places(connection, asked.project, question, where, limit + 1)
        except psycopg.errors.InvalidRegularExpression as error:
            raise bad_question(f"the filter has {error.diag.message_primary}") from None
        rows = await runs.rows(connection, asked.project, [run for _, _, run in places[:limit]])
        if question.cursor is None:
            named = [*(meaning.fields(condition) if condition else ()), ordering.sorted_by(question.sort)]
            notes += await meaning.unknown_keys(connection, asked.project, named)
    fit = fitting(rows)
    goes_on = len(fit) < len(rows) or len(places) > limit
    following = encode_cursor(question.sort, *places[len(fit) - 1]) if goes_on else None
    return RunsPage(runs=fit, next=following, notes=[] if question.cursor else notes)


def _condition(text: str) -> Condition | None:
    try:
        return parse(text)
    except FilterError as error:
        hint = f"{error.hint}\n{error.drawing}" if error.hint else f"\n{error.drawing}"
        raise bad_question(f"the filter, {error}", hint) from None


async def _meant(connection: Connection, project: str, condition: Condition | None) -> tuple[Compiled, list[str]]:
    """The condition as SQL, and what there is to say about it."""
    if condition is None:
        return Compiled("true", ()), []
    meant, notes = await meaning.whole_ids(connection, project, condition)
    return compiled(meant), notes


async def _places(
    connection: Connection, project: str, question: RunsList, condition: Compiled, wanted: int
) -> list[Place]:
    """The keys of a page and of one run more, from as many sections as it takes."""
    sections, key = ordering.sections(question.sort)
    began, *last = _cursor(question) if question.cursor else (0,)
    if began >= len(sections):
        raise bad_question("the cursor is of another order", "pass the same sort with it")
    found: list[Place] = []
    for number in range(began, len(sections)):
        after = (last[0], last[1]) if last and number == began else None
        rows = await _read(connection, project, sections[number], key, condition, after, wanted - len(found))
        found += [(number, ordering.place(value), run) for run, value in rows]
        if len(found) >= wanted:
            break
    return found


def _cursor(question: RunsList) -> Place:
    sort, section, value, run = decode_cursor(question.cursor or "", str, int, str, str)
    if sort != question.sort or section < 0:
        raise bad_question(f"the cursor is of a list sorted by {sort!r}", "pass the same sort with it")
    return section, value, run


async def _read(
    connection: Connection,
    project: str,
    section: Section,
    key: str | None,
    condition: Compiled,
    after: tuple[str, str] | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    behind = f"AND {ordering.behind(section)}" if after else ""
    values = [*([key] if section.keyed else []), project, *condition.values, *(after or ()), limit]
    query = (
        f"SELECT r.run, {section.value} FROM run r {section.join} "
        f"WHERE r.project = %s AND {section.where} AND {condition.sql} {behind} "
        f"ORDER BY {ordering.order(section)} LIMIT %s"
    )
    try:
        cursor = await connection.execute(query.encode(), values)
    except (psycopg.errors.InvalidTextRepresentation, psycopg.errors.InvalidDatetimeFormat):
        if not after:
            raise
        raise bad_question("the cursor is none of this question's", "pass 'next' of an answer unchanged") from None
    return await cursor.fetchall()
