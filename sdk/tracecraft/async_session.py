"""`AsyncSession`: one agent in one project, for asyncio. Everything else in the SDK is reached from here."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Unpack

from tracecraft import leases
from tracecraft.context import Context
from tracecraft_core import ids, names, settings
from tracecraft_core.bus import PATIENCE_S, Bus
from tracecraft_core.errors import SESSION_CLOSED, TaskHeld, TaskNotReady, UsageError
from tracecraft_core.tasks import Holder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tracecraft.claim import AsyncClaim
    from tracecraft.claims import Held
    from tracecraft.keeper import Keeper
    from tracecraft.mail import AsyncMail, InboxMessage, Sent
    from tracecraft.memory import AsyncMemory
    from tracecraft.past_runs import AsyncRuns
    from tracecraft.presence import Agent, Announcer
    from tracecraft.recording.agent import CoroutineSession
    from tracecraft.recording.run import AsyncRun, RunOptions
    from tracecraft.reservations import AsyncReservations
    from tracecraft.shared_board import SharedBoard
    from tracecraft.tasklist import AsyncTasks
    from tracecraft.waiting import WaitResult
    from tracecraft_core.bodies import PresenceMode
    from tracecraft_core.settings import Settings


LEAVE_S: Final = 2.0
"""Seconds that saying goodbye may take; without it the agent's presence ends by itself."""


class AsyncSession:
    """One agent's connection to a project: ``async with AsyncSession(project=…, agent=…) as session``.

    What is not given comes from the environment, ``.tracecraft.toml``, the user's config, the stack that runs here or a
    NATS context, in this order (`tracecraft_core.settings`). While the session is open the agent is online and its
    claims are renewed. A session that is never closed loses nothing that was acknowledged: its claims lapse, its
    presence ends, its unread mail waits.
    """

    def __init__(
        self,
        *,
        project: str | None = None,
        agent: str | None = None,
        server: str | None = None,
        session: str | None = None,
        resolved: Settings | None = None,
        mode: PresenceMode = "live",
        patience: float = PATIENCE_S,
    ) -> None:
        """Resolve the settings; nothing is connected yet.

        ``session`` names this process's session (default: a fresh one; two processes with the same name share their
        claims). ``patience`` is how many seconds a verb goes on trying while the bus is away. Raises `UsageError`.
        """
        flags = {"project": project, "agent": agent, "server": server, "session": session}
        self.settings = resolved or settings.load(flags)
        self._mode: PresenceMode = mode
        options = self.settings.server_options()
        self._bus = Bus(options, name=f"tracecraft {self.settings.project}/{self.settings.agent}", patience=patience)
        self._bus.on_missing_stream = _create_streams
        holder = Holder(self.settings.agent, self.settings.session or ids.fresh())
        self.context = Context(self._bus, self.settings.project, holder)
        self._closed = False

    # The parts are imported when they are first used: a one-shot command pays for what it does (decision 0006).

    @cached_property
    def memory(self) -> AsyncMemory:
        """The shared memory of the project."""
        from tracecraft.memory import AsyncMemory

        return AsyncMemory(self.context)

    @cached_property
    def mail(self) -> AsyncMail:
        """Messages, beyond the verbs of the session itself."""
        from tracecraft.mail import AsyncMail

        return AsyncMail(self.context)

    @cached_property
    def tasks(self) -> AsyncTasks:
        """The list of tasks."""
        from tracecraft.tasklist import AsyncTasks

        return AsyncTasks(self.context)

    @cached_property
    def reservations(self) -> AsyncReservations:
        """The files that agents hold."""
        from tracecraft.reservations import AsyncReservations

        return AsyncReservations(self.context, lambda: self._keeper, lambda: self._board)

    @cached_property
    def runs(self) -> AsyncRuns:
        """The runs that the bridge knows, past and present."""
        from tracecraft.past_runs import AsyncRuns

        return AsyncRuns(self.context)

    @cached_property
    def announcer(self) -> Announcer:
        """Says that this agent is here."""
        from tracecraft.presence import Announcer

        return Announcer(self.context, self._mode)

    @cached_property
    def _keeper(self) -> Keeper:
        from tracecraft.keeper import Keeper

        return Keeper(self.context, self.announcer)

    @cached_property
    def _board(self) -> SharedBoard:
        from tracecraft.shared_board import SharedBoard

        return SharedBoard(self.context)

    async def open(self) -> AsyncSession:
        """Connect, and be online from now on; a closed session is opened again. Raises `BusUnreachable`."""
        await self._bus.connect()
        self._closed = False
        if self._mode == "live":
            try:
                await self.announcer.announce()
            except BaseException:
                await self._bus.close()
                raise
            self._keeper.start()
        return self

    async def close(self) -> None:
        """Go offline and disconnect; claims that are still held lapse by themselves.

        Afterwards every verb raises `UsageError`, also one that is under way in another task, until `open` is called.
        """
        if self._closed:
            return
        self._closed = True
        if "_keeper" in vars(self):
            await self._keeper.stop()
        if "_board" in vars(self):
            await self._board.close()
        if self._mode == "live" and self._bus.transport.connected.is_set():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(LEAVE_S):
                    await self.announcer.leave()
        await self._bus.close()
        for part in ("announcer", "_keeper", "_board"):  # they have ended; `open` begins with new ones
            vars(self).pop(part, None)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(SESSION_CLOSED)

    async def __aenter__(self) -> AsyncSession:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def project(self) -> str:
        """The project."""
        return self.context.project

    @property
    def agent(self) -> str:
        """This agent's name."""
        return self.context.agent

    # -- messages -----------------------------------------------------------------------------------------------

    async def send(
        self,
        to: str,
        text: str,
        *,
        kind: str = "note",
        thread: str | None = None,
        reply_to: int | None = None,
        data: Any = None,
        wait_ack: float | None = None,
    ) -> Sent:
        """Send a message to an agent, online or not; ``wait_ack`` seconds wait until it is acknowledged.

        Raises `InvalidName`, `BodyTooLarge` (256 KiB), `WaitTimeout`, `LogFull`, `OutcomeUnknown`.
        """
        return await self.mail.send(to, text, kind=kind, thread=thread, reply_to=reply_to, data=data, wait_ack=wait_ack)

    async def broadcast(
        self, text: str, *, kind: str = "note", thread: str | None = None, reply_to: int | None = None, data: Any = None
    ) -> Sent:
        """Send a message to every other agent that is registered."""
        return await self.mail.broadcast(text, kind=kind, thread=thread, reply_to=reply_to, data=data)

    async def inbox(self, *, limit: int = 100, sender: str | None = None) -> list[InboxMessage]:
        """Fetch unread messages, oldest first; pass each to `ack` when it is taken care of, or it comes again."""
        return await self.mail.inbox(limit=limit, sender=sender)

    async def ack(self, message: InboxMessage) -> bool:
        """Acknowledge a fetched message; its sender gets a receipt. ``False``: the server may not have heard it."""
        self._check_open()
        return await self.mail.ack(message)

    async def messages(self) -> AsyncGenerator[InboxMessage]:
        """Messages as they arrive, for ever; each is acknowledged when the loop asks for the next one."""
        async with contextlib.aclosing(self.mail.messages()) as arriving:
            async for message in arriving:
                yield message

    # -- claims -------------------------------------------------------------------------------------------------

    def claim(self, task: str, *, lease: float = leases.LIVE_TTL_S, wait: float | None = None) -> AsyncClaim:
        """Claim a task for an ``async with`` block; an unknown task is created.

        ``lease`` is in seconds (renewed at a third of it while the block runs); ``wait`` is how many seconds to wait
        while somebody else has it or a dependency is missing. Entering raises `TaskHeld`, `TaskSettled`,
        `TaskNotReady`, `WaitTimeout`; leaving raises `ClaimLost` when the claim was taken away.
        """
        from tracecraft import claims
        from tracecraft.claim import AsyncClaim

        self._check_open()
        names.task(task)
        ttl = leases.check_ttl(lease)

        async def take() -> Held:
            try:
                return await claims.claim(self.context, task, ttl)
            except (TaskHeld, TaskNotReady):
                if not wait:
                    raise
                from tracecraft import waiting

                return await waiting.claim_when_free(self.context, task, ttl, wait, self._board)

        return AsyncClaim(self.context, self._keeper, take)

    def claim_next(
        self, pattern: str = ">", *, lease: float = leases.LIVE_TTL_S, wait: float | None = None
    ) -> AsyncClaim:
        """Claim the first task of a pattern that can be claimed, for an ``async with`` block.

        Entering raises `NothingLeft` when nothing that matches is left to do, `Refused` when all that is left is
        held or waits for others, `WaitTimeout`.
        """
        from tracecraft import waiting
        from tracecraft.claim import AsyncClaim

        self._check_open()
        names.pattern(pattern)
        ttl = leases.check_ttl(lease)

        async def take() -> Held:
            return await waiting.claim_next(self.context, pattern, ttl, wait, self._board)

        return AsyncClaim(self.context, self._keeper, take)

    async def wait_for(
        self,
        *tasks: str,
        any_: bool = False,
        timeout: float | None = None,
        fail_on_lost: bool = False,
        or_message: bool = False,
    ) -> WaitResult:
        """Wait until tasks are done (with ``any_`` one of them, with ``or_message`` or mail arrives).

        Raises `TaskFailed`, `OwnerLost` (only with ``fail_on_lost``), `WaitTimeout` after ``timeout`` seconds.
        """
        from tracecraft import waiting

        for task in tasks:
            names.pattern(task)
        return await waiting.wait_for(
            self.context,
            tasks,
            any_=any_,
            timeout=timeout,
            fail_on_lost=fail_on_lost,
            mail=self.mail.wait if or_message else None,
        )

    async def agents(self, *, all_: bool = False) -> list[Agent]:
        """Who is online; with ``all_`` also who was."""
        from tracecraft import presence

        return await presence.agents(self.context, all_=all_)

    # -- runs ---------------------------------------------------------------------------------------------------

    def run(self, name: str | None = None, **options: Unpack[RunOptions]) -> AsyncRun:
        """Track a run, for an ``async with`` block; see `tracecraft.run`."""
        from tracecraft.recording import run

        return run.make_async(self.settings, self._agent_session, name, **options)

    def _agent_session(self, agent: str, run: str) -> tuple[CoroutineSession, bool]:
        return (self, False) if agent == self.agent else (agent_session(self.settings, agent, run), True)


def agent_session(chosen: Settings, agent: str, run: str) -> AsyncSession:
    """The session of an agent of a run; it connects at its first verb."""
    from tracecraft_core.opening import Opening

    session = AsyncSession(resolved=replace(chosen, agent=agent))
    session.context.bus.run = run
    session.context.bus.opening = Opening(session.open)
    return session


async def _create_streams(bus: Bus) -> None:
    from tracecraft_core import topology

    await topology.ensure(bus)
