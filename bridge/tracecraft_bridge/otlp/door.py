"""The receiver as a part of the bridge: it opens with the bridge, and takes telemetry while that one is active."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.otlp.listener import OtlpListener
from tracecraft_bridge.otlp.receiver import Receiver
from tracecraft_bridge.otlp.silence import Silence
from tracecraft_core.errors import BusUnreachable

if TYPE_CHECKING:
    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.health import Health
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_bridge.settings import OtlpSettings, Settings

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.5


class Door:
    """Make it where a busy address may still be told; `start` and `stop` belong to the loop."""

    def __init__(
        self,
        settings: Settings,
        otlp: OtlpSettings,
        store: ObjectStore | None,
        progress: Progress,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._settings, self._health, self._progress = otlp, health, progress
        self._receiver = Receiver(settings, otlp, store, progress, metrics)
        self._listener = OtlpListener(otlp.listen, otlp.token, self._receiver, metrics, self._unready)
        self._connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer from now on: that nothing can be taken, until the bridge is connected and active."""
        self._listener.start()
        self._connecting = asyncio.create_task(self._connect())
        logger.info("receives OpenTelemetry at http://%s:%d", *self._listener.address)

    async def _connect(self) -> None:
        while True:
            try:
                return await self._receiver.start()
            except BusUnreachable:  # the mirror has said so
                await asyncio.sleep(PAUSE_S)

    async def stop(self) -> None:
        """Close the address; what was not answered, the exporter sends again."""
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        await self._receiver.stop()
        await asyncio.to_thread(self._listener.stop)

    async def end_silent(self, connection: Connection) -> None:
        """The duty of ending runs that nobody ends."""
        await Silence(self._receiver.bus, connection, self._progress, self._settings.silence).run()

    def _unready(self) -> str | None:
        """Only the active bridge knows whose trace it is."""
        if self._health.role != "active":
            return f"this bridge is {self._health.role}: the active one receives"
        return self._health.reason()
