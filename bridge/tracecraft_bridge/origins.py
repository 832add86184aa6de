"""The revisions of the buckets as they come through the log: is one missing?

The log sources the memory and task buckets, and each sourced message names its revision. Revisions of a bucket are
numbered without holes, so a hole in what came through is a change that the log never had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracecraft_bridge.continuity import Position
    from tracecraft_bridge.database import Connection

SOURCES: Final = frozenset({subjects.kv_stream(subjects.MEMORY), subjects.kv_stream(subjects.TASKS)})
REASON: Final = "a change of the bucket that never came through the log"


class Hole(NamedTuple):
    """Revisions that are missing in between."""

    first: int
    last: int


def holes(last: int | None, revisions: Iterable[int]) -> tuple[list[Hole], int | None]:
    """The holes in a run of revisions behind ``last`` (``None``: unknown), and where the run ends.

    A revision that goes back begins a new run: the bucket was made again.
    """
    found: list[Hole] = []
    for revision in revisions:
        if last is not None and revision > last + 1:
            found.append(Hole(last + 1, revision - 1))
        last = revision
    return found, last


async def note(connection: Connection, position: Position, revisions: Mapping[str, list[int]]) -> list[Hole]:
    """Compare the revisions of a batch with the ones before, within its transaction; returns the gaps it wrote."""
    gaps: list[Hole] = []
    for stream, run in revisions.items():
        cursor = await connection.execute("SELECT seq FROM checkpoint WHERE stream = %s", (stream,))
        row = await cursor.fetchone()
        found, last = holes(row[0] if row else 0, run)
        for hole in found:
            if await _write_gap(connection, position, stream, hole):
                gaps.append(hole)
        await connection.execute(
            "INSERT INTO checkpoint (stream, epoch, seq) VALUES (%s, %s, %s) "
            "ON CONFLICT (stream) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, updated = now()",
            (stream, position.epoch, last),
        )
    return gaps


async def _write_gap(connection: Connection, position: Position, stream: str, hole: Hole) -> bool:
    """Nothing is written when the table has the revisions: a log that was made again sources a trimmed bucket."""
    cursor = await connection.execute(
        "INSERT INTO gap (stream, epoch, first_seq, last_seq, reason) SELECT %s, %s, %s, %s, %s "
        "WHERE (SELECT count(DISTINCT origin_seq) FROM log "
        "WHERE origin_stream = %s AND origin_seq BETWEEN %s AND %s) < %s",
        (stream, position.epoch, *hole, REASON, stream, *hole, hole.last - hole.first + 1),
    )
    return cursor.rowcount == 1
