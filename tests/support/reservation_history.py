"""What agents held when: the log's task events and the leases, replayed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecraft.leases import state_of
from tracecraft_core import bodies, globs, reservations, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.task_ids import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tracecraft import AsyncSession
    from tracecraft_core.bus import Stored
    from tracecraft_core.reservations import Reservation

PATIENCE_S = 20.0


@dataclass(slots=True)
class Tenancy:
    """A claim on files while it was in force: its record stood, and its lease lived."""

    reservation: Reservation
    begin: int
    end: int | None = None
    """Place of the event that ended it; ``None``: it is still in force."""
    given_back: bool = False
    """Its owner ended it."""

    def meets(self, other: Tenancy) -> bool:
        """Whether both stood at one moment, for different owners and a file that both match."""
        mine, theirs = self.reservation, other.reservation
        if (mine.owner, mine.session) == (theirs.owner, theirs.session):
            return False
        apart = any(one.end is not None and one.end <= another.begin for one, another in ((self, other), (other, self)))
        return not apart and any(
            globs.meeting(globs.parse(one), globs.parse(another))
            for one in (mine.glob, *mine.also)
            for another in (theirs.glob, *theirs.also)
        )

    def gave_way_to(self, other: Tenancy) -> bool:
        """Whether it was a claim of somebody who then looked, saw that ``other`` came earlier, and gave it back.

        Of requests of one glob each: of several the first decides.
        """
        before = other.end is None or (self.end is not None and self.end <= other.end)
        return self.begin > other.begin and self.given_back and before


class History:
    """Listens from when it is opened; make it with `listening`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._heard: list[tuple[str, bool, Stored]] = []

    async def listen(self, puller: Puller, *, records: bool) -> None:
        """Take in what a consumer brings."""
        async for delivery in puller:
            self._heard.append((delivery.stored.time, records, delivery.stored))

    async def check(self) -> None:
        """Fail when two agents ever held one file."""
        await self._catch_up()
        for one, other in itertools.combinations(self.tenancies(), 2):
            allowed = one.gave_way_to(other) or other.gave_way_to(one)
            assert allowed or not one.meets(other), f"both hold a file:\n{one}\n{other}"

    async def _catch_up(self) -> None:
        """Everything written so far has been heard when this has."""
        [last] = await self._session.reservations.reserve("the-end-of-the-history")
        await self._session.reservations.release("the-end-of-the-history")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if len(self._ends(last.task)) == 2:
                    return
                await asyncio.sleep(0.02)

    def _ends(self, task: str) -> set[bool]:
        return {records for _, records, stored in self._heard if stored.deleted and stored.subject.endswith(task)}

    def tenancies(self) -> list[Tenancy]:
        """Every claim that was in force, in the order in which they began."""
        found: list[Tenancy] = []
        open_: dict[str, Tenancy] = {}
        for place, stored, now in self._replay():
            for nonce in open_.keys() - now.keys():
                ended = open_.pop(nonce)
                ended.end = place
                # Its record was ended, or its lease was dropped: that is in another stream, and may be heard first.
                writer = stored.headers.get(subjects.WRITER, ended.reservation.owner)
                ended.given_back = stored.deleted and not stored.lapsed and writer == ended.reservation.owner
            for nonce in now.keys() - open_.keys():
                open_[nonce] = Tenancy(now[nonce], place)
                found.append(open_[nonce])
        return found

    def _replay(self) -> Iterator[tuple[int, Stored, dict[str, Reservation]]]:
        """After each event: what is in force, by the nonce that ties a record to its lease."""
        records: dict[str, tuple[str, Reservation]] = {}
        alive: dict[str, str] = {}
        for place, (_, is_record, stored) in enumerate(sorted(self._heard, key=lambda one: one[0])):
            task = stored.subject.partition(f".{PREFIX}.")[2]
            if is_record:
                records.pop(task, None)
                record = None if stored.deleted else bodies.decode(TaskRecord, stored.data, stored.subject)
                if record is not None and record.state == "claimed" and record.nonce:
                    told = reservations.reservation(task, record, stored.seq, stored.time)
                    assert told is not None
                    records[task] = (record.nonce, told)
            else:
                lease = state_of(stored).lease
                alive.pop(task, None)
                if lease is not None:
                    alive[task] = lease.nonce
            yield place, stored, {nonce: one for task, (nonce, one) in records.items() if alive.get(task) == nonce}


@contextlib.asynccontextmanager
async def listening(session: AsyncSession) -> AsyncIterator[History]:
    """A history of the project of a session, from now on."""
    history, bus, project = History(session), session.context.bus, session.project
    sources = {
        True: (subjects.LOG, subjects.task_change(project, reservations.ALL)),
        False: (subjects.kv_stream(subjects.LEASES), subjects.kv_subject(subjects.LEASES, project, reservations.ALL)),
    }
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        listeners = []
        for records, (stream, subject) in sources.items():
            puller = await stack.enter_async_context(Puller(bus, stream, watcher_config([subject], "all")))
            listeners.append(group.create_task(history.listen(puller, records=records)))
        try:
            yield history
        finally:
            for listener in listeners:
                listener.cancel()
