"""Writing ``lost`` events into the log, each once, whoever else tries.

The id of the message says what was lost, so the server drops a repeat within two minutes; the table ``log`` knows all
the earlier ones, once the mirror has caught up with the stream.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tracecraft_core import bodies, subjects

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_core.bodies import AgentEvent
    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

LOST = "lost"


def task_id(project: str, task: str, fence: int) -> str:
    """Message id of the event that a claim was lost. ``=`` is in no project name."""
    return f"lost={project}={task}={fence}"


def agent_id(project: str, agent: str, since: int) -> str:
    """Message id of the event that an agent was lost; ``since``: sequence of the event that last showed it alive."""
    return f"lost-agent={project}={agent}={since}"


class LostEvents:
    """Publishes ``lost`` events over one bus, knowing the log by one connection."""

    def __init__(self, bus: Bus, connection: Connection, progress: Progress, metrics: Metrics) -> None:
        self._bus, self._connection = bus, connection
        self._progress, self._metrics = progress, metrics
        self._one_at_a_time = asyncio.Lock()

    async def publish(self, project: str, agent: str, msg_id: str, event: AgentEvent) -> bool:
        """Publish the event unless the log has it; whether it was new."""
        async with self._one_at_a_time:
            await self._progress.caught_up(self._bus)
            if await self._is_known(project, agent, msg_id):
                return False
            subject = subjects.agent_event(project, agent, LOST)
            ack = await self._bus.publish(subject, bodies.encode(event), msg_id=msg_id)
        if ack.duplicate:
            return False
        self._metrics.lost.labels("agent" if event.task is None else "task").inc()
        logger.info("%s of %s lost%s", agent, project, f" task {event.task}" if event.task else "")
        return True

    async def _is_known(self, project: str, agent: str, msg_id: str) -> bool:
        cursor = await self._connection.execute(
            "SELECT FROM log WHERE family = 'agent' AND project = %s AND agent = %s AND event = %s "
            "AND headers->>'Nats-Msg-Id' = %s "
            "AND epoch NOT IN (SELECT id FROM epoch WHERE reason = 'imported') LIMIT 1",
            (project, agent, LOST, msg_id),
        )
        return await cursor.fetchone() is not None
