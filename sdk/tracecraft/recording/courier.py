"""`Courier`: the part of one recorder that lives on the background loop: delivery, presence, uploads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from tracecraft.context import Context
from tracecraft.recording.delivery import Delivery
from tracecraft.recording.heartbeat import Heartbeat
from tracecraft.recording.reader import Reader
from tracecraft_core.tasks import Holder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.recording.journal import Journal
    from tracecraft.recording.spool import Owner
    from tracecraft.recording.uploads import Uploads
    from tracecraft.recording.wire import Wire

logger = logging.getLogger(__name__)

AWAY_S: Final = 3.0
"""Seconds for which a flush puts up with a server that cannot be reached, or a store that takes nothing."""
LOOK_S: Final = 0.1
"""Most seconds between two looks of a flush; an answer makes it look at once."""


class Courier:
    """Make it and use it on one event loop."""

    def __init__(self, wire: Wire, owner: Owner, journal: Journal, uploads: Uploads, where: str) -> None:
        self._wire, self._owner, self._journal, self._uploads, self._where = wire, owner, journal, uploads, where
        reader = Reader(journal.segments, journal)
        self.delivery = Delivery(wire, owner, journal.segments, reader, journal.position, journal)
        self._heartbeat = Heartbeat(wire, owner)
        self.delivery.before = self._heartbeat.beat
        self._context = Context(wire.bus, owner.project, Holder(owner.agent, owner.writer))
        self._tasks: list[asyncio.Task[None]] = []
        self._progress = asyncio.Event()
        self.delivery.told = uploads.told = self._progress.set
        self._warned = False
        self._warned_in = -1

    def start(self) -> None:
        """Begin."""
        self._wire.on_away.add(self._on_away)
        work = (self.delivery.run(), self._heartbeat.run(), self._upload())
        self._tasks = [asyncio.create_task(part) for part in work]
        for task in self._tasks:
            task.add_done_callback(_report)

    async def _upload(self) -> None:
        await self._wire.up()
        await self._uploads.run(self._context)

    @property
    def has_told(self) -> bool:
        """Whether people know that the server is away, and where the records are."""
        return self._warned_in == self._wire.bus.transport.generation and not self._wire.connected

    def _on_away(self, reason: str) -> None:
        self._progress.set()
        if not self._warned:
            self._warned = True
            self._warned_in = self._wire.bus.transport.generation
            if self._journal.folder is None:
                fate = "lie in memory, and are lost when this process ends before the server is back"
            else:
                fate = (
                    f"go to {self._where} and are delivered when the server is back, "
                    "or later by 'tracecraft spool flush'"
                )
            logger.warning("run %s: %s. Its records %s", self._owner.run, reason, fate)

    # -- waiting -------------------------------------------------------------------------------------------------

    async def flush(self, timeout: float | None, *, since: float | None = None) -> bool:
        """Wait until all that was recorded so far is in the log, and what was to be uploaded is in the store.

        Gives up after ``timeout`` seconds, or sooner when nothing can be reached. ``since`` is when the caller began
        to wait, by the loop's clock.
        """
        begun = asyncio.get_running_loop().time() if since is None else since
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        patience = _Patience(self._wire, self.delivery, self._uploads, begun)
        self._wire.hurry()
        self._uploads.hurry()
        await self._wait(self._uploaded, patience.store_away, until)
        target = self._journal.number  # an upload that is done is an event more

        def stored() -> bool:
            return self._journal.position.acked >= target

        await self._wait(stored, patience.bus_away, until)
        return stored() and self._uploaded()

    async def settle(self, timeout: float) -> None:
        """Wait until the log has the events recorded so far; up to ``timeout`` seconds, not while it takes none."""
        target = self._journal.number
        await self._wait(
            lambda: self._journal.position.acked >= target,
            lambda: not self._wire.connected or bool(self.delivery.trouble),
            asyncio.get_running_loop().time() + timeout,
        )

    def _uploaded(self) -> bool:
        return not self._uploads.waiting

    async def _wait(self, done: Callable[[], bool], away: Callable[[], bool], until: float | None) -> None:
        loop = asyncio.get_running_loop()
        self.delivery.wake()
        while not done() and not away():
            seconds = LOOK_S if until is None else min(LOOK_S, until - loop.time())
            if seconds <= 0:
                return
            self._progress.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._progress.wait()

    async def stop(self, *, left: bool) -> None:
        """End; ``left``: everything is in the log, so the writer is gone and not lost."""
        self._wire.on_away.discard(self._on_away)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if left and self._wire.connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._heartbeat.stop()


class _Patience:
    """How long one flush puts up with what is away: server and store are asked once more, whatever they said before."""

    def __init__(self, wire: Wire, delivery: Delivery, uploads: Uploads, begun: float) -> None:
        self._wire, self._delivery, self._uploads, self._begun = wire, delivery, uploads, begun
        self._refusals, self._uploads_refused = wire.refusals, uploads.refusals

    def bus_away(self) -> bool:
        """Whether it is not worth waiting for the log."""
        if self._wire.refusals > self._refusals:
            return True
        away = self._wire.away_since is not None or bool(self._delivery.trouble)
        return away and asyncio.get_running_loop().time() - self._begun >= AWAY_S

    def store_away(self) -> bool:
        """Whether it is not worth waiting for the store."""
        waited = asyncio.get_running_loop().time() - self._begun >= AWAY_S
        refused = bool(self._uploads.trouble) and self._uploads.refusals > self._uploads_refused  # not only before
        return self.bus_away() or (refused and waited)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the delivery of a run has stopped: its records are kept", exc_info=task.exception())
