"""Purging the log on the bus: what is mirrored and older than the retention goes, nothing else."""

from __future__ import annotations

import contextlib
import datetime
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_core import ids, subjects, topology
from tracecraft_core.errors import NotFound
from tracecraft_core.pull import NANOSECOND, create_consumer

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

PROBE_S: Final = 5
"""Seconds after which the server forgets the consumer that finds the place, should deleting it fail."""


class Retention:
    """Purges the log."""

    def __init__(self, bus: Bus, connection: Connection, retention: float, metrics: Metrics) -> None:
        self._bus, self._connection = bus, connection
        self._retention, self._metrics = retention, metrics

    async def purge(self) -> int:
        """Purge once; returns how many messages went."""
        mirrored = await self._mirrored()
        if mirrored is None:
            return 0
        keep_from = min(mirrored, await self._newest_too_old()) + 1
        info = await self._bus.api(f"STREAM.INFO.{subjects.LOG}")
        if keep_from <= info["state"]["first_seq"] or not info["state"]["messages"]:
            return 0
        if await self._mirrored() is None:  # the log was made anew in between: its numbers mean something else
            return 0
        answer = await self._bus.api(f"STREAM.PURGE.{subjects.LOG}", {"seq": keep_from})
        purged = int(answer.get("purged", 0))
        self._metrics.purged.labels(subjects.LOG).inc(purged)
        if purged:
            logger.info("purged %d mirrored messages from the log, up to sequence %d", purged, keep_from - 1)
        return purged

    async def _mirrored(self) -> int | None:
        """How far the log that is on the bus now is mirrored; ``None`` when the mirrored one is another."""
        cursor = await self._connection.execute(
            "SELECT e.stream_epoch, c.seq FROM checkpoint c JOIN epoch e ON e.id = c.epoch WHERE c.stream = %s",
            (subjects.LOG,),
        )
        row = await cursor.fetchone()
        return row[1] if row is not None and row[0] == await topology.epoch(self._bus) else None

    async def _newest_too_old(self) -> int:
        """The newest sequence older than the retention; the server finds it by its own times, as for a reader."""
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=self._retention)
        name = f"bridge_probe_{ids.fresh()}"
        probe = {
            "name": name,
            "filter_subjects": [f"{subjects.ROOT}.>"],
            "deliver_policy": "by_start_time",
            "opt_start_time": before.isoformat().replace("+00:00", "Z"),
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": PROBE_S * NANOSECOND,
        }
        info = await create_consumer(self._bus, subjects.LOG, probe)
        with contextlib.suppress(NotFound):  # deleting was repeated
            await self._bus.api(f"CONSUMER.DELETE.{subjects.LOG}.{name}")
        return int(info["delivered"]["stream_seq"])
