"""`Heartbeat`: the presence of one writer of a run. When the last one lapses, the bridge calls the run crashed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from tracecraft import leases
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Presence
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from tracecraft.recording.spool import Owner
    from tracecraft.recording.wire import Wire

logger = logging.getLogger(__name__)

TTL_S: Final = 30
"""Seconds for which a process that stopped saying so still counts as writing."""
BEAT_S: Final = 10.0
"""Seconds between two writes."""


class Heartbeat:
    """Keeps ``<project>.<run>.<writer>`` in the bucket of presence."""

    def __init__(self, wire: Wire, owner: Owner) -> None:
        self._wire = wire
        key = subjects.run_presence(owner.run, owner.writer)
        self._subject = subjects.kv_subject(subjects.AGENTS, owner.project, key)
        presence = Presence(session=owner.writer, mode="live", host=owner.host, pid=owner.pid, ttl=TTL_S)
        self._body = bodies.encode(presence)

    async def beat(self) -> None:
        """Be present for another `TTL_S` seconds. What fails is tried again at the next beat."""
        try:
            await self._wire.bus.publish(self._subject, self._body, ttl=TTL_S)
        except TracecraftError as error:
            logger.debug("no presence for %s: %s", self._subject, error)

    async def run(self) -> None:
        """Beat for ever; the first beat is the delivery's, before it sends anything."""
        while True:
            await asyncio.sleep(BEAT_S)
            if self._wire.connected:
                await self.beat()

    async def stop(self) -> None:
        """Be gone: everything that this writer will ever write is in the log."""
        headers = {subjects.KV_OPERATION: "DEL"}
        with contextlib.suppress(TracecraftError):
            await self._wire.bus.publish(self._subject, b"", headers=headers, ttl=leases.TOMBSTONE_TTL_S)
