"""Claims: exactly one owner a task, however processes die, pause or lose a reply.

Two writes make a claim: the lease (alive or not, the server's clock decides) and then the task record, whose revision
is the fencing token. Whoever settles, renews or releases must still have that revision; a stale owner is refused and
told who has the task now. docs/explanation/claims.md walks through every interleaving.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from tracecraft import leases
from tracecraft_core import bodies, ids, names, reservations, subjects, tasks
from tracecraft_core.bodies import Handoff, Lease, Settlement, TaskRecord
from tracecraft_core.errors import ClaimLost, Malformed, NotFound, RevisionConflict, TaskHeld, TracecraftError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracecraft.context import Context
    from tracecraft.leases import LeaseState
    from tracecraft_core.bus import Stored
    from tracecraft_core.tasks import Holder

UNKNOWN: Final = "unknown"
"""State in a `ClaimLost` that the holder declared by itself, because it could not renew: nobody has been asked."""

HALF_MADE_S: Final = 1.0
"""Seconds after which a lease of one's own without its record is taken for that of a process killed in between."""
_LOOK_AGAIN_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands in the bucket."""

    id: str
    record: TaskRecord
    revision: int
    time: str
    """When it last changed, server time."""


@dataclass(slots=True)
class Held:
    """A claim in hand: what is needed to keep it, to prove it and to settle it."""

    task: str
    record: TaskRecord
    fence: int
    """The fencing token: revision of the record that the claim wrote."""
    lease_revision: int
    ttl: int
    again: bool = False
    """This agent and session held it already when it was claimed."""
    renewed_at: float = 0.0
    """Monotonic time at which the last successful renewal was sent."""
    lost: ClaimLost | None = None
    settled: bool = False
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the claim is lost or settled."""

    @property
    def nonce(self) -> str:
        """What ties the lease to the record."""
        return self.record.nonce or ""


async def read(context: Context, task: str) -> Task | None:
    """The record of a task, read from the leader; ``None`` when there is none."""
    stored = await context.bus.leader_get(*context.kv(subjects.TASKS, names.task(task)))
    if stored is None or stored.deleted:
        return None
    return Task(task, bodies.decode(TaskRecord, stored.data, stored.subject), stored.seq, stored.time)


async def states(context: Context, wanted: Iterable[str]) -> dict[str, str]:
    """The states of those tasks that exist."""
    found = await asyncio.gather(*(read(context, task) for task in wanted))
    return {task.id: task.record.state for task in found if task is not None}


async def claim(context: Context, task: str, ttl: int, definition: TaskRecord | None = None) -> Held:
    """Claim a task, creating it if it is unknown; claiming what this agent and session hold succeeds again.

    ``definition`` has the title and data of a reservation, which the claim writes; nothing else can claim one.
    Raises `TaskHeld`, `TaskSettled`, `TaskNotReady`, `BodyTooLarge` for a record without room for a claim, `Malformed`
    for one that cannot be understood, and what the bus raises.
    """
    if definition is None:
        reservations.check_work(task)
    half_made = _HalfMade(context.holder)
    while True:
        stream, subject = context.kv(subjects.TASKS, names.task(task))
        stored, lease = await asyncio.gather(context.bus.leader_get(stream, subject), leases.read(context, task))
        record, revision = None, stored.seq if stored else 0
        if stored is not None and not stored.deleted:
            record = bodies.decode(TaskRecord, stored.data, subject)
        if record is not None and record.after:
            tasks.check_claimable(task, record, await states(context, record.after))
        tasks.check_claimable(task, msgspec.structs.replace(record, after=[]) if record else None, {})
        verdict = half_made.verdict(record, lease)
        if verdict == "look again":
            await asyncio.sleep(_LOOK_AGAIN_S)
            continue
        if verdict == "left over":
            await leases.drop(context, task, lease.revision)
            continue
        if lease.lease is not None:
            since = stored.time if stored is not None else None
            again = await _again(context, task, record, revision, lease, ttl, since)
            if again is not None:
                return again
            continue
        if definition is not None:
            record = tasks.defined(record or _ended(stored), definition)
        held = await _take(context, task, record, revision, lease.revision, ttl)
        if held is not None:
            return held


def _ended(stored: Stored | None) -> TaskRecord | None:
    """The record that a reservation left behind in its deletion: it counts the attempts."""
    with contextlib.suppress(Malformed):
        return bodies.decode(TaskRecord, stored.data, stored.subject) if stored is not None and stored.data else None
    return None


class _HalfMade:
    """A lease of one's own whose record is not there: another process of the session writes it, or died before it."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._revision, self._seen = 0, 0.0

    def verdict(self, record: TaskRecord | None, lease: LeaseState) -> Literal["no", "look again", "left over"]:
        """What to do about a lease; one that has not changed for `HALF_MADE_S` is left over."""
        found, now = lease.lease, asyncio.get_running_loop().time()
        ours = found is not None and (found.owner, found.session) == (self._holder.agent, self._holder.session)
        if not ours or (found is not None and record is not None and record.nonce == found.nonce):
            return "no"
        if lease.revision != self._revision:
            self._revision, self._seen = lease.revision, now
        return "look again" if now - self._seen < HALF_MADE_S else "left over"


async def _again(
    context: Context,
    task: str,
    record: TaskRecord | None,
    revision: int,
    lease: LeaseState,
    ttl: int,
    since: str | None,
) -> Held | None:
    """A live lease stands in the way: it is ours and is renewed, or it is not and we are refused."""
    assert lease.lease is not None
    if record is None or record.nonce != lease.lease.nonce:
        raise TaskHeld(task, lease.lease.owner, None, lease.expires_in)
    if not context.holder.holds(record):
        raise TaskHeld(task, lease.lease.owner, since, lease.expires_in)
    held = Held(task, record, revision, lease.revision, max(ttl, lease.lease.ttl), again=True)
    try:
        await renew(context, held)
    except ClaimLost:
        return None  # it lapsed just now: start again
    return held


async def _take(
    context: Context, task: str, record: TaskRecord | None, revision: int, lease_revision: int, ttl: int
) -> Held | None:
    """Take the lease, then write the record; ``None`` when somebody was faster at either."""
    nonce, sent = ids.fresh(), asyncio.get_running_loop().time()
    holder = context.holder
    mine = tasks.claimed(record, holder, nonce, revision, ttl)
    tasks.check_claim_fits(task, mine)
    wanted = Lease(owner=holder.agent, session=holder.session, nonce=nonce, ttl=ttl)
    try:
        lease_revision = await leases.write(context, task, wanted, lease_revision)
    except RevisionConflict:
        return None
    stream, subject = context.kv(subjects.TASKS, task)
    try:
        fence = await context.bus.cas(stream, subject, bodies.encode(mine), revision)
    except RevisionConflict:
        await leases.drop(context, task, lease_revision)
        return None
    except TracecraftError:  # nobody will settle this claim, even if the record should have been written
        with contextlib.suppress(TracecraftError, TimeoutError):
            async with asyncio.timeout(1):
                await leases.drop(context, task, lease_revision)
        raise
    return Held(task, mine, fence, lease_revision, ttl, renewed_at=sent)


async def renew(context: Context, held: Held) -> None:
    """Extend the lease by its TTL. Raises `ClaimLost` when it lapsed or was taken."""
    holder = context.holder
    lease = Lease(owner=holder.agent, session=holder.session, nonce=held.nonce, ttl=held.ttl, fence=held.fence)
    while True:
        sent = asyncio.get_running_loop().time()
        try:
            held.lease_revision = await leases.write(context, held.task, lease, held.lease_revision)
        except RevisionConflict:
            now = await leases.read(context, held.task)
            if now.lease is None or now.lease.nonce != held.nonce:
                raise await lost(context, held.task, "the lease lapsed") from None
            held.lease_revision = now.revision  # another process of this session renewed it
        else:
            held.renewed_at = sent
            return


async def lost(context: Context, task: str, detail: str = "") -> ClaimLost:
    """The error that tells a former owner who has the task now."""
    now = await read(context, task)
    if now is None:
        return ClaimLost(task, None, "gone", detail)
    mine = context.holder.holds(now.record)
    owner = None if mine or now.record.state == "open" else now.record.owner
    state = "its lease has lapsed, anyone may claim it" if mine else now.record.state
    if owner == context.agent and now.record.session != context.holder.session:
        detail = detail or "in another session of that agent"
    return ClaimLost(task, owner, state, detail)


async def explained(context: Context, loss: ClaimLost) -> ClaimLost:
    """A loss that the holder declared by itself, with who has the task now, if the bus tells within a second."""
    if loss.state == UNKNOWN:
        with contextlib.suppress(TracecraftError, TimeoutError):
            async with asyncio.timeout(1):
                return await lost(context, loss.task, "the lease could not be renewed in time")
    return loss


async def hold(context: Context, task: str) -> Held:
    """The claim that this agent and session have on a task, for a process that did not make it itself.

    One whose lease has lapsed is still theirs, and a renewal takes the lease again; not so a reservation.
    Raises `NotFound` for an unknown task and `ClaimLost` when the claim is not theirs (any more).
    """
    # The lease first: were it read last, the revision of a thief's tombstone could pass for that of our own lease.
    lease = await leases.read(context, task)
    found = await read(context, task)
    if found is None:
        raise NotFound("task", task, "claim creates it")
    if not context.holder.holds(found.record):
        raise await lost(context, task)
    if lease.lease is not None and lease.lease.nonce != found.record.nonce:
        raise ClaimLost(task, lease.lease.owner, "being claimed right now")  # our lease lapsed, theirs stands
    if lease.lease is None and reservations.is_reservation(task):
        raise ClaimLost(task, None, "its lease has lapsed")  # somebody may have reserved over it: `lapsed.take_again`
    ttl = lease.lease.ttl if lease.lease is not None else found.record.ttl or leases.LIVE_TTL_S
    return Held(task, found.record, found.revision, lease.revision, ttl)


async def settle(
    context: Context, held: Held, state: Settlement, handoff: Handoff, *, force: str | None = None
) -> Task:
    """Write the outcome under the fence, then give the lease back. Raises `ClaimLost`; then nothing was written."""
    record = tasks.settled(held.task, held.record, context.holder, state, handoff, force=force)
    return await _finish(context, held, record)


async def release(context: Context, held: Held, handoff: Handoff | None = None) -> Task:
    """Give the task back, open for anyone. Raises `ClaimLost`."""
    return await _finish(context, held, tasks.released(held.task, held.record, context.holder, handoff))


async def _finish(context: Context, held: Held, record: TaskRecord) -> Task:
    stream, subject = context.kv(subjects.TASKS, held.task)
    try:
        revision = await context.bus.cas(
            stream, subject, bodies.encode(record), held.fence, headers=_ending(context, held.task)
        )
    except RevisionConflict:
        raise await lost(context, held.task) from None
    held.settled = True
    held.waiting.set()
    await _drop_lease(context, held)
    return Task(held.task, record, revision, "")


def _ending(context: Context, task: str) -> dict[str, str]:
    """Who ended it: an open task has no owner to tell it by.

    A reservation that has ended is no task any more: what became of it stands in its deletion, for the log.
    """
    said = {subjects.WRITER: context.agent}
    return {**said, subjects.KV_OPERATION: "DEL"} if reservations.is_reservation(task) else said


async def _drop_lease(context: Context, held: Held) -> None:
    """The task is settled: its lease is in nobody's way, so a failure here costs others only the rest of its TTL."""
    try:
        if await leases.drop(context, held.task, held.lease_revision):
            return
        now = await leases.read(context, held.task)  # another process of this session renewed it
        if now.lease is not None and now.lease.nonce == held.nonce:
            await leases.drop(context, held.task, now.revision)
    except TracecraftError:
        return


async def force(context: Context, task: str, state: Settlement, handoff: Handoff, reason: str) -> Task:
    """Settle a task that somebody else may hold; who did it and why is kept in the record."""
    while True:
        found, lease = await asyncio.gather(read(context, task), leases.read(context, task))
        if found is None:
            raise NotFound("task", task)
        held = Held(task, found.record, found.revision, lease.revision, 0)
        record = tasks.settled(task, found.record, context.holder, state, handoff, force=reason)
        stream, subject = context.kv(subjects.TASKS, task)
        try:
            revision = await context.bus.cas(
                stream, subject, bodies.encode(record), found.revision, headers=_ending(context, task)
            )
        except RevisionConflict:
            continue
        await _drop_lease(context, held)
        return Task(task, record, revision, "")
