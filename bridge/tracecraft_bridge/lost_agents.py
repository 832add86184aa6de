"""Which agents were lost: their presence lapsed and they had not said that they leave.

Only a ``live`` agent can be lost: a one-shot command writes its presence once and does not keep it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tracecraft_bridge import lost_events
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import AgentEvent, Presence
from tracecraft_core.errors import Malformed
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.lost_events import LostEvents
    from tracecraft_bridge.progress import Progress
    from tracecraft_core.bus import Bus, Stored

LOOK_S: Final = 1.0
REASON: Final = "its presence lapsed"
SETTLED_S: Final = 60
"""An event younger than this may be ahead of the presence that belongs to it."""
_AGENTS: Final = subjects.kv_stream(subjects.AGENTS)

_LAST_EVENT: Final = """
    SELECT event, seq, body->>'session', body->>'mode' FROM log
    WHERE family = 'agent' AND project = %s AND agent = %s AND event IN ('joined', 'status', 'left', 'lost')
      AND epoch NOT IN (SELECT id FROM epoch WHERE reason = 'imported')
      AND NOT (event = 'lost' AND coalesce(body ? 'task', false))
    ORDER BY epoch DESC, seq DESC LIMIT 1
"""
_OPEN: Final = """
    SELECT project, agent FROM (
        SELECT DISTINCT ON (project, agent) project, agent, event, body, time FROM log
        WHERE family = 'agent' AND event IN ('joined', 'status', 'left', 'lost')
          AND epoch NOT IN (SELECT id FROM epoch WHERE reason = 'imported')
          AND NOT (event = 'lost' AND coalesce(body ? 'task', false))
        ORDER BY project, agent, epoch DESC, seq DESC
    ) newest
    WHERE event IN ('joined', 'status') AND body->>'mode' = 'live' AND time < now() - make_interval(secs => %s)
"""


class _LastEvent(NamedTuple):
    event: str
    seq: int
    session: str | None
    mode: str | None


class LostAgents:
    """Watches the presences."""

    def __init__(self, bus: Bus, connection: Connection, events: LostEvents, progress: Progress) -> None:
        self._bus, self._connection = bus, connection
        self._events, self._progress = events, progress
        self._seen: dict[str, Presence] = {}
        """The presences that are up, by subject: a marker does not say what it stands for."""

    async def run(self) -> None:
        """Watch for ever; raises what the bus and the database raise."""
        generation = -1
        async with Puller(self._bus, _AGENTS, watcher_config([f"$KV.{subjects.AGENTS}.>"])) as puller:
            while True:
                if generation != self._bus.transport.generation:
                    generation = self._bus.transport.generation
                    await self.look_at_all()
                delivery = await puller.next(LOOK_S)
                if delivery is not None:
                    await self._on_change(delivery.stored)

    async def look_at_all(self) -> None:
        """Find the agents that were lost while nobody watched."""
        await self._progress.caught_up(self._bus)
        cursor = await self._connection.execute(_OPEN, (SETTLED_S,))
        for project, agent in await cursor.fetchall():
            await self._look(project, agent, None)

    async def _on_change(self, stored: Stored) -> None:
        if stored.subject.count(".") > 3:  # a writer of a run (`lost_runs`)
            return
        seen = self._seen.pop(stored.subject, None)
        if stored.lapsed:
            _, _, project, agent = stored.subject.split(".", 3)
            await self._look(project, agent, seen)
        elif not stored.deleted:
            try:
                self._seen[stored.subject] = bodies.decode(Presence, stored.data, stored.subject)
            except Malformed:
                return

    async def _look(self, project: str, agent: str, seen: Presence | None) -> None:
        stored = await self._bus.leader_get(_AGENTS, subjects.kv_subject(subjects.AGENTS, project, agent))
        if stored is not None and not stored.deleted:
            return
        last = await self._last_event(project, agent)
        mode = seen.mode if seen else last.mode if last else None
        if mode != "live" or (last is not None and last.event in ("left", "lost")):
            return
        since = last.seq if last else 0
        session = seen.session if seen else last.session if last else None
        event = AgentEvent(session=session, mode="live", reason=REASON)
        await self._events.publish(project, agent, lost_events.agent_id(project, agent, since), event)

    async def _last_event(self, project: str, agent: str) -> _LastEvent | None:
        await self._progress.caught_up(self._bus)
        cursor = await self._connection.execute(_LAST_EVENT, (project, agent))
        row = await cursor.fetchone()
        return None if row is None else _LastEvent(*row)
