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
LOOK_S: Final = 0.01
"""Seconds between two looks of a flush."""


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
        self._warned = False

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

    def _on_away(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "run %s: %s. Its records go to %s and are delivered when the server is back, "
                "or later by 'tracecraft spool flush'",
                self._owner.run,
                reason,
                self._where,
            )

    # -- waiting -------------------------------------------------------------------------------------------------

    async def flush(self, timeout: float | None, *, uploads: bool = True) -> bool:
        """Wait until all that was recorded so far is in the log; with ``uploads`` what was to be uploaded, too.

        Gives up after ``timeout`` seconds, or sooner when nothing can be reached.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        target = self._journal.number
        self.delivery.wake()

        def stored() -> bool:
            return self._journal.position.acked >= target

        def sent() -> bool:
            return not self._uploads.waiting

        conditions = [(sent, self._store_away), (stored, self._bus_away)] if uploads else [(stored, self._bus_away)]
        for done, away in conditions:
            await self._wait(done, away, begun, timeout)
            target = self._journal.number  # an upload that is done is an event more
            self.delivery.wake()
        return stored() and (sent() or not uploads)

    async def _wait(
        self, done: Callable[[], bool], away: Callable[[], bool], begun: float, timeout: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        while not done():
            now = loop.time()
            if timeout is not None and now - begun >= timeout:
                return
            if now - begun >= AWAY_S and away():
                return
            await asyncio.sleep(LOOK_S)

    def _bus_away(self) -> bool:
        since = self._wire.away_since
        return since is not None and asyncio.get_running_loop().time() - since > AWAY_S

    def _store_away(self) -> bool:
        return bool(self._uploads.trouble) or self._bus_away()

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


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the delivery of a run has stopped: its records are kept", exc_info=task.exception())
