"""Delivering what processes have left in the spool that are gone."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft.context import Context
from tracecraft.recording import spool
from tracecraft.recording.delivery import Delivery
from tracecraft.recording.journal import Journal
from tracecraft.recording.position import Position
from tracecraft.recording.reader import Reader, load
from tracecraft.recording.uploads import Uploads
from tracecraft.recording.wire import Wire
from tracecraft_core import bodies, ids
from tracecraft_core.errors import TracecraftError
from tracecraft_core.run_events import RunJoined, WriterLeft
from tracecraft_core.tasks import Holder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tracecraft.recording.segment import Segment
    from tracecraft.recording.spool import Held
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

FLUSH_S: Final = 60.0
"""Seconds that one writer's records may take."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one writer's folder."""

    project: str
    run: str
    writer: str
    agent: str
    folder: Path
    events: int
    """Events that are in the log now and were not known to be there."""
    uploads: int
    """Files and values that were uploaded."""
    left_uploads: int
    """Those that still wait."""
    lost: int
    """Events and uploads that can never be delivered."""
    dropped: int
    """Records that the writer itself had to drop, for want of room."""
    problem: str | None
    """Why some of it is still there; ``None`` when all is delivered and the folder is gone."""


async def deliver_spools(
    settings: Settings,
    *,
    where: Path | None = None,
    project: str | None = None,
    run: str | None = None,
    timeout: float = FLUSH_S,
    told: Callable[[Taken], None] | None = None,
    strict: bool = False,
    recorded_for: str | None = None,
) -> list[Taken]:
    """Deliver what writers have left whose process is gone, to the bus of ``settings``, in order and once.

    Args:
        settings: where the bus is; `Settings.project` does not count.
        where: the spool's folder, default `spool.root`.
        project: only of this project.
        run: only of this run.
        timeout: seconds that one writer's records may take.
        told: told of each folder when it is done.
        strict: only what is for this bus (see `Destination`); else all there is, also what was for another one.
        recorded_for: with ``strict`` also what is for this address.

    Raises `BusUnreachable`. Folders of living processes, and those that somebody else delivers, are passed over.
    """
    wire = Wire(settings.server_options(), f"tracecraft spool {settings.agent}")
    await wire.bus.connect()
    try:
        taken = []
        for path in spool.folders(where, project or "*", run or "*"):
            to = settings if strict else None
            found = await deliver_folder(wire, path, timeout, to=to, recorded_for=recorded_for)
            if found is not None:
                taken.append(found)
                if told is not None:
                    told(found)
        return taken
    finally:
        await wire.close()


async def deliver_folder(
    wire: Wire, path: Path, timeout: float = FLUSH_S, *, to: Settings | None = None, recorded_for: str | None = None
) -> Taken | None:
    """Deliver one folder; ``None`` when its process lives, or somebody else has it.

    With ``to``, the settings of the wire, also when it is for another bus than theirs (see `Destination`), unless it
    was ``recorded_for`` this address.
    """
    held = spool.take(path)
    if held is None:
        return None
    owner = held.owner
    if to is not None and not (owner.destination.reached_by(to) or owner.server == recorded_for):
        held.release()
        return None
    try:
        return await _deliver(wire, held, timeout)
    finally:
        held.release()


async def _deliver(wire: Wire, held: Held, timeout: float) -> Taken:
    position, segments = Position.open(held.path), load(held.path)
    everything, dropped = list(segments), position.dropped
    said = not dropped or _has_end(segments)
    successor = _Successor(wire, held)
    delivery = Delivery(wire, held.owner, segments, Reader(segments), position)
    uploads, problem = Uploads(None, _nothing), None
    try:
        async with asyncio.timeout(timeout):
            await delivery.run(once=True)
            if not said:
                successor.say_dropped(dropped)
                position.dropped = 0  # said once
            try:
                uploads = await _upload(wire, held, successor)
            finally:
                await successor.finish()
    except (TimeoutError, TracecraftError, OSError) as error:
        problem = delivery.trouble or uploads.trouble or str(error) or f"it took more than {timeout:.0f} s"
    finally:
        position.close()
        for segment in everything:
            if segment in segments:
                segment.close()
    if problem is None and uploads.waiting:
        problem = uploads.trouble or "the store takes nothing"
    if problem is None:
        held.remove()
    owner = held.owner
    return Taken(
        project=owner.project,
        run=owner.run,
        writer=owner.writer,
        agent=owner.agent,
        folder=held.path,
        events=delivery.events,
        uploads=uploads.done,
        left_uploads=uploads.waiting,
        lost=delivery.lost + uploads.failed,
        dropped=dropped,
        problem=problem,
    )


def _has_end(segments: list[Segment]) -> bool:
    """Whether the writer itself has said how many records it dropped."""
    reader = Reader(list(segments))
    while (record := reader.next()) is not None:
        if record.event in ("ended", "left"):
            return True
    return False


async def _upload(wire: Wire, held: Held, successor: _Successor) -> Uploads:
    """Upload what the writer left."""
    uploads = Uploads(held.path / spool.UPLOADS, successor.record)
    uploads.load()
    if uploads.waiting:
        context = Context(wire.bus, held.owner.project, Holder(held.owner.agent, held.owner.writer))
        work = asyncio.create_task(uploads.run(context, once=True))
        try:
            while not work.done() and not uploads.trouble:
                await asyncio.wait({work}, timeout=0.05)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    return uploads


class _Successor:
    """A writer of our own for what is said in place of the dead one: nobody knows which numbers it used in memory."""

    def __init__(self, wire: Wire, held: Held) -> None:
        self._wire, self._of, self._base = wire, held.owner, held.path.parents[2]
        self._held: Held | None = None
        self._journal: Journal
        self._dropped = 0

    def say_dropped(self, count: int) -> None:
        """The dead writer has dropped so many records, and has not said so."""
        self._dropped = count
        self._begin()

    def record(self, agent: str, event: str, body: bytes) -> None:
        self._begin()
        self._journal.event(agent, event, body)

    def _begin(self) -> None:
        if self._held is None:
            owner = msgspec.structs.replace(self._of, writer=ids.fresh(), pid=os.getpid(), started=time.time())
            self._held = spool.create(owner, self._base)
            self._journal = Journal(self._held.path, Position.open(self._held.path))
            joined = RunJoined(time=time.time_ns() // 1000)
            self._journal.event(self._of.agent, "joined", bodies.encode(joined))

    async def finish(self) -> None:
        """Deliver them; what cannot be delivered now lies in the spool."""
        if self._held is None:
            return
        journal, held = self._journal, self._held
        left = WriterLeft(time=time.time_ns() // 1000, dropped=self._dropped)
        journal.event(self._of.agent, "left", bodies.encode(left))
        reader = Reader(journal.segments, journal)
        delivery = Delivery(self._wire, held.owner, journal.segments, reader, journal.position, journal)
        try:
            await delivery.run(once=True)
        except BaseException:
            held.release()
            raise
        else:
            held.remove()
        finally:
            journal.close()
            journal.position.close()


def _nothing(agent: str, event: str, body: bytes) -> None:
    """There is nothing to record."""
