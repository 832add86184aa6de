"""Which name the agent gets: the one that was wished for, or with a number when another session has that one.

A command in a shell leaves its name present for a quarter of an hour (``oneshot``); unless that name holds a claim,
nobody is there any more, and a session that begins may have it.

Two sessions that begin at once must not both find the name free: it is taken by compare-and-set, with a presence that
lasts only until the session's own comes.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from tracecraft_core import bodies, names, subjects
from tracecraft_core.bodies import Lease, Presence
from tracecraft_core.errors import Malformed, RevisionConflict, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft.context import Context
    from tracecraft_core.bus import Stored

COMING_S: Final = 15
"""Seconds for which a name is kept for a session that is about to announce itself."""

MOST: Final = 1_000
"""Numbers that are tried."""


async def take_name(context: Context, wish: str, session: str, earlier: str = "") -> str:
    """The first name that no other session has; ``earlier``, the name that this session had before, comes first.

    Raises `UsageError` when there is none.
    """
    for candidate in [*([earlier] if earlier else []), *candidates(wish)]:
        if await _take(context, candidate, session):
            return candidate
    raise UsageError(f"{MOST} agents called {wish} are online: name this one with TRACECRAFT_AGENT")


def candidates(wish: str) -> Iterator[str]:
    """``writer``, ``writer-2``, ``writer-3`` and so on."""
    yield wish
    for number in range(2, MOST + 1):
        end = f"-{number}"
        yield wish[: names.MAX_TOKEN - len(end)] + end


async def _take(context: Context, candidate: str, session: str) -> bool:
    stream, subject = context.kv(subjects.AGENTS, candidate)
    while True:
        found = await context.bus.leader_get(stream, subject)
        there = _presence(found)
        if there is not None and there.session == session:
            return True
        if there is not None and (there.mode != "oneshot" or await _holds_anything(context, candidate)):
            return False
        coming = Presence(
            session=f"{session}:coming", mode="live", host=socket.gethostname(), pid=os.getpid(), ttl=COMING_S
        )
        with contextlib.suppress(RevisionConflict):
            expected = found.seq if found is not None else 0
            await context.bus.cas(stream, subject, bodies.encode(coming), expected, ttl=COMING_S)
            return True


async def _holds_anything(context: Context, agent: str) -> bool:
    """Whether a lease is in this name; one that cannot be read may be."""
    for stored in await context.bus.last_values(*context.kv(subjects.LEASES, ">")):
        try:
            if bodies.decode(Lease, stored.data, stored.subject).owner == agent:
                return True
        except Malformed:
            return True
    return False


def _presence(stored: Stored | None) -> Presence | None:
    """Who has the name; a presence that cannot be read is somebody's who lives."""
    if stored is None or stored.deleted or not stored.data:
        return None
    try:
        return bodies.decode(Presence, stored.data, stored.subject)
    except Malformed:
        return Presence(session="?", mode="live", host="?", pid=0, ttl=COMING_S)
