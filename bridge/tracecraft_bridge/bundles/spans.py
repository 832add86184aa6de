"""The rows that make up one life of the log up to a sequence: those of its epochs that no later epoch wrote again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from tracecraft_core import subjects

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection

IMPORTED = "imported"
"""Reason of an epoch that holds the entries of a bundle."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A row of the table ``epoch``, with the spans of the log that it sees."""

    id: int
    stream_epoch: str
    reason: str
    spans: tuple[tuple[int, int, int | None], ...]
    """Epoch, first and last sequence; ``None``: open."""

    @property
    def imported(self) -> bool:
        """Whether it holds a bundle."""
        return self.reason == IMPORTED

    def rows(self, first: int, last: int) -> sql.Composable:
        """Condition on rows of ``log l``: in this life, from one sequence to another."""
        parts = [
            sql.SQL("(l.epoch = {} AND l.seq BETWEEN {} AND {})").format(
                epoch, max(first, low), last if high is None else min(last, high)
            )
            for epoch, low, high in self.spans
        ]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(parts))


async def current(connection: Connection) -> int | None:
    """The epoch that is being mirrored; ``None`` before the first message."""
    cursor = await connection.execute("SELECT epoch FROM checkpoint WHERE stream = %s", (subjects.LOG,))
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def load(connection: Connection, epoch: int) -> Epoch | None:
    """An epoch; ``None`` when there is none of this number."""
    cursor = await connection.execute(
        "SELECT e.id, e.stream_epoch, e.first_seq, e.reason FROM epoch e "
        "WHERE e.stream_epoch = (SELECT stream_epoch FROM epoch WHERE id = %s) AND e.id <= %s ORDER BY e.id",
        (epoch, epoch),
    )
    found: list[tuple[Any, ...]] = await cursor.fetchall()
    if not found:
        return None
    spans: list[tuple[int, int, int | None]] = []
    high: int | None = None
    for id_, _, first, _ in reversed(found):
        if high is None or first <= high:
            spans.append((id_, first, high))
            high = first - 1
    return Epoch(epoch, found[-1][1], found[-1][3], tuple(reversed(spans)))
