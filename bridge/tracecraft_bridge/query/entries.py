"""``log.entries``: the log as it was written, page by page."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.bundles.extent import extent
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.pages import ROWS_BYTES, checked_limit, decode_cursor, encode_cursor
from tracecraft_bridge.query.refusal import bad_question
from tracecraft_core.queries import EntriesPage, Entry

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import EntriesQuestion

AT_A_TIME: Final = 100
"""Rows that are read before the size of the page is looked at again: a body may have 256 KiB."""
FAMILIES: Final = ("msg", "all", "receipt", "agent", "run", "memory", "task", "other")
SPACIOUS: Final = 300_000
"""Characters from which on a body is spelled again: jsonb writes 1e300 with all its zeros."""

_COLUMNS: Final = """
    epoch, seq, coalesce(to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), ''), subject,
    headers::text, body::text, raw
"""
_NEWEST: Final = "SELECT id FROM epoch WHERE reason <> 'imported' ORDER BY id DESC LIMIT 1"


async def log_entries(asked: Asked, question: EntriesQuestion) -> EntriesPage:
    """``log.entries``."""
    limit = checked_limit(question.limit)
    for family in question.families or ():
        if family not in FAMILIES:
            raise bad_question(f"no family {family!r}", f"one of {', '.join(FAMILIES)}")
    async with asked.pool.snapshot() as connection:
        where, bound = await _conditions(connection, asked.project, question)
        if question.cursor:
            where += " AND (epoch, seq) > (%s, %s)"
            bound += decode_cursor(question.cursor, int, int)
        query = f"SELECT {_COLUMNS} FROM log WHERE {where} ORDER BY epoch, seq LIMIT %s"
        return await _page(connection, query, [*bound, limit + 1], limit)


async def _conditions(connection: Connection, project: str, question: EntriesQuestion) -> tuple[str, list[Any]]:
    where, bound = "project = %s", list[Any]([project])
    first, last, epoch = question.first_seq, question.last_seq, question.epoch
    if question.run is None:
        if question.only_run:
            raise bad_question("only_run without a run", "say which")
        if epoch is None:
            epoch = await _newest(connection)
    else:
        run = await runs.resolve(connection, project, question.run)
        if question.only_run:
            where += " AND run = %s"
            bound.append(run)
        else:
            own, first, last = await _span(connection, project, run, first, last)
            epoch = own if epoch is None else epoch
            where += " AND (run = %s OR family <> 'run')"
            bound.append(run)
    where += (
        " AND seq >= %s" + ("" if epoch is None else " AND epoch = %s") + ("" if last is None else " AND seq <= %s")
    )
    bound += [value for value in (first, epoch, last) if value is not None]
    if question.families is not None:
        where += " AND family = ANY(%s)"
        bound.append(question.families)
    return where, bound


async def _newest(connection: Connection) -> int | None:
    row = await (await connection.execute(_NEWEST)).fetchone()
    return int(row[0]) if row else None


async def _span(connection: Connection, project: str, run: str, first: int, last: int | None) -> tuple[int, int, int]:
    """The epoch of a run, and of the part of the log that is its own, what was asked for."""
    own = await extent(connection, project, run, alone=True)
    assert own is not None
    return own.epoch.id, max(first, own.first_seq), own.last_seq if last is None else min(last, own.last_seq)


async def _page(connection: Connection, query: str, bound: list[Any], limit: int) -> EntriesPage:
    entries: list[Entry] = []
    size, place = 0, (0, 0)
    async with connection.cursor("entries") as cursor:
        await cursor.execute(query.encode(), bound)
        while rows := await cursor.fetchmany(AT_A_TIME):
            for row in rows:
                entry = _entry(row)
                size += len(msgspec.json.encode(entry)) + 1
                if entries and (size > ROWS_BYTES or len(entries) == limit):
                    return EntriesPage(entries=entries, next=encode_cursor(*place))
                entries.append(entry)
                place = row[:2]
    return EntriesPage(entries=entries)


def _entry(row: tuple[Any, ...]) -> Entry:
    _, seq, time, subject, headers, body, raw = row
    return Entry(
        seq=seq,
        time=time,
        subject=subject,
        headers={} if headers is None else json.loads(headers),
        body=None if body is None else msgspec.Raw(_compact(body)),
        raw=None if raw is None else base64.b64encode(raw).decode(),
    )


def _compact(body: str) -> bytes:
    if len(body) <= SPACIOUS:
        return body.encode()
    long = 20
    respelled = json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < long else float(digits))
    return json.dumps(respelled, separators=(",", ":"), ensure_ascii=False).encode()
