"""Which runs have crashed: every process that wrote into one is gone, and it was never ended.

A process keeps a presence fresh for each run that it writes into. That it ever had one is noted in the table
``run_presence``, so that a crash is found even when no bridge was there to see it lapse. A process that said ``left``
has not crashed: a run that all of them have left stays open, as one that never had any (of single commands, of foreign
clients), until somebody ends it. An event that comes later after all takes the run back.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import bodies, subjects
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.run_events import RunCrashed

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.progress import Progress
    from tracecraft_core.bus import Bus, Stored

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.5
SETTLED_S: Final = 5.0
"""Seconds after the last presence lapsed, and after the last event came, before a run counts as crashed."""
NAMED: Final = 3
"""Processes that a reason names."""
_AGENTS: Final = subjects.kv_stream(subjects.AGENTS)

_RUN: Final = """
    SELECT r.status, r.last_seq, extract(epoch FROM now() - r.heard)::float8,
           (SELECT array[o.step, o.agent] FROM step_open o WHERE o.project = r.project AND o.run = r.run
            ORDER BY o.epoch DESC, o.first_seq DESC LIMIT 1),
           (SELECT array[s.step, s.agent] FROM step s WHERE s.project = r.project AND s.run = r.run
            ORDER BY s.epoch DESC, s.first_seq DESC LIMIT 1),
           array(SELECT n.writer FROM run_presence n LEFT JOIN run_writer w USING (project, run, writer)
                 WHERE n.project = r.project AND n.run = r.run AND w.final IS NULL ORDER BY n.writer LIMIT 100)
    FROM run r WHERE r.project = %s AND r.run = %s
"""
_SILENT: Final = """
    SELECT coalesce(l.body->'origin'->>'pid', '?'), coalesce(l.body->'origin'->>'host', '?'),
           to_char(w.heard AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
    FROM run_writer w LEFT JOIN LATERAL (
        SELECT body FROM log WHERE project = w.project AND run = w.run AND family = 'run'
        AND event IN ('started', 'joined') AND headers->>'Nats-Msg-Id' = w.writer || ':1'
        ORDER BY epoch DESC, seq DESC LIMIT 1
    ) l ON true
    WHERE w.project = %s AND w.run = %s AND w.writer = ANY(%s) ORDER BY w.heard DESC, w.writer
"""
_STEP: Final = """
    SELECT name FROM step_open WHERE project = %(project)s AND run = %(run)s AND step = %(step)s
    UNION ALL SELECT name FROM step WHERE project = %(project)s AND run = %(run)s AND step = %(step)s LIMIT 1
"""


class LostRuns:
    """Watches the presences of writers."""

    def __init__(self, bus: Bus, connection: Connection, progress: Progress, metrics: Metrics) -> None:
        self._bus, self._connection = bus, connection
        self._progress, self._metrics = progress, metrics
        self._noted: dict[tuple[str, str], set[str]] = {}
        """Writers whose presences are noted, by run."""
        self._due: dict[tuple[str, str], float] = {}
        """When to look at a run, by the monotonic clock."""

    async def run(self) -> None:
        """Watch for ever; raises what the bus and the database raise."""
        generation = -1
        async with Puller(self._bus, _AGENTS, watcher_config([f"$KV.{subjects.AGENTS}.*.*.*"])) as puller:
            while True:
                if generation != self._bus.transport.generation:
                    generation = self._bus.transport.generation
                    await self._look_at_all()
                delivery = await puller.next(LOOK_S)
                if delivery is not None:
                    await self._on_change(delivery.stored)
                now = time.monotonic()
                for key in [key for key, due in self._due.items() if due <= now]:
                    del self._due[key]
                    await self._look(*key)

    async def _on_change(self, stored: Stored) -> None:
        _, _, project, run, writer = stored.subject.split(".", 4)
        key = (project, run)
        if stored.lapsed or stored.deleted:
            self._due[key] = time.monotonic() + SETTLED_S
        elif writer not in self._noted.get(key, ()):
            await self._connection.execute(
                "INSERT INTO run_presence (project, run, writer) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (*key, writer),
            )
            self._noted.setdefault(key, set()).add(writer)

    async def _look_at_all(self) -> None:
        """Look soon at every run whose presence may have lapsed while nobody watched."""
        cursor = await self._connection.execute("SELECT DISTINCT project, run FROM run_presence")
        for project, run in await cursor.fetchall():
            self._due.setdefault((project, run), time.monotonic() + SETTLED_S)

    async def _look(self, project: str, run: str) -> None:
        pattern = subjects.kv_subject(subjects.AGENTS, project, subjects.run_presence(run, "*"))
        present = await self._bus.last_values(_AGENTS, pattern)
        if any(not (stored.deleted or stored.lapsed) for stored in present):
            return
        await self._progress.caught_up(self._bus)
        cursor = await self._connection.execute(_RUN, (project, run))
        row = await cursor.fetchone()
        silent = row is not None and row[5]
        if row is not None and row[0] == "running" and silent:
            if row[2] < SETTLED_S:  # something of it is still coming in
                self._due[project, run] = time.monotonic() + SETTLED_S - row[2]
                return
            await self._publish(project, run, row)
        else:
            await self._connection.execute("DELETE FROM run_presence WHERE project = %s AND run = %s", (project, run))
            self._noted.pop((project, run), None)

    async def _publish(self, project: str, run: str, row: tuple[Any, ...]) -> None:
        _, last_seq, _, open_step, ended_step, writers = row
        step, agent = open_step or ended_step or (None, None)
        reason = await self._reason(project, run, writers, step, agent, open_step is not None)
        event = RunCrashed(reason=reason, last_step=step, last_agent=agent, writers=writers)
        subject = subjects.run_event(project, run, subjects.RESERVED_PROJECT, "crashed")
        ack = await self._bus.publish(subject, bodies.encode(event), msg_id=f"crashed={project}={run}={last_seq}")
        self._due[project, run] = time.monotonic() + SETTLED_S
        if not ack.duplicate:
            self._metrics.lost.labels("run").inc()
            logger.info("run %s of %s has crashed: %s", run, project, reason)

    async def _reason(
        self, project: str, run: str, writers: list[str], step: str | None, agent: str | None, inside: bool
    ) -> str:
        """Which process fell silent, where, when, and in what."""
        cursor = await self._connection.execute(_SILENT, (project, run, writers))
        silent = await cursor.fetchall()
        processes = [f"process {pid} on {host} (last heard at {heard} UTC)" for pid, host, heard in silent[:NAMED]]
        if len(silent) > NAMED:
            processes.append(f"{len(silent) - NAMED} more")
        said = f"{', '.join(processes) or 'every process that wrote into it'} fell silent without ending the run"
        if step is None:
            return said
        cursor = await self._connection.execute(_STEP, {"project": project, "run": run, "step": step})
        row = await cursor.fetchone()
        return f"{said}, {'inside' if inside else 'after'} the step {(row and row[0]) or step!r} of {agent}"
