"""The mirror: read, write, acknowledge; in this order, so that nothing is acknowledged that is not committed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.continuity import Continuity, Position
from tracecraft_bridge.copy_format import NANOSECONDS, LogMessage
from tracecraft_bridge.reader import BATCH_BYTES, NATS_AWAY, LogReader, SessionOver
from tracecraft_bridge.rebuild import rebuild_if_needed
from tracecraft_bridge.writer import Writer
from tracecraft_core import topology
from tracecraft_core.errors import NotPermitted
from tracecraft_core.transport import ConnectionDropped

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.draft import Draft
    from tracecraft_bridge.health import Health
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_bridge.projector import Projector
    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

IDLE_S: Final = 0.25
"""Longest wait for a message before the loop looks around (a stop, a lost connection)."""
LOOK_S: Final = 0.002
"""Seconds between two looks for messages while a batch is written."""
PIECE: Final = 100
"""Messages made ready at a time meanwhile."""
PAUSE_S: Final = (0.05, 2.0)
"""Shortest and longest pause before a new session."""


class Mirror:
    """Mirrors the log over the connection of the active bridge until it is told to `stop`."""

    def __init__(
        self, bus: Bus, batch: int, health: Health, metrics: Metrics, progress: Progress, projector: Projector
    ) -> None:
        self._bus, self._batch, self._projector = bus, batch, projector
        self._health, self._metrics, self._progress = health, metrics, progress
        self._stopping = False
        self._pause = PAUSE_S[0]

    def stop(self) -> None:
        """Finish the batch at hand and return from `run`."""
        self._stopping = True

    async def run(self, connection: Connection) -> None:
        """Mirror until stopped, through every absence of NATS. Raises `psycopg.Error` and `CheckpointMoved`."""
        await self._projector.prepare(connection)
        self._bus.transport.on_trouble.add(self._on_trouble)
        try:
            while not self._stopping:
                await self._attempt(connection)
        finally:
            self._bus.transport.on_trouble.discard(self._on_trouble)

    def _on_trouble(self, trouble: Exception) -> None:
        """Not healthy from this moment on: a new connection may stand before the session notices that it is over."""
        if isinstance(trouble, ConnectionDropped):
            self._health.mirroring = False

    async def _attempt(self, connection: Connection) -> None:
        try:
            await self._see_to_projections(connection)
            await self._session(connection)
        except NATS_AWAY as error:
            await self._interrupted(error)
        finally:
            self._health.mirroring = False
            self._progress.move(None)

    async def _see_to_projections(self, connection: Connection) -> None:
        """Make them again when they are not of this version; that may take a while."""

        def alive() -> None:
            self._health.problem = "making the projections again"
            self._health.alive(0)

        if await rebuild_if_needed(connection, self._projector, alive):
            self._metrics.rebuilds.inc()

    async def _interrupted(self, error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        if reason != self._health.problem:
            logger.warning("not mirroring: %s", reason)
        self._health.problem = reason
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, PAUSE_S[1])
        await self._bus.transport.ready(PAUSE_S[1])

    async def _session(self, connection: Connection) -> None:
        """From the checkpoint on, until the connection to NATS or the consumer is lost."""
        await self._see_to_streams()
        continuity = Continuity(self._bus, connection, self._metrics)
        position = await continuity.resume()
        self._projector.forget()
        writer = Writer(connection, position.epoch, self._metrics, self._projector)
        async with LogReader(self._bus, position.seq) as reader:
            self._reached(position)
            self._began(position)
            while not (self._stopping or writer.rebuild_wanted):
                messages = await reader.take(self._batch, IDLE_S)
                if not messages:
                    await writer.require_server()
                    self._health.alive(0)
                    continue
                position = await self._stream(reader, continuity, writer, position, messages)

    async def _stream(
        self,
        reader: LogReader,
        continuity: Continuity,
        writer: Writer,
        position: Position,
        messages: list[LogMessage],
    ) -> Position:
        """Write, and what arrived meanwhile after it, until there is nothing more at hand."""
        draft = writer.draft(messages)
        while draft.messages and not (self._stopping or writer.rebuild_wanted):
            writing = asyncio.create_task(self._write(reader, continuity, writer, position, draft))
            draft = writer.draft()
            try:
                await asyncio.wait((writing, writer.folded()), return_when=asyncio.FIRST_COMPLETED)
                await self._prepare(reader, draft, writing)
            except asyncio.CancelledError:
                writing.cancel()
                raise
            finally:
                position = await writing
        return position

    async def _prepare(self, reader: LogReader, draft: Draft, writing: asyncio.Task[Position]) -> None:
        """Make the next batch ready while PostgreSQL works at one: each has a core of its own.

        In small pieces, since PostgreSQL must not wait for its next statement meanwhile.
        """
        while not writing.done():
            room = min(PIECE, self._batch - len(draft.messages)) if draft.size < BATCH_BYTES else 0
            messages = await reader.more(room) if room else []
            if messages:
                draft.add(messages)
                await asyncio.sleep(0)
            else:
                await asyncio.wait((writing,), timeout=LOOK_S if room else None)

    async def _see_to_streams(self) -> None:
        try:
            drifts = await topology.ensure(self._bus)
        except NotPermitted as error:
            logger.debug("the streams are somebody else's: %s", error)
            return
        for drift in drifts:
            logger.warning("drift: %s", drift)

    def _began(self, position: Position) -> None:
        if self._health.problem or not self._health.seq:
            logger.info("mirroring epoch %d from sequence %d", position.epoch, position.seq + 1)
        self._health.problem, self._health.mirroring = None, True
        self._pause = PAUSE_S[0]

    async def _write(
        self,
        reader: LogReader,
        continuity: Continuity,
        writer: Writer,
        position: Position,
        draft: Draft,
    ) -> Position:
        rest = messages = draft.messages
        while rest:
            size = len(rest)
            run, rest = in_sequence(rest, position.seq)
            self._metrics.duplicates.inc(size - len(run) - len(rest))
            if run:
                position = await writer.write(position, draft if run is messages else run)
                self._reached(position, run[-1])
            if rest:
                position = await self._over_gap(continuity, position, rest[0].seq)
        await reader.acknowledge(messages[-1])
        self._health.alive(messages[-1].pending)
        return position

    async def _over_gap(self, continuity: Continuity, position: Position, found: int) -> Position:
        """The next message is not the next number: what is between is either gone for good or was lost on the way."""
        behind_gap = await continuity.deleted_between(position, found)
        if behind_gap is None:
            self._metrics.rewinds.inc()
            raise SessionOver(f"deliveries between {position.seq} and {found} got lost on the way")
        self._reached(behind_gap)
        return behind_gap

    def _reached(self, position: Position, message: LogMessage | None = None) -> None:
        self._progress.move(position, 0 if message is None else message.pending)
        self._health.epoch, self._health.seq = position.epoch, position.seq
        if message is not None:
            self._health.mirrored_time = message.time / NANOSECONDS


def in_sequence(messages: list[LogMessage], after: int) -> tuple[list[LogMessage], list[LogMessage]]:
    """Split a batch into what follows ``after`` without a hole, and the rest from the first hole on.

    What is mirrored already (``after`` and before) is in neither.
    """
    first, last = messages[0].seq, messages[-1].seq
    expected = after + 1
    if first == expected and last - first + 1 == len(messages) and _ascending(messages, first):
        return messages, []
    run: list[LogMessage] = []
    for place, message in enumerate(messages):
        if message.seq == expected:
            run.append(message)
            expected += 1
        elif message.seq > expected:
            return run, messages[place:]
    return run, []


def _ascending(messages: list[LogMessage], first: int) -> bool:
    return all(message.seq == first + place for place, message in enumerate(messages))
