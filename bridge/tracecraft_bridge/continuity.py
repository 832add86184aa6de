"""Whether the log on the bus is still the log that was mirrored, and what of it is missing for good.

Two things break the numbering. A stream that is deleted and made again carries another ``tc.epoch``. A single server
that crashed may have lost its newest messages and hand out their numbers again: its stream ends before the checkpoint,
or, when new messages came meanwhile, differs from the table there. Each begins a new row in ``epoch``; what was
mirrored under the old numbers stays.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tracecraft_core import subjects, topology

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

Reason = Literal["first", "recreated", "went_back"]

GONE_BEFORE: Final = "no longer in the stream when the bridge came to it"
DELETED: Final = "deleted from the stream before it was mirrored"


@dataclass(frozen=True, slots=True)
class Position:
    """How far the log is mirrored."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class _Stream:
    """What the server says about the log."""

    epoch: str
    first: int
    """Sequence of the oldest message, or where the next will be when there is none."""
    last: int


class Continuity:
    """Finds the place to go on from; one object for each connection to PostgreSQL."""

    def __init__(self, bus: Bus, connection: Connection, metrics: Metrics) -> None:
        self._bus, self._connection, self._metrics = bus, connection, metrics

    async def resume(self) -> Position:
        """Where to go on, after noting a new epoch and what is gone."""
        stream = await self._stream()
        known = await self._known()
        if known is None:
            position = await self._begin(stream.epoch, 0, None, "first")
        else:
            position = await self._compare(stream, *known)
        if stream.first - 1 > position.seq:
            position = await self._skip(position, stream.first - 1, GONE_BEFORE)
        return position

    async def deleted_between(self, position: Position, found: int) -> Position | None:
        """Whether nothing is left in the stream between the position and a later sequence.

        Returns the position just before ``found``, with the gap recorded; ``None`` when there are messages between,
        which means that they were delivered and got lost on the way.
        """
        following = await self._bus.next_after(subjects.LOG, ">", position.seq)
        if following is None or following.seq < found:
            return None
        return await self._skip(position, found - 1, DELETED)

    async def _stream(self) -> _Stream:
        info = await self._bus.api(f"STREAM.INFO.{subjects.LOG}")
        state = info["state"]
        epoch = str((info["config"].get("metadata") or {}).get(topology.EPOCH, ""))
        first = state["first_seq"] if state["messages"] else state["last_seq"] + 1
        return _Stream(epoch, first, state["last_seq"])

    async def _known(self) -> tuple[str, Position] | None:
        row = await self._row(
            "SELECT e.stream_epoch, c.epoch, c.seq FROM checkpoint c JOIN epoch e ON e.id = c.epoch "
            "WHERE c.stream = %s",
            subjects.LOG,
        )
        return None if row is None else (row[0], Position(row[1], row[2]))

    async def _compare(self, stream: _Stream, stream_epoch: str, position: Position) -> Position:
        if stream.epoch != stream_epoch:
            return await self._begin(stream.epoch, 0, position.epoch, "recreated")
        same_until = await self._same_until(position, stream)
        if same_until == position.seq:
            return position
        return await self._begin(stream.epoch, same_until, position.epoch, "went_back")

    async def _same_until(self, position: Position, stream: _Stream) -> int:
        """The newest sequence up to which stream and table agree; at most the checkpoint."""
        upto = min(position.seq, stream.last)
        if upto < stream.first or await self._same(position.epoch, upto):
            return upto
        same, different = stream.first - 1, upto
        while different - same > 1:
            middle = (same + different) // 2
            if await self._same(position.epoch, middle):
                same = middle
            else:
                different = middle
        return same

    async def _same(self, epoch: int, seq: int) -> bool:
        """Whether a message is the one in the table; true when one of the two no longer has it."""
        stored = await self._bus.get(subjects.LOG, seq)
        if stored is None:
            return True
        row = await self._row(
            "SELECT l.time = %s::timestamptz FROM log l JOIN epoch e ON e.id = l.epoch "
            "WHERE e.stream_epoch = (SELECT stream_epoch FROM epoch WHERE id = %s) AND l.epoch <= %s AND l.seq = %s "
            "ORDER BY l.epoch DESC LIMIT 1",
            *(_microseconds(stored.time), epoch, epoch, seq),
        )
        return row is None or bool(row[0])

    async def _begin(self, stream_epoch: str, seq: int, previous: int | None, reason: Reason) -> Position:
        """A new epoch, whose rows begin behind ``seq``."""
        async with self._connection.transaction():
            row = await self._row(
                "INSERT INTO epoch (stream_epoch, first_seq, previous, reason) VALUES (%s, %s, %s, %s) RETURNING id",
                *(stream_epoch, seq + 1, previous, reason),
            )
            assert row is not None
            await self._connection.execute(
                "INSERT INTO checkpoint (stream, epoch, seq) VALUES (%s, %s, %s) "
                "ON CONFLICT (stream) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, updated = now()",
                (subjects.LOG, row[0], seq),
            )
            if reason == "recreated":  # the new log sources what is left in the buckets: nothing to compare with
                await self._connection.execute("UPDATE checkpoint SET seq = NULL WHERE stream <> %s", (subjects.LOG,))
        self._metrics.epochs.labels(reason).inc()
        if reason != "first":
            logger.warning("the log on the bus is not the one that was mirrored (%s): epoch %d begins", reason, row[0])
        return Position(row[0], seq)

    async def _skip(self, position: Position, last: int, reason: str) -> Position:
        """Record that everything from behind the position up to ``last`` is gone for good."""
        async with self._connection.transaction():
            await self._connection.execute(
                "INSERT INTO gap (stream, epoch, first_seq, last_seq, reason) VALUES (%s, %s, %s, %s, %s)",
                (subjects.LOG, position.epoch, position.seq + 1, last, reason),
            )
            moved = await self._connection.execute(
                "UPDATE checkpoint SET seq = %s, updated = now() WHERE stream = %s AND epoch = %s AND seq = %s",
                (last, subjects.LOG, position.epoch, position.seq),
            )
            if moved.rowcount != 1:
                raise CheckpointMoved(position)
        self._metrics.gaps.inc()
        self._metrics.gap_messages.inc(last - position.seq)
        logger.warning("gap in the log: %d to %d, %s", position.seq + 1, last, reason)
        return Position(position.epoch, last)

    async def _row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        cursor = await self._connection.execute(query, values)
        return await cursor.fetchone()


class CheckpointMoved(Exception):
    """Somebody else has moved the checkpoint: this bridge is no longer the active one. Nothing was written."""

    def __init__(self, position: Position) -> None:
        super().__init__(f"the checkpoint is no longer at {position.seq} of epoch {position.epoch}")


def _microseconds(time: str) -> str:
    """A server's time (nanoseconds) cut off to what PostgreSQL keeps; it would round."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole}.{fraction[:6] or '0'}Z"
