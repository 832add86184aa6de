"""Leases: who is alive. One message a task, deleted by the server when its TTL lapses.

The server is the only clock. Taking, renewing and giving back are compare-and-set writes on the lease's sequence, so
of two agents that reach for a lapsed lease one wins, and a renewal that comes too late is refused.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Lease
from tracecraft_core.errors import Malformed, RevisionConflict, UsageError

if TYPE_CHECKING:
    from tracecraft.context import Context
    from tracecraft_core.bus import Stored

LIVE_TTL_S: Final = 30
"""Seconds of a lease, and of presence, that a process renews every third of it: survives an election of 4 to 9 s."""

ONESHOT_TTL_S: Final = 15 * 60
"""Seconds of a lease, and of presence, that only the agent's next command renews: a model's turn may take that long."""

MAX_TTL_S: Final = 24 * 60 * 60
TOMBSTONE_TTL_S: Final = 60


@dataclass(frozen=True, slots=True)
class LeaseState:
    """What stands under a task's lease key."""

    revision: int
    """Sequence to compare with in the next write; 0 when there is nothing."""
    lease: Lease | None
    """``None`` when nobody is alive there."""
    since: str = ""
    """When this was written, server time."""

    @property
    def expires_in(self) -> float | None:
        """Seconds until it lapses unless renewed, by this machine's clock: for people only, nothing decides by it."""
        if self.lease is None:
            return None
        written = datetime.fromisoformat(self.since).timestamp() if self.since else time.time()
        return min(max(self.lease.ttl - (time.time() - written), 0.0), float(self.lease.ttl))


def check_ttl(seconds: float) -> int:
    """A lease's length in whole seconds. Raises `UsageError` outside 1 second to 1 day."""
    if not 1 <= seconds <= MAX_TTL_S:
        raise UsageError(f"a lease of {seconds:g} s: it must last from 1 second to 24 hours, for example 15m")
    return int(-(-seconds // 1))


def state_of(stored: Stored | None) -> LeaseState:
    """Interpret what the bucket holds; a lease that cannot be read counts as held until it lapses."""
    if stored is None:
        return LeaseState(0, None)
    if stored.deleted or not stored.data:
        return LeaseState(stored.seq, None, stored.time)
    try:
        lease = bodies.decode(Lease, stored.data, stored.subject)
    except Malformed:
        lease = Lease(owner="an unknown writer", session="?", nonce="?", ttl=0)
    return LeaseState(stored.seq, lease, stored.time)


async def read(context: Context, task: str) -> LeaseState:
    """The lease of a task, read from the leader."""
    return state_of(await context.bus.leader_get(*context.kv(subjects.LEASES, task)))


async def write(context: Context, task: str, lease: Lease, expected: int) -> int:
    """Take or renew: write if the key is at ``expected``; returns the new revision or raises `RevisionConflict`."""
    stream, subject = context.kv(subjects.LEASES, task)
    return await context.bus.cas(stream, subject, bodies.encode(lease), expected, ttl=lease.ttl)


async def drop(context: Context, task: str, expected: int) -> bool:
    """Give a lease back at once; ``False``, and nothing is done, when it is no longer at ``expected``."""
    stream, subject = context.kv(subjects.LEASES, task)
    headers = {subjects.KV_OPERATION: "DEL"}
    try:
        await context.bus.cas(stream, subject, b"", expected, headers=headers, ttl=TOMBSTONE_TTL_S)
    except RevisionConflict:
        return False
    return True
