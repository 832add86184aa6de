"""Rows of the log as entries of a bundle."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg import sql

from tracecraft_core.queries import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracecraft_bridge.bundles.spans import Epoch
    from tracecraft_bridge.database import Connection

BATCH: Final = 2_000
"""Entries fetched at a time."""
MEANWHILE: Final = ["memory", "task", "msg", "all", "receipt", "agent"]
"""Families of what happens in a project beside its runs."""

COLUMNS: Final = sql.SQL(
    "l.seq, to_char(l.time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), l.subject, l.headers::text, "
    "l.body::text, replace(encode(l.raw, 'base64'), E'\\n', '')"
)

_headers = msgspec.json.Decoder(dict[str, Any]).decode


def entry(row: Sequence[Any]) -> Entry:
    """The entry of a row of `COLUMNS`; its body stays JSON text."""
    seq, time, subject, headers, body, raw = row[:6]
    return Entry(
        seq=seq,
        time=time or "",
        subject=subject,
        headers=_headers(headers) if headers else {},
        body=None if body is None else msgspec.Raw(body.encode()),
        raw=raw,
    )


@asynccontextmanager
async def batches(
    connection: Connection, project: str, epoch: Epoch, runs: Sequence[str], first: int, last: int
) -> AsyncIterator[AsyncIterator[list[Entry]]]:
    """The entries of runs, and what happened in the project meanwhile, in order, a batch at a time.

    Must be in a transaction: the cursor is on the server, so that memory stays flat.
    """
    query = sql.SQL(
        "SELECT {} FROM log l WHERE {} AND l.project = %s "
        "AND (l.family = ANY(%s) OR l.family = 'run' AND l.run = ANY(%s)) ORDER BY l.epoch, l.seq"
    ).format(COLUMNS, epoch.rows(first, last))
    async with connection.cursor(name="bundle") as cursor:
        await cursor.execute(query, (project, MEANWHILE, list(runs)))

        async def read() -> AsyncIterator[list[Entry]]:
            while rows := await cursor.fetchmany(BATCH):
                yield [entry(row) for row in rows]

        yield read()
