"""Presence: who is online, and on what. A record with a TTL an agent, and ``joined``/``left`` events in the log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft import leases
from tracecraft.mail import create_mailbox
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import AgentEvent, Lease, Presence, PresenceMode
from tracecraft_core.errors import Malformed, RevisionConflict

if TYPE_CHECKING:
    from tracecraft.context import Context
    from tracecraft_core.bus import Stored

_STREAM: Final = subjects.kv_stream(subjects.AGENTS)


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as others see it."""

    name: str
    online: bool
    mode: PresenceMode | None
    session: str | None
    host: str | None
    pid: int | None
    tasks: tuple[str, ...]
    """Tasks whose lease it holds."""
    since: str | None
    """When it joined, server time."""
    last_seen: str | None
    """When it was last heard of, server time."""
    last_event: str | None
    """``joined``, ``left`` or ``lost``."""


class Announcer:
    """Says that this agent is here."""

    def __init__(self, context: Context, mode: PresenceMode) -> None:
        self._context = context
        self._mode: PresenceMode = mode
        self._ttl = leases.LIVE_TTL_S if mode == "live" else leases.ONESHOT_TTL_S
        self._joined = False
        self._announced = 0.0

    async def announce(self, tasks: tuple[str, ...] = ()) -> None:
        """Write presence for another TTL; the first time, and after a lapse, also be registered and say ``joined``.

        A ``oneshot`` leaves the presence of a ``live`` process of its name as it is: that one says sooner who is gone.
        """
        now = asyncio.get_running_loop().time()
        if self._mode == "oneshot" or not self._joined or now - self._announced > self._ttl:
            before = await self._register()
            if self._mode == "oneshot" and before is not None and before.mode == "live":
                self._joined = False
                return
            if before is None or before.session != self._context.holder.session:
                await self._say("joined")
            self._joined = True
        record = Presence(
            session=self._context.holder.session,
            mode=self._mode,
            host=socket.gethostname(),
            pid=os.getpid(),
            ttl=self._ttl,
            tasks=list(tasks),
        )
        _, subject = self._context.kv(subjects.AGENTS, self._context.agent)
        await self._context.bus.publish(subject, bodies.encode(record), ttl=self._ttl)
        self._announced = now

    async def _register(self) -> Presence | None:
        """Have a mailbox; who is present under this name."""
        context = self._context
        before, _ = await asyncio.gather(
            context.bus.leader_get(*context.kv(subjects.AGENTS, context.agent)),
            create_mailbox(context, context.agent, registered=True),
        )
        return _presence(before)

    async def leave(self) -> None:
        """Say ``left`` and go offline at once, unless another session has taken the name over."""
        if not self._joined:
            return
        stream, subject = self._context.kv(subjects.AGENTS, self._context.agent)
        now = await self._context.bus.leader_get(stream, subject)
        if now is None or not _same_session(now, self._context.holder.session):
            return
        headers = {subjects.KV_OPERATION: "DEL"}
        with contextlib.suppress(RevisionConflict):
            await self._context.bus.cas(stream, subject, b"", now.seq, headers=headers, ttl=leases.TOMBSTONE_TTL_S)
            await self._say("left")

    async def _say(self, event: str) -> None:
        context = self._context
        body = AgentEvent(session=context.holder.session, mode=self._mode, host=socket.gethostname(), pid=os.getpid())
        await context.bus.publish(subjects.agent_event(context.project, context.agent, event), bodies.encode(body))


def _same_session(stored: Stored | None, session: str) -> bool:
    presence = _presence(stored)
    return presence is not None and presence.session == session


def _presence(stored: Stored | None) -> Presence | None:
    if stored is None or stored.deleted:
        return None
    with contextlib.suppress(Malformed):
        return bodies.decode(Presence, stored.data, stored.subject)
    return None


async def agents(context: Context, *, all_: bool = False) -> list[Agent]:
    """The agents that are online, by name; with ``all_`` also those that the log remembers."""
    present, held, events = await asyncio.gather(
        context.bus.last_values(*context.kv(subjects.AGENTS, "*")),  # a key of two tokens is a writer of a run
        context.bus.last_values(*context.kv(subjects.LEASES, ">")),
        _events(context),
    )
    online = {context.key(subjects.AGENTS, stored.subject): stored for stored in present}
    holders = _holders(context, held)
    names = sorted(online.keys() | (events.keys() if all_ else set()))
    return [_agent(name, online.get(name), events.get(name, {}), holders.get(name, ())) for name in names]


async def _events(context: Context) -> dict[str, dict[str, Stored]]:
    """The newest event of each kind, by agent; ``lost`` events of single tasks are not about the agent."""
    found = await context.bus.last_values(subjects.LOG, subjects.agent_event(context.project, "*", "*"))
    events: dict[str, dict[str, Stored]] = {}
    for stored in found:
        _, _, _, agent, event = stored.subject.split(".")
        if event != "lost" or _lost_itself(stored):
            events.setdefault(agent, {})[event] = stored
    return events


def _lost_itself(stored: Stored) -> bool:
    with contextlib.suppress(Malformed):
        return bodies.decode(AgentEvent, stored.data, stored.subject).task is None
    return False


def _holders(context: Context, held: list[Stored]) -> dict[str, tuple[str, ...]]:
    holders: dict[str, tuple[str, ...]] = {}
    for stored in held:
        with contextlib.suppress(Malformed):
            owner = bodies.decode(Lease, stored.data, stored.subject).owner
            holders[owner] = (*holders.get(owner, ()), context.key(subjects.LEASES, stored.subject))
    return holders


def _agent(name: str, stored: Stored | None, events: dict[str, Stored], tasks: tuple[str, ...]) -> Agent:
    presence = _presence(stored)
    newest = max(events.values(), key=lambda event: event.seq, default=None)
    return Agent(
        name=name,
        online=presence is not None,
        mode=presence.mode if presence else None,
        session=presence.session if presence else None,
        host=presence.host if presence else None,
        pid=presence.pid if presence else None,
        tasks=tasks,
        since=events["joined"].time if "joined" in events else None,
        last_seen=stored.time if stored is not None and presence else (newest.time if newest else None),
        last_event=newest.subject.rpartition(".")[2] if newest else None,
    )
