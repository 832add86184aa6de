"""Trimming memory keys and task records to their newest revisions, once the older ones are mirrored.

Core resolves an unknown outcome of a compare-and-set by looking for its own write among the newest revisions, and the
log must have sourced a revision before it goes: so the newest `KEPT` stay, and everything younger than the trim age.
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_core import subjects
from tracecraft_core.reservations import is_reservation

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

KEPT: Final = 64
"""Revisions of a key that always stay."""

_FAMILIES: Final = {subjects.MEMORY: "memory", subjects.TASKS: "task"}

_KEEP_FROM: Final = """
    WITH newest AS (
        SELECT origin_seq, time, headers->>'Nats-Msg-Id' AS msg_id,
               row_number() OVER (ORDER BY epoch DESC, seq DESC) AS n
        FROM log WHERE project = %s AND family = %s AND key = %s AND origin_stream = %s
          AND epoch NOT IN (SELECT id FROM epoch WHERE reason = 'imported')
    )
    SELECT origin_seq, msg_id FROM newest
    WHERE n >= %s AND time < now() - make_interval(secs => %s) ORDER BY n LIMIT 1
"""
"""The newest revision that may be the oldest one kept."""


class Revisions:
    """Trims the two buckets that the log sources from."""

    def __init__(self, bus: Bus, connection: Connection, trim_age: float, metrics: Metrics) -> None:
        self._bus, self._connection = bus, connection
        self._trim_age, self._metrics = trim_age, metrics

    async def trim(self) -> int:
        """Trim every key once; returns how many revisions went."""
        trimmed = 0
        for bucket in _FAMILIES:
            found = await self._bus.list_subjects(subjects.kv_stream(bucket), f"$KV.{bucket}.>")
            for subject, revisions in found.items():
                if revisions > KEPT:
                    trimmed += await self._trim_key(bucket, subject)
                elif bucket == subjects.TASKS and is_reservation(subject.split(".", 3)[3]):
                    trimmed += await self._forget(subject)
        return trimmed

    async def _trim_key(self, bucket: str, subject: str) -> int:
        stream = subjects.kv_stream(bucket)
        _, _, project, key = subject.split(".", 3)
        cursor = await self._connection.execute(
            _KEEP_FROM, (project, _FAMILIES[bucket], key, stream, KEPT, self._trim_age)
        )
        row = await cursor.fetchone()
        if row is None or not await self._is_same(stream, subject, *row):
            return 0
        return await self._purge(stream, subject, row[0])

    async def _forget(self, subject: str) -> int:
        """Purge a reservation of files that was released: there would be one for every file that was ever edited."""
        stream = subjects.kv_stream(subjects.TASKS)
        newest = await self._bus.leader_get(stream, subject)
        if newest is None or not newest.deleted:
            return 0
        _, _, project, key = subject.split(".", 3)
        cursor = await self._connection.execute(_KEEP_FROM, (project, "task", key, stream, 1, self._trim_age))
        row = await cursor.fetchone()
        if row is None or row[0] != newest.seq or not await self._is_same(stream, subject, *row):
            return 0
        return await self._purge(stream, subject, newest.seq + 1)  # not what is written meanwhile

    async def _purge(self, stream: str, subject: str, before: int) -> int:
        answer = await self._bus.api(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": before})
        purged = int(answer.get("purged", 0))
        self._metrics.purged.labels(stream).inc(purged)
        return purged

    async def _is_same(self, stream: str, subject: str, revision: int, msg_id: str | None) -> bool:
        """Whether the bucket's revision is the mirrored one: a bucket that was made again numbers from 1 anew."""
        stored = await self._bus.get(stream, revision)
        if stored is None or stored.subject != subject or stored.headers.get(subjects.MSG_ID) != msg_id:
            return False
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(stored.time[:19] + "+00:00")
        return age.total_seconds() >= self._trim_age
