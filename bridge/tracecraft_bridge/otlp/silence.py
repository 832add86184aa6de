"""The end of runs that nobody ends: a trace whose root never comes, a session of a coding agent, a service.

Only of those that nothing but telemetry has written into; anybody else's run is his to end.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.otlp.writing import PREFIX
from tracecraft_core import bodies, subjects
from tracecraft_core.run_events import RunEnded

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.progress import Progress
    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

LOOKS: Final = 4
"""Looks within the time of silence."""
LONGEST_LOOK_S: Final = 30.0
_QUIET: Final = """
    SELECT r.project, r.run, r.agent, r.last_seq, (extract(epoch FROM r.heard) * 1000000)::bigint FROM run r
    WHERE r.status = 'running' AND r.heard < now() - make_interval(secs => %(silence)s)
      AND EXISTS (SELECT FROM run_writer w WHERE w.project = r.project AND w.run = r.run)
      AND NOT EXISTS (SELECT FROM run_writer w WHERE w.project = r.project AND w.run = r.run
                      AND NOT starts_with(w.writer, %(prefix)s))
    ORDER BY r.heard LIMIT 100
"""


class Silence:
    """Ends runs that were silent for so many seconds."""

    def __init__(self, bus: Bus, connection: Connection, progress: Progress, seconds: float) -> None:
        self._bus, self._connection, self._progress, self._seconds = bus, connection, progress, seconds

    async def run(self) -> None:
        """Look for ever; raises what the bus and the database raise."""
        while True:
            await asyncio.sleep(min(self._seconds / LOOKS, LONGEST_LOOK_S))
            await self.end()

    async def end(self) -> None:
        """End what is quiet now."""
        await self._progress.caught_up(self._bus)
        cursor = await self._connection.execute(_QUIET, {"silence": self._seconds, "prefix": PREFIX})
        for project, run, agent, last_seq, heard in await cursor.fetchall():
            subject = subjects.run_event(project, run, agent, "ended")
            ended = RunEnded(status="finished", time=heard)
            # of its own, and the same for whoever ends this silence
            await self._bus.publish(subject, bodies.encode(ended), msg_id=f"{PREFIX}silence-{last_seq}:1")
            logger.info("run %s of %s was silent for %g s and is over", run, project, self._seconds)
