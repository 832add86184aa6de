"""`Writer`: one process's identity in one run, with its folder, its journal, and its courier on the background loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft.loop import background
from tracecraft.recording import adoption, reader, spool, wires
from tracecraft.recording.courier import Courier
from tracecraft.recording.flushed import Flushed
from tracecraft.recording.journal import Journal
from tracecraft.recording.position import Position
from tracecraft.recording.takeover import deliver_folder
from tracecraft.recording.uploads import Uploads
from tracecraft_core import ids, nats_client
from tracecraft_core.destination import Destination
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

MEMORY: Final = "memory"
"""`Flushed.where` when no folder could be made."""


class Writer:
    """Made on the caller's thread; everything asynchronous runs on the background loop."""

    def __init__(self, settings: Settings, project: str, run: str, agent: str) -> None:
        nats_client.load()
        self.id = ids.fresh()
        goal = Destination.of(settings)
        self.owner = spool.Owner(
            project=project, run=run, writer=self.id, agent=agent, server=goal.server, stack=goal.stack
        )
        self.closed = False
        self._settings = settings
        self._held, position = _folder(self.owner)
        folder = self._held.path if self._held else None
        self.where = str(folder) if folder else MEMORY
        self.journal = Journal(folder, position)
        self.uploads = Uploads(folder / spool.UPLOADS if folder else None, self.journal.event)
        self._final: Flushed | None = None
        self._told = False
        """People know that nothing can be delivered, and where the records are."""
        self._loop = background()
        self._courier = self._loop.start(self._begin())

    async def _begin(self) -> Courier:
        wire = wires.take(self._settings)
        courier = Courier(wire, self.owner, self.journal, self.uploads, self.where)
        self.journal.wake = self._waker(courier.delivery.wake)
        self.journal.want = self._waker(self._prepare)
        self.uploads.wake = self._waker(self.uploads.poke)
        courier.start()
        adoption.adopt(self._settings, self.owner)
        return courier

    def _waker(self, function: Callable[[], None]) -> Callable[[], None]:
        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, with the process
                self._loop.soon(function)

        return wake

    def _prepare(self) -> None:
        with contextlib.suppress(RuntimeError):  # no threads any more: the process ends
            asyncio.get_running_loop().run_in_executor(None, self.journal.prepare)

    def counts(self) -> Flushed:
        """How things stand."""
        if self._final is not None:
            dropped = max(self._final.dropped, self.journal.position.dropped + self.uploads.failed)
            return dataclasses.replace(self._final, dropped=dropped)
        acknowledged = lost = 0
        if self._courier.done() and not self._courier.exception():
            delivery = self._courier.result().delivery
            acknowledged, lost = delivery.acknowledged, delivery.lost
        return Flushed(
            acknowledged=acknowledged,
            spooled=max(0, self.journal.recorded - acknowledged - lost),
            dropped=self.journal.position.dropped + lost + self.uploads.failed,
            uploads_done=self.uploads.done,
            uploads_waiting=self.uploads.waiting,
            where=self.where,
        )

    async def flush(self, timeout: float | None, waited: float = 0.0) -> Flushed:
        """Wait for what was taken so far; on the background loop."""
        since = asyncio.get_running_loop().time() - waited
        if self._final is None and (courier := await self._begun()) is not None:
            await courier.flush(timeout, since=since)
        return self.counts()

    @property
    def behind(self) -> bool:
        """Whether the log lacks something that was taken."""
        return self.journal.position.acked < self.journal.number

    async def settle(self, timeout: float) -> None:
        """See `Recorder.settle`; on the background loop."""
        if self._courier.done() and not self._courier.exception():
            await self._courier.result().settle(timeout)

    async def _begun(self) -> Courier | None:
        """The courier; ``None`` when the settings name a bus that nobody could reach."""
        try:
            return await asyncio.wrap_future(self._courier)
        except TracecraftError as error:
            if not self._told:
                self._told = True
                where = f"go to {self.where}" if self._held else "lie in memory and are lost when this process ends"
                logger.warning("run %s cannot be delivered: %s. Its records %s", self.owner.run, error, where)
            return None

    async def close(self, final: tuple[str, str, bytes] | None, timeout: float) -> Flushed:
        """See `Recorder.close`; on the background loop."""
        if self.closed:
            return self.counts()
        self.closed = True
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        courier = await self._begun()
        begun = loop.time()
        if courier is not None and self.uploads.waiting:
            await courier.flush(timeout)
        if final is not None:
            final = _counting(final, self.counts().dropped)
            final = final if self.journal.event(*final) else None
        if courier is None:
            self._final = self._finish(final, complete=False)
            return self._final
        complete = await courier.flush(max(0.0, until - loop.time()), since=begun)
        if complete:
            await self._take_over_children(until - loop.time())
            await adoption.settle(until - loop.time())
        self._told = courier.has_told
        left = self.journal.position.acked >= self.journal.number
        await courier.stop(left=left)
        wires.give_back(self._settings)
        self._final = self._finish(final, complete=complete)
        return self._final

    async def _take_over_children(self, seconds: float) -> None:
        """Deliver what forked processes of this run have left, that ended without a word."""
        if self._held is None or seconds <= 0:
            return
        folders = [path for path in spool.folders(None, self.owner.project, self.owner.run) if path != self._held.path]
        if not folders:
            return
        wire = wires.take(self._settings)
        try:
            with contextlib.suppress(TimeoutError, TracecraftError, OSError):
                async with asyncio.timeout(seconds):
                    for path in folders:
                        await deliver_folder(wire, path, seconds, to=self._settings)
        finally:
            wires.give_back(self._settings)

    def _finish(self, final: tuple[str, str, bytes] | None, *, complete: bool) -> Flushed:
        lost = reader.in_memory(self.journal)
        if lost and final is not None and self._held is not None:
            said = _counting(final, self.counts().dropped + lost - 1)
            lost -= self.journal.keep(*said)
        self.journal.drop(lost)
        counts = self.counts()
        counts = dataclasses.replace(counts, spooled=counts.spooled - lost)
        self.journal.close()
        self.journal.position.close()
        if self._held is None:
            self._warn(counts)
            return counts
        if complete:
            self._held.remove()
        else:
            self._warn(counts)
            self._held.release()
        return counts

    def _warn(self, counts: Flushed) -> None:
        """Say what is left, once."""
        if self._told or counts.complete:
            return
        self._told = True
        if self._held is None:
            logger.warning(
                "run %s: %d records and %d uploads are lost, for no spool could be written",
                self.owner.run,
                counts.spooled + counts.dropped,
                counts.uploads_waiting,
            )
            return
        logger.warning(
            "run %s: %d records and %d uploads are not delivered yet: they lie in %s; "
            "'tracecraft spool flush' delivers them",
            self.owner.run,
            counts.spooled,
            counts.uploads_waiting,
            self.where,
        )

    async def finish(self, parting: tuple[str, str, bytes] | None, timeout: float, waited: float) -> None:
        """The process ends, and nobody has closed this: deliver what there is, or say where it lies.

        ``waited`` is for how many seconds the end of the process has waited already.
        """
        if parting is not None:
            await self.close(parting, timeout)
            return
        counts = await self.flush(timeout, waited)
        if self._courier.done() and not self._courier.exception():
            self._told = self._told or self._courier.result().has_told
        self._warn(counts)

    def forsake(self) -> None:
        """In a forked child: this writer is the parent's."""
        self.closed = True
        if self._held is not None:
            self._held.release()
        _kept.append(self)


def _counting(final: tuple[str, str, bytes], dropped: int) -> tuple[str, str, bytes]:
    """The last event, saying how many records were dropped until now."""
    agent, event, body = final
    if not dropped:
        return final
    said = {**msgspec.json.decode(body, type=dict[str, msgspec.Raw]), "dropped": dropped}
    return agent, event, msgspec.json.encode(said)


def _folder(owner: spool.Owner) -> tuple[spool.Held | None, Position]:
    """The writer's folder and position; both in memory where none can be made, on a full disk for example."""
    held = None
    try:
        held = spool.create(owner)
        return held, Position.open(held.path)
    except OSError as error:
        if held is not None:
            with contextlib.suppress(OSError):
                held.remove()
        logger.warning(
            "run %s: the spool %s cannot be written (%s): what is not delivered ends with this process",
            owner.run,
            spool.root(),
            error.strerror or error,
        )
        return None, Position.open(None)


_kept: list[Writer] = []
"""What a forked child has of its parent: collecting it would end the parent's tasks in the child."""
