"""Who lost a task: a lease lapsed and the task is still claimed.

Two watches find it. The server leaves a marker when a lease lapses, which says nothing about the claim, so the record
decides. A thief who waits overwrites that marker within a millisecond, perhaps before anybody has heard of it; but the
record of its claim says from whom it took the task, and no record is ever skipped. What lapsed while nobody watched is
found by looking at all claimed tasks whenever watching begins.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_bridge import lost_events
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import AgentEvent, Lease, Owner, TaskRecord
from tracecraft_core.errors import Malformed
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from tracecraft_bridge.lost_events import LostEvents
    from tracecraft_core.bus import Bus, Stored

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
REASON: Final = "the lease lapsed"
_LEASES: Final = subjects.kv_stream(subjects.LEASES)
_TASKS: Final = subjects.kv_stream(subjects.TASKS)


class LostTasks:
    """Watches the leases."""

    def __init__(self, bus: Bus, events: LostEvents) -> None:
        self._bus, self._events = bus, events

    async def run(self) -> None:
        """Watch for ever; raises what the bus and the database raise."""
        watches = [asyncio.create_task(self._watch_takeovers()), asyncio.create_task(self._watch_leases())]
        try:
            await asyncio.gather(*watches)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _watch_takeovers(self) -> None:
        async with Puller(self._bus, _TASKS, watcher_config([f"$KV.{subjects.TASKS}.>"], "new")) as puller:
            async for delivery in puller:
                if b'"took_over_from"' in delivery.stored.data:
                    await self._hear_takeover(delivery.stored)

    async def _hear_takeover(self, stored: Stored) -> None:
        _, _, project, task = stored.subject.split(".", 3)
        try:
            record = bodies.decode(TaskRecord, stored.data, stored.subject)
        except Malformed as error:
            logger.warning("cannot tell who lost %s of %s: %s", task, project, error)
            return
        if record.state == "claimed" and record.took_over_from is not None:
            await self._publish(project, task, record.took_over_from)

    async def _watch_leases(self) -> None:
        generation = -1
        async with Puller(self._bus, _LEASES, watcher_config([f"$KV.{subjects.LEASES}.>"])) as puller:
            while True:
                if generation != self._bus.transport.generation:  # markers may have come and gone meanwhile
                    generation = self._bus.transport.generation
                    await self.look_at_all()
                delivery = await puller.next(LOOK_S)
                if delivery is not None and delivery.stored.lapsed:
                    await self._look_quietly(delivery.stored.subject)

    async def look_at_all(self) -> None:
        """Find the claims that were lost while nobody watched."""
        for stored in await self._bus.last_values(_TASKS, f"$KV.{subjects.TASKS}.>"):
            if b'"claimed"' in stored.data or b'"took_over_from"' in stored.data:
                await self._look_quietly(stored.subject)

    async def _look_quietly(self, subject: str) -> None:
        """A record that some client broke must not keep the others from being looked at."""
        _, _, project, task = subject.split(".", 3)
        try:
            await self._look(project, task)
        except Malformed as error:
            logger.warning("cannot tell whether %s of %s is lost: %s", task, project, error)

    async def _look(self, project: str, task: str) -> None:
        """Record, lease, record: when the record did not change, the lease was read while it was in force."""
        before = await self._record(project, task)
        if before is None:
            return
        record = bodies.decode(TaskRecord, before.data, before.subject)
        if record.took_over_from is not None:
            await self._publish(project, task, record.took_over_from)
        if record.state != "claimed" or record.owner is None or await self._is_leased(project, task, record):
            return
        after = await self._record(project, task)
        if after is not None and after.seq == before.seq:
            await self._publish(project, task, Owner(owner=record.owner, session=record.session or "", fence=after.seq))

    async def _record(self, project: str, task: str) -> Stored | None:
        stored = await self._bus.leader_get(_TASKS, subjects.kv_subject(subjects.TASKS, project, task))
        return None if stored is None or stored.deleted else stored

    async def _is_leased(self, project: str, task: str, record: TaskRecord) -> bool:
        """Whether the claim of this record has its lease, or is giving it up just now."""
        stored = await self._bus.leader_get(_LEASES, subjects.kv_subject(subjects.LEASES, project, task))
        if stored is None or stored.lapsed:
            return False
        if stored.deleted:  # a release under way: the tombstone lapses too, and then we look again
            return True
        return bodies.decode(Lease, stored.data, stored.subject).nonce == record.nonce

    async def _publish(self, project: str, task: str, lost: Owner) -> None:
        event = AgentEvent(session=lost.session, task=task, fence=lost.fence, reason=REASON)
        await self._events.publish(project, lost.owner, lost_events.task_id(project, task, lost.fence), event)
