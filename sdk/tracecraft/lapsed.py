"""Reservations whose lease lapsed: had again by the same rule as anew, or cleared away.

A task whose lease lapsed is its owner's until somebody else claims that very task, so its owner may just take the lease
again. Not so a reservation: meanwhile somebody may have reserved another glob that overlaps, which leaves no trace in
the record of this one. So whoever comes back (a laptop that slept, a process that was stopped, an agent whose commands
lie far apart) claims first and then looks, as everybody does, and what it does not get again is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from tracecraft import claims, leases, reserving
from tracecraft_core import bodies, reservations, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.errors import ClaimLost, FileReserved, Malformed, NotFound, RevisionConflict
from tracecraft_core.quotation import oneline

if TYPE_CHECKING:
    from tracecraft.claims import Held
    from tracecraft.context import Context
    from tracecraft_core.bus import Stored


async def renew(context: Context, task: str, ttl: int | None = None) -> Held:
    """Extend the lease of what another process of this agent and session claimed or reserved; if it has lapsed, take
    it again, if nobody is in the way.

    ``ttl`` is the lease from now on in seconds; ``None``: as it was. Raises `ClaimLost` and `NotFound`.
    """
    try:
        held = await claims.hold(context, task)
        held.ttl = ttl or held.ttl
        await claims.renew(context, held)
    except (ClaimLost, NotFound):
        if not reservations.is_reservation(task):
            raise
        return await take_again(context, task, ttl)
    return held


async def take_again(context: Context, task: str, ttl: int | None = None) -> Held:
    """Reserve once more what this agent and session had reserved, also when its record has been cleared away.

    Raises `NotFound` when they gave it back, and `ClaimLost` when somebody else has reserved that glob or one that
    overlaps, or has ended it. Then it is given up: nothing will take it again.
    """
    stored = await context.bus.leader_get(*context.kv(subjects.TASKS, task))
    if stored is None or not stored.data:
        raise ClaimLost(task, None, "gone")
    if stored.deleted and stored.headers.get(subjects.WRITER) == context.agent:
        raise NotFound("task", task, f"{context.agent} has released it")
    record = bodies.decode(TaskRecord, stored.data, stored.subject)
    own = reservations.reservation(task, record, stored.seq, stored.time)
    if own is None or not (_cleared(stored, record) or context.holder.holds(record)):
        raise ClaimLost(task, record.owner, record.state)
    lease = ttl or record.ttl or leases.ONESHOT_TTL_S
    try:
        [held] = await reserving.take_new(context, [own.glob], lease, await reserving.everything(context))
    except FileReserved as refusal:
        if not stored.deleted:
            await _clear(context, stored, record)
        raise ClaimLost(task, refusal.owner, f"as {oneline(refusal.glob, 80)}", "the lease had lapsed") from None
    return held


def _cleared(stored: Stored, record: TaskRecord) -> bool:
    """Whether it has ended without anybody's decision against it: swept away, or released by who had it after us."""
    return stored.deleted and record.state == "open"


async def sweep(context: Context) -> int:
    """Delete the records of reservations whose lease lapsed a minute ago or earlier; how many there were.

    Nothing depends on it: they are in nobody's way, but would be listed for ever. By then the bridge has told the loss.
    """
    stream, subject = context.kv(subjects.TASKS, reservations.ALL)
    leased, records = await asyncio.gather(reserving.leased(context), context.bus.last_values(stream, subject))
    lapsed = [one for one in records if context.key(subjects.TASKS, one.subject) not in leased]
    return sum(await asyncio.gather(*(_sweep(context, one) for one in lapsed)))


async def _sweep(context: Context, stored: Stored) -> int:
    with contextlib.suppress(Malformed):
        return await _clear(context, stored, bodies.decode(TaskRecord, stored.data, stored.subject))
    return 0


async def _clear(context: Context, stored: Stored, record: TaskRecord) -> int:
    ended = bodies.encode(msgspec.structs.replace(record, state="open", nonce=None, ttl=None))
    headers = {subjects.KV_OPERATION: "DEL"}
    with contextlib.suppress(RevisionConflict):
        await context.bus.cas(subjects.kv_stream(subjects.TASKS), stored.subject, ended, stored.seq, headers=headers)
        return 1
    return 0
