"""One transaction for each batch: the rows, the projections and the checkpoint, all or nothing.

What PostgreSQL refuses of a batch (a number that overflows, say) is found by halving the batch, and kept raw with
PostgreSQL's reason, so that no message can block the ones behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg

from tracecraft_bridge import origins
from tracecraft_bridge.continuity import CheckpointMoved, Position
from tracecraft_bridge.copy_format import COPY, NANOSECONDS, LogMessage, RowFormat, week_of
from tracecraft_bridge.database import ANSWER_S, NoAnswer
from tracecraft_bridge.partitions import Partitions
from tracecraft_bridge.projector import VERSION, Projector
from tracecraft_bridge.reader import SessionOver
from tracecraft_bridge.refusals import REFUSED, apply_in_halves, reason_of
from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.projection.entry import Entry

SLICE: Final = 500
"""Rows handed to PostgreSQL at a time: it takes them in while the next ones are formatted."""

IDLE_CHECK_S: Final = 1.0
"""Seconds without a write after which an idle bridge asks PostgreSQL whether it is there."""


class Imported(SessionOver):
    """A bundle was imported meanwhile: what the projector remembers may not be so."""

    def __init__(self, imports: int) -> None:
        super().__init__(f"{imports} imports")
        self.imports = imports


@dataclass(slots=True)
class _Tally:
    """What a batch consisted of."""

    families: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    duplicates: int = 0
    revisions: dict[str, list[int]] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def __iadd__(self, other: _Tally) -> _Tally:
        self.families += other.families
        self.malformed += other.malformed
        self.duplicates += other.duplicates
        for stream, run in other.revisions.items():
            self.revisions.setdefault(stream, []).extend(run)
        self.entries += other.entries
        return self


class Writer:
    """Writes batches of one epoch over one connection."""

    def __init__(
        self, connection: Connection, epoch: int, metrics: Metrics, projector: Projector | None = None
    ) -> None:
        self._connection, self._metrics = connection, metrics
        self._projector = Projector() if projector is None else projector
        self.rebuild_wanted = False
        """Somebody wants the projections made again."""
        self._imports: int | None = None
        self._format = RowFormat(epoch)
        self._partitions = Partitions(connection)
        self._heard = time.monotonic()

    async def write(self, position: Position, messages: Sequence[LogMessage]) -> Position:
        """Write the messages behind a position and return the new position, committed.

        Raises `CheckpointMoved`, and `psycopg.Error` (`NoAnswer`) when PostgreSQL is away.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_S):
                reached, tally, gaps = await self._write(position, messages)
        except TimeoutError:
            raise await self._no_answer() from None
        self._heard = time.monotonic()
        self._count(tally, gaps, len(messages), time.perf_counter() - began)
        return reached

    async def require_server(self) -> None:
        """When nothing was written for a while, see that PostgreSQL is still there, and with it the lock."""
        if time.monotonic() - self._heard < IDLE_CHECK_S:
            return
        try:
            async with asyncio.timeout(ANSWER_S):
                cursor = await self._connection.execute("SELECT version FROM projection")
                row = await cursor.fetchone()
                self.rebuild_wanted = row is None or row[0] != VERSION
        except TimeoutError:
            raise await self._no_answer() from None
        self._heard = time.monotonic()

    async def _no_answer(self) -> NoAnswer:
        with contextlib.suppress(psycopg.Error):
            await self._connection.close()
        return NoAnswer(f"PostgreSQL did not answer within {ANSWER_S:.0f} s")

    async def _write(
        self, position: Position, messages: Sequence[LogMessage]
    ) -> tuple[Position, _Tally, list[origins.Hole]]:
        await self._partitions.ensure({week_of(edge.time // NANOSECONDS) for edge in (messages[0], messages[-1])})
        async with self._projector.exclusive:
            try:
                return await self._transaction(position, messages, careful=False)
            except Imported as error:
                self._imports = error.imports
                self._projector.forget()
                return await self._transaction(position, messages, careful=False)
            except REFUSED:
                self._projector.forget()
                return await self._transaction(position, messages, careful=True)
            except BaseException:
                self._projector.forget()
                raise

    async def _transaction(
        self, position: Position, messages: Sequence[LogMessage], *, careful: bool
    ) -> tuple[Position, _Tally, list[origins.Hole]]:
        reached, gaps = Position(position.epoch, messages[-1].seq), list[origins.Hole]()
        async with self._connection.transaction():
            tally = await (self._copy_in_halves(messages) if careful else self._copy(messages))
            if careful:
                await apply_in_halves(self._connection, self._projector, tally.entries)
            else:
                await self._projector.apply(self._connection, tally.entries)
            if tally.revisions:
                gaps = await origins.note(self._connection, position, tally.revisions)
            await self._advance(position, reached)
        return reached, tally, gaps

    async def _copy(self, messages: Sequence[LogMessage], refused: str | None = None) -> _Tally:
        tally = _Tally()
        async with self._connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for start in range(0, len(messages), SLICE):
                await copy.write(self._lines(messages[start : start + SLICE], refused, tally))
        return tally

    def _lines(self, messages: Sequence[LogMessage], refused: str | None, tally: _Tally) -> bytes:
        rows = [self._format.row(message, refused) for message in messages]
        tally.families.update(row.family for row in rows)
        for row in rows:
            tally.malformed += row.malformed
            tally.entries.append(row.entry)
            if row.origin is not None and row.origin[0] in origins.SOURCES:
                tally.revisions.setdefault(row.origin[0], []).append(row.origin[1])
        return b"".join([row.line for row in rows])

    async def _copy_in_halves(self, messages: Sequence[LogMessage]) -> _Tally:
        """Copy what can be copied; a single message that is refused is kept raw, with the reason."""
        try:
            async with self._connection.transaction():
                return await self._copy(messages)
        except REFUSED as error:
            if len(messages) == 1:
                return await self._copy_raw(messages, error)
        middle = len(messages) // 2
        tally = await self._copy_in_halves(messages[:middle])
        tally += await self._copy_in_halves(messages[middle:])
        return tally

    async def _copy_raw(self, message: Sequence[LogMessage], error: psycopg.Error) -> _Tally:
        if isinstance(error, psycopg.errors.UniqueViolation):
            return _Tally(duplicates=1)
        return await self._copy(message, refused=reason_of(error))

    async def _advance(self, position: Position, reached: Position) -> None:
        moved = await self._connection.execute(
            "WITH folded AS (UPDATE projection SET epoch = %s, seq = %s WHERE version > 0 RETURNING version) "
            "UPDATE checkpoint SET seq = %s, updated = now() WHERE stream = %s AND epoch = %s AND seq = %s "
            "RETURNING (SELECT version FROM folded), imports",
            (reached.epoch, reached.seq, reached.seq, subjects.LOG, position.epoch, position.seq),
        )
        if moved.rowcount != 1:
            raise CheckpointMoved(position)
        row = await moved.fetchone()
        assert row is not None
        self.rebuild_wanted = row[0] != VERSION
        if self._imports not in (None, row[1]):
            raise Imported(row[1])
        self._imports = row[1]

    def _count(self, tally: _Tally, gaps: list[origins.Hole], size: int, seconds: float) -> None:
        for family, number in tally.families.items():
            self._metrics.events.labels(family).inc(number)
        self._metrics.malformed.inc(tally.malformed)
        self._metrics.duplicates.inc(tally.duplicates)
        self._metrics.gaps.inc(len(gaps))
        self._metrics.gap_messages.inc(sum(gap.last - gap.first + 1 for gap in gaps))
        self._metrics.batch_size.observe(size)
        self._metrics.write_seconds.observe(seconds)
