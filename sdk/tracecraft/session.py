"""`Session`: the blocking face of `AsyncSession`, thin, over one background loop.

Every method does what its namesake of the async pair does; a test compares their signatures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from tracecraft import async_session, leases
from tracecraft.async_session import AsyncSession
from tracecraft.blocking import Claim, Mail, Memory, Tasks
from tracecraft.blocking_reservations import Reservations
from tracecraft.blocking_runs import Runs
from tracecraft.loop import background
from tracecraft.portal import Portal
from tracecraft_core import settings
from tracecraft_core.bus import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracecraft.mail import InboxMessage, Sent
    from tracecraft.presence import Agent
    from tracecraft.recording.agent import BlockingSession, CoroutineSession
    from tracecraft.recording.run import Run, RunOptions
    from tracecraft.waiting import WaitResult
    from tracecraft_core.bodies import PresenceMode
    from tracecraft_core.run_events import Purpose
    from tracecraft_core.settings import Settings

__all__ = ["Claim", "Mail", "Memory", "Session", "Tasks", "connect", "init", "run"]


class Session:
    """One agent's connection to a project, for ordinary blocking code; connects at its first verb.

    Safe to use from several threads. Not usable in a forked child: open another session there.
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
        """Resolve the settings; nothing is connected yet; see `AsyncSession`. Raises `UsageError`."""
        self._loop = background()
        flags = {"project": project, "agent": agent, "server": server, "session": session}
        chosen = resolved or settings.load(flags)
        self._inner = self._loop.call(lambda: AsyncSession(resolved=chosen, mode=mode, patience=patience))
        self._portal = Portal(self._loop, self._inner.open)
        self.settings = self._inner.settings
        self.memory = Memory(self._portal, self._inner.memory)
        self.mail = Mail(self._portal, self._inner.mail)
        self.tasks = Tasks(self._portal, self._inner.tasks)
        self.reservations = Reservations(self._portal, self._inner.reservations)
        self.runs = Runs(self._portal, self._inner.runs)

    def open(self) -> Session:
        """Connect now, and be online from now on; a closed session is opened again. Raises `BusUnreachable`."""
        self._portal.open()
        return self

    def close(self) -> None:
        """Go offline and disconnect; claims that are still held lapse by themselves.

        Afterwards every verb raises `UsageError`, until `open` is called.
        """
        self._portal.close(self._inner.close())

    def __enter__(self) -> Session:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def project(self) -> str:
        """The project."""
        return self._inner.project

    @property
    def agent(self) -> str:
        """This agent's name."""
        return self._inner.agent

    def send(
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
        """Send a message to an agent, online or not; see `AsyncSession.send`."""
        return self._portal.run(
            self._inner.send(to, text, kind=kind, thread=thread, reply_to=reply_to, data=data, wait_ack=wait_ack)
        )

    def broadcast(
        self, text: str, *, kind: str = "note", thread: str | None = None, reply_to: int | None = None, data: Any = None
    ) -> Sent:
        """Send a message to every other agent that is registered."""
        return self._portal.run(self._inner.broadcast(text, kind=kind, thread=thread, reply_to=reply_to, data=data))

    def inbox(self, *, limit: int = 100, sender: str | None = None) -> list[InboxMessage]:
        """Fetch unread messages; pass each to `ack` when it is taken care of, or it comes again."""
        return self._portal.run(self._inner.inbox(limit=limit, sender=sender))

    def ack(self, message: InboxMessage) -> bool:
        """Acknowledge a fetched message; its sender gets a receipt."""
        return self._portal.run(self._inner.ack(message))

    def messages(self) -> Iterator[InboxMessage]:
        """Messages as they arrive, for ever; each is acknowledged when the loop asks for the next one."""
        return self._portal.iterate(self._inner.messages())

    def claim(self, task: str, *, lease: float = leases.LIVE_TTL_S, wait: float | None = None) -> Claim:
        """Claim a task for a ``with`` block; see `AsyncSession.claim`."""
        return Claim(self._portal, self._loop.call(lambda: self._inner.claim(task, lease=lease, wait=wait)))

    def claim_next(self, pattern: str = ">", *, lease: float = leases.LIVE_TTL_S, wait: float | None = None) -> Claim:
        """Claim the first task of a pattern that can be claimed, for a ``with`` block."""
        return Claim(self._portal, self._loop.call(lambda: self._inner.claim_next(pattern, lease=lease, wait=wait)))

    def wait_for(
        self,
        *tasks: str,
        any_: bool = False,
        timeout: float | None = None,
        fail_on_lost: bool = False,
        or_message: bool = False,
    ) -> WaitResult:
        """Wait until tasks are done; see `AsyncSession.wait_for`."""
        return self._portal.run(
            self._inner.wait_for(*tasks, any_=any_, timeout=timeout, fail_on_lost=fail_on_lost, or_message=or_message)
        )

    def agents(self, *, all_: bool = False) -> list[Agent]:
        """Who is online; with ``all_`` also who was."""
        return self._portal.run(self._inner.agents(all_=all_))

    # -- runs ---------------------------------------------------------------------------------------------------

    def run(self, name: str | None = None, **options: Unpack[RunOptions]) -> Run:
        """Track a run, for a ``with`` block; see `tracecraft.run`."""
        from tracecraft.recording import run

        return run.make(self.settings, self._agent_session, self._agent_coroutines, name, **options)

    def _agent_session(self, agent: str, run: str) -> tuple[BlockingSession, bool]:
        return (self, False) if agent == self.agent else _agent_session(self.settings, agent, run)

    def _agent_coroutines(self, agent: str, run: str) -> tuple[CoroutineSession, bool]:
        return async_session.agent_session(self.settings, agent, run), True


def coroutines_of(session: Session) -> AsyncSession:
    """The session that does a blocking one's work; it lives on the background loop."""
    return session._inner


def settings_of(session: Session | None = None) -> Settings:
    """The settings of a session, or else those of `init`, or else those of the environment. Raises `UsageError`."""
    chosen = session or _default
    return chosen.settings if chosen is not None else settings.load({})


def _agent_session(chosen: Settings, agent: str, run: str) -> tuple[BlockingSession, bool]:
    """A session of an agent of a run."""
    session = Session(resolved=replace(chosen, agent=agent))
    session._inner.context.bus.run = run
    return session, True


_defaults: dict[str, str | None] = {}
_default: Session | None = None


def init(
    *,
    project: str | None = None,
    agent: str | None = None,
    server: str | None = None,
    session: str | None = None,
) -> Session:
    """Set this process's defaults and return a session with them, which connects at its first verb.

    Runs and sessions that are opened later use the same settings where they are not told otherwise. Raises
    `UsageError`.
    """
    global _default
    flags = {"project": project, "agent": agent, "server": server, "session": session}
    opened = Session(project=project, agent=agent, server=server, session=session)
    _defaults.clear()
    _defaults.update(flags)
    _default = opened
    return opened


def connect(
    *,
    project: str | None = None,
    agent: str | None = None,
    server: str | None = None,
    session: str | None = None,
) -> Session:
    """Open a session now, with the settings of `init` where none are given. Raises `BusUnreachable`, `UsageError`."""
    return Session(
        project=project if project is not None else _defaults.get("project"),
        agent=agent if agent is not None else _defaults.get("agent"),
        server=server if server is not None else _defaults.get("server"),
        session=session if session is not None else _defaults.get("session"),
    ).open()


def run(
    name: str | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, object] | None = None,
    parent: str | Run | None = None,
    run_id: str | None = None,
    new_id: str | None = None,
    purpose: Purpose = "original",
    forked_from: str | None = None,
    forked_at: int | None = None,
    traceparent: str | None = None,
    system_metrics: bool | float = False,
    patience: float = 10.0,
) -> Run:
    """Track a run: ``with tracecraft.run("baseline", params={"lr": 1e-3}) as run``, or ``async with``.

    Works with the settings of `init`, or else those of the environment; with no bus too, then the run lies in the spool
    until there is one. ``run_id`` joins a run that another process has started; so does the first run of a process with
    ``TRACECRAFT_RUN`` in its environment. ``new_id`` is the id of a run that this process starts, for one who must know
    it again (default: a made one). ``parent`` is the run inside of which it is (default: the one around the
    call). ``traceparent`` is the place in a trace of W3C trace context (default: ``TRACEPARENT``). ``purpose`` says
    that a run is a ``fork`` of ``forked_from`` at the log's sequence ``forked_at``, a ``replay`` or an ``eval``.
    ``system_metrics`` samples CPU and memory every 10 s, or as many seconds as it says. ``patience`` is how many
    seconds the end waits until the log has everything. Raises `UsageError`.
    """
    from tracecraft.recording import run as runs

    chosen = settings_of()
    if _default is not None:
        blocking = _default._agent_session
    else:

        def blocking(agent: str, run: str) -> tuple[BlockingSession, bool]:
            return _agent_session(chosen, agent, run)

    return runs.make(
        chosen,
        blocking,
        lambda agent, run: (async_session.agent_session(chosen, agent, run), True),
        name,
        params=params,
        tags=tags,
        parent=parent,
        run_id=run_id,
        new_id=new_id,
        purpose=purpose,
        forked_from=forked_from,
        forked_at=forked_at,
        traceparent=traceparent,
        system_metrics=system_metrics,
        patience=patience,
    )
