"""A run written event by event, numbered as a recorder numbers them, without a recorder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tracecraft_core import bodies, ids, run_events, subjects

if TYPE_CHECKING:
    from tracecraft_core.bodies import Body
    from tracecraft_core.bus import Bus


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class WrittenRun:
    """One writer of one run."""

    def __init__(self, bus: Bus, project: str, *, parent: str | None = None) -> None:
        self.bus, self.project, self.run, self.parent = bus, project, ids.run(), parent
        self.writer, self.number = ids.fresh(), 0

    async def event(self, event: str, body: Body, agent: str = "ann") -> int:
        """Write an event; returns its sequence."""
        self.number += 1
        subject = subjects.run_event(self.project, self.run, agent, event)
        msg_id = f"{self.writer}:{self.number}"
        return (await self.bus.publish(subject, bodies.encode(body), msg_id=msg_id)).seq

    async def begin(self, name: str = "search") -> None:
        """Start it."""
        await self.event(
            "started", run_events.RunStarted(name=name, time=now(), parent=self.parent, params={"lr": 0.1})
        )

    async def step(self, name: str, status: run_events.StepStatus = "ok", agent: str = "ann") -> str:
        """A step from beginning to end, with an output and a metric; returns its id."""
        id_ = ids.step()
        await self.event("step.started", run_events.StepStarted(step=id_, name=name, time=now()), agent)
        await self.event("step.output", run_events.StepData(step=id_, value={"said": name}), agent)
        await self.event("metric", run_events.Metric(points=[("loss", 0.5, self.number, now())]), agent)
        ended = run_events.StepEnded(step=id_, name=name, time=now(), duration=2, status=status)
        await self.event("step.ended", ended, agent)
        return id_

    async def end(self) -> None:
        """End it."""
        await self.event("ended", run_events.RunEnded(status="finished", time=now()))
