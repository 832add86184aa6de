"""Making all projections again from the table ``log``, in its order; the result is what it was.

`VERSION` of the code and ``projection.version`` decide: a newer code, or ``tracecraft-bridge rebuild``, which sets it
to 0. It goes in steps that are committed one by one, and goes on where it was after a break; until the end the version
stays 0, so that everybody can see that the projections are not whole.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tracecraft_bridge.import_entries import IMPORTED
from tracecraft_bridge.projection.entry import Entry
from tracecraft_bridge.projection.writing import RUN_TABLES
from tracecraft_bridge.projector import VERSION
from tracecraft_bridge.refusals import apply_carefully
from tracecraft_bridge.subject_parts import subject_parts
from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.projector import Projector

logger = logging.getLogger(__name__)

TABLES: Final = (*RUN_TABLES, "run_deleted", "message", "delivery", "memory_version", "task_attempt")
"""All projections."""
ROWS: Final = 4_000
BYTES: Final = 16 * 1024 * 1024
"""At most so much of the log in one transaction, about."""

_NEXT: Final = f"""
    SELECT seq, time, subject, body, raw, headers, origin_seq, operation, size, run FROM (
        SELECT *, sum(coalesce(size, 1000)) OVER (ORDER BY seq) - coalesce(size, 1000) AS bytes_before FROM (
            SELECT seq, CASE WHEN isfinite(time) THEN (extract(epoch FROM time) * 1000000)::bigint ELSE 0 END AS time,
                   subject, body::text AS body, raw, headers::text AS headers, origin_seq, operation, size,
                   run
            FROM log WHERE epoch = %s AND seq > %s AND seq <= %s ORDER BY seq LIMIT {ROWS}
        ) page
    ) counted WHERE bytes_before < {BYTES} ORDER BY seq
"""


class Segment(NamedTuple):
    """Entries of an epoch that were mirrored, or imported, one after another."""

    epoch: int
    after: int
    last: int


async def want(connection: Connection) -> None:
    """Have the active bridge make everything again."""
    await connection.execute("UPDATE projection SET version = 0, epoch = NULL, seq = NULL")


async def rebuild_if_needed(connection: Connection, projector: Projector, alive: Callable[[], None]) -> bool:
    """Make the projections again when they are not of this version; whether that was so."""
    version, position = await _state(connection)
    if version == VERSION:
        if position is None or not await _is_ahead(connection, *position):
            return False
        logger.warning("the projections know more than the log: the database was set back")
        version = -1
    if version != 0 or position is None:
        position = await _begin(connection, projector)
    logger.info("making the projections again, from sequence %d of epoch %d on", position[1] + 1, position[0])
    done = 0
    for segment in _rest(await segments(connection), *position):
        done += await _fold(connection, projector, segment, alive)
    await connection.execute(
        "UPDATE projection SET version = %s, rebuilt = now(), epoch = NULL, seq = NULL", (VERSION,)
    )
    logger.info("the projections are whole, %d entries", done)
    return True


async def segments(connection: Connection) -> list[Segment]:
    """The log in the order in which it came to be: an imported epoch stands where it was imported."""
    cursor = await connection.execute(
        "SELECT id, reason, previous, imported_at, (SELECT max(seq) FROM log WHERE epoch = id) FROM epoch ORDER BY id"
    )
    epochs = await cursor.fetchall()
    imports: dict[int, list[tuple[int, int, int]]] = {}
    for number, reason, previous, place, last in epochs:
        if reason == IMPORTED:
            imports.setdefault(previous or 0, []).append((place or 0, number, last or 0))
    found = [Segment(number, -1, last) for _, number, last in sorted(imports.pop(0, []))]
    for number, reason, _, _, last in epochs:
        if reason == IMPORTED:
            continue
        after = -1
        for place, imported, imported_last in sorted(imports.get(number, [])):
            found += [Segment(number, after, place), Segment(imported, -1, imported_last)]
            after = place
        found.append(Segment(number, after, last or 0))
    return found


async def _state(connection: Connection) -> tuple[int, tuple[int, int] | None]:
    cursor = await connection.execute("SELECT version, epoch, seq FROM projection")
    row = await cursor.fetchone()
    assert row is not None
    return row[0], None if row[1] is None else (row[1], row[2])


async def _is_ahead(connection: Connection, epoch: int, seq: int) -> bool:
    """Whether the projections have entries that the log does not: somebody restored a part of the database."""
    cursor = await connection.execute(
        "SELECT FROM checkpoint WHERE stream = %s AND (epoch, seq) < (%s, %s)", (subjects.LOG, epoch, seq)
    )
    return await cursor.fetchone() is not None


async def _begin(connection: Connection, projector: Projector) -> tuple[int, int]:
    await want(connection)  # committed first: nobody may take empty tables for the truth
    async with projector.exclusive:
        projector.forget()
        async with connection.transaction():
            await connection.execute(f"TRUNCATE {', '.join(TABLES)}")
            await connection.execute("UPDATE projection SET epoch = 0, seq = 0")
    return 0, 0


def _rest(found: list[Segment], epoch: int, seq: int) -> list[Segment]:
    """What is behind a position."""
    for place, segment in enumerate(found):
        if segment.epoch == epoch and segment.after <= seq and seq < segment.last:
            return [segment._replace(after=seq), *found[place + 1 :]]
        if segment.epoch == epoch and seq == segment.last:
            return found[place + 1 :]
    return found


async def _fold(connection: Connection, projector: Projector, segment: Segment, alive: Callable[[], None]) -> int:
    done = 0
    while True:
        cursor = await connection.execute(_NEXT, segment)
        entries = [_entry(segment.epoch, row) for row in await cursor.fetchall()]
        if not entries:
            return done
        async with projector.exclusive:
            await apply_carefully(connection, projector, entries, partial(_advance, connection, entries[-1]))
        segment = segment._replace(after=entries[-1].seq)
        done += len(entries)
        alive()


async def _advance(connection: Connection, last: Entry) -> None:
    await connection.execute("UPDATE projection SET epoch = %s, seq = %s", (last.epoch, last.seq))


def _entry(epoch: int, row: tuple[Any, ...]) -> Entry:
    seq, time, subject, body, raw, headers, origin_seq, operation, size, run = row
    read = raw if raw is not None else body.encode() if body is not None else b""
    named = msgspec.json.decode(headers) if headers is not None else {}
    if run is None:  # of an imported epoch: a run that is not in the bundle
        named.pop(subjects.RUN, None)
    parts = subject_parts(subject)
    return Entry(epoch, seq, time, parts, named, read, len(read) if size is None else size, origin_seq, operation)
