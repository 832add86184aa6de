"""Beats: a tiny write to each bucket that the log sources, whenever the log has grown, so that a restart stays short.

A server that was killed looks for the newest message of every source by reading the log backwards, at a price for
each step that grows with the number of keys (docs/decisions/0007-beats-keep-restarts-short.md). A source that is
written to seldom, or never, would send it through everything since the server last wrote its index.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.continuity import Position
from tracecraft_core import subjects
from tracecraft_core.subjects import BEAT, RESERVED_PROJECT

if TYPE_CHECKING:
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_core.bus import Bus

EVERY: Final = 1_000
"""Messages that the log grows by between two beats. A beat adds two, so that beats alone never cause one."""

_BUCKETS: Final = (subjects.MEMORY, subjects.TASKS)
_IN_LOG: Final = (subjects.memory_change(RESERVED_PROJECT, BEAT), subjects.task_change(RESERVED_PROJECT, BEAT))
_DELETION: Final = {subjects.KV_OPERATION: "DEL"}
"""A beat deletes a key that never was: no reader of a bucket, ours or not, takes it for a value or a task."""


class Beats:
    """Watches the log grow."""

    def __init__(self, bus: Bus, progress: Progress, metrics: Metrics) -> None:
        self._bus, self._progress, self._metrics = bus, progress, metrics

    async def run(self) -> None:
        """Beat for ever; raises what the bus raises. A log that does not grow gets no beat."""
        beaten: Position | None = None
        end: Position | None = None
        while True:
            end = await self._progress.end_beyond(end)
            if beaten is None or beaten.epoch != end.epoch:
                beaten = Position(end.epoch, await self._newest())
            if end.seq - beaten.seq >= EVERY:
                await self._beat()
                beaten = end

    async def _newest(self) -> int:
        """Up to where in the log both buckets have had a beat; 0 when one never had any."""
        stored = await asyncio.gather(*(self._bus.leader_get(subjects.LOG, subject) for subject in _IN_LOG))
        return min(0 if beat is None else beat.seq for beat in stored)

    async def _beat(self) -> None:
        keys = (subjects.kv_subject(bucket, RESERVED_PROJECT, BEAT) for bucket in _BUCKETS)
        await asyncio.gather(*(self._bus.publish(key, b"", headers=_DELETION) for key in keys))
        self._metrics.beats.inc()
