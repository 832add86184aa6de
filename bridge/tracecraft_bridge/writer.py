"""One transaction for each batch: the rows, the projections and the checkpoint, all or nothing.

What PostgreSQL refuses of a batch (a number that overflows, say) is found by halving the batch, and kept raw with
PostgreSQL's reason, so that no message can block the ones behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import psycopg

from tracecraft_bridge import origins
from tracecraft_bridge.continuity import CheckpointMoved, Position
from tracecraft_bridge.copy_format import COPY, NANOSECONDS, LogMessage, RowFormat, week_of
from tracecraft_bridge.database import ANSWER_S, NoAnswer
from tracecraft_bridge.draft import Draft, Tally
from tracecraft_bridge.partitions import Partitions
from tracecraft_bridge.projector import VERSION, Projector
from tracecraft_bridge.reader import SessionOver
from tracecraft_bridge.refusals import REFUSED, apply_in_halves, reason_of
from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics

SLICE: Final = 500
"""Messages that are formatted at a time."""

IDLE_CHECK_S: Final = 1.0
"""Seconds without a write after which an idle bridge asks PostgreSQL whether it is there."""


class Imported(SessionOver):
    """A bundle was imported meanwhile: what the projector remembers may not be so."""

    def __init__(self, imports: int) -> None:
        super().__init__(f"{imports} imports")
        self.imports = imports


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
        self._folded: asyncio.Future[None] | None = None

    def folded(self) -> asyncio.Future[None]:
        """Done when the next `write` has nothing left to do but to wait for PostgreSQL."""
        if self._folded is None or self._folded.done():
            self._folded = asyncio.get_running_loop().create_future()
        return self._folded

    def draft(self, messages: Sequence[LogMessage] = ()) -> Draft:
        """A batch for `write`."""
        draft = Draft(self._format)
        for start in range(0, len(messages), SLICE):
            draft.add(messages[start : start + SLICE])
        return draft

    async def write(self, position: Position, batch: Draft | Sequence[LogMessage]) -> Position:
        """Write the messages behind a position and return the new position, committed.

        Raises `CheckpointMoved`, and `psycopg.Error` (`NoAnswer`) when PostgreSQL is away.
        """
        began = time.perf_counter()
        draft = batch if isinstance(batch, Draft) else self.draft(batch)
        try:
            async with asyncio.timeout(ANSWER_S):
                reached, tally, gaps = await self._write(position, draft)
        except TimeoutError:
            raise await self._no_answer() from None
        self._heard = time.monotonic()
        self._count(tally, gaps, len(draft.messages), time.perf_counter() - began)
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

    async def _write(self, position: Position, draft: Draft) -> tuple[Position, Tally, list[origins.Hole]]:
        edges = (draft.messages[0], draft.messages[-1])
        await self._partitions.ensure({week_of(edge.time // NANOSECONDS) for edge in edges})
        async with self._projector.exclusive:
            try:
                return await self._transaction(position, draft, careful=False)
            except Imported as error:
                self._imports = error.imports
                self._projector.forget()
                return await self._transaction(position, draft, careful=False)
            except REFUSED:
                self._projector.forget()
                return await self._transaction(position, draft, careful=True)
            except BaseException:
                self._projector.forget()
                raise

    async def _transaction(
        self, position: Position, draft: Draft, *, careful: bool
    ) -> tuple[Position, Tally, list[origins.Hole]]:
        reached, gaps = Position(position.epoch, draft.messages[-1].seq), list[origins.Hole]()
        async with self._connection.transaction():
            if careful:
                tally = await self._copy_in_halves(draft.messages)
                await apply_in_halves(self._connection, self._projector, tally.entries)
            else:
                tally = draft.tally
                await self._copy_and_apply(draft)
            if tally.revisions:
                gaps = await origins.note(self._connection, position, tally.revisions)
            await self._advance(position, reached)
        return reached, tally, gaps

    async def _copy_and_apply(self, draft: Draft) -> None:
        """PostgreSQL takes the lines in while the entries are folded."""
        work = await self._projector.load(self._connection, draft.tally.entries)
        async with self._connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for lines in draft.lines:
                await copy.write(lines)
            self._projector.fold(work)
            if self._folded is not None and not self._folded.done():
                self._folded.set_result(None)
        await self._projector.write(self._connection, work)

    async def _copy(self, draft: Draft) -> Tally:
        async with self._connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for lines in draft.lines:
                await copy.write(lines)
        return draft.tally

    async def _copy_in_halves(self, messages: Sequence[LogMessage]) -> Tally:
        """Copy what can be copied; a single message that is refused is kept raw, with the reason."""
        try:
            async with self._connection.transaction():
                return await self._copy(self.draft(messages))
        except REFUSED as error:
            if len(messages) == 1:
                return await self._copy_raw(messages, error)
        middle = len(messages) // 2
        tally = await self._copy_in_halves(messages[:middle])
        tally += await self._copy_in_halves(messages[middle:])
        return tally

    async def _copy_raw(self, message: Sequence[LogMessage], error: psycopg.Error) -> Tally:
        if isinstance(error, psycopg.errors.UniqueViolation):
            return Tally(duplicates=1)
        draft = self.draft()
        draft.add(message, refused=reason_of(error))
        return await self._copy(draft)

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

    def _count(self, tally: Tally, gaps: list[origins.Hole], size: int, seconds: float) -> None:
        for family, number in tally.families.items():
            self._metrics.events.labels(family).inc(number)
        self._metrics.malformed.inc(tally.malformed)
        self._metrics.duplicates.inc(tally.duplicates)
        self._metrics.gaps.inc(len(gaps))
        self._metrics.gap_messages.inc(sum(gap.last - gap.first + 1 for gap in gaps))
        self._metrics.batch_size.observe(size)
        self._metrics.write_seconds.observe(seconds)
