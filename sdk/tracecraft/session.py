"""`Session`: the blocking face of `AsyncSession`, thin, over one background loop.

Every method does what its namesake of the async pair does; a test compares their signatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracecraft import leases
from tracecraft.async_session import AsyncSession
from tracecraft.loop import background
from tracecraft.portal import Portal
from tracecraft_core import settings
from tracecraft_core.bus import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from tracecraft.claim import AsyncClaim
    from tracecraft.claims import Task
    from tracecraft.mail import AsyncMail, InboxMessage, Sent, SentMessage
    from tracecraft.memory import AsyncMemory, Entry
    from tracecraft.presence import Agent
    from tracecraft.tasklist import Applied, AsyncTasks
    from tracecraft.waiting import WaitResult
    from tracecraft_core.bodies import PresenceMode, ReceiptState, Settlement, TaskRecord
    from tracecraft_core.plans import PlannedTask
    from tracecraft_core.settings import Settings


class Memory:
    """The shared memory of a project; see `AsyncMemory`."""

    def __init__(self, portal: Portal, inner: AsyncMemory) -> None:
        self._portal, self._inner = portal, inner

    def set(
        self,
        key: str,
        value: Any,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        fence: tuple[str, int] | None = None,
    ) -> int:
        """Write a value and return its revision; see `AsyncMemory.set`."""
        return self._portal.run(self._inner.set(key, value, if_revision=if_revision, if_absent=if_absent, fence=fence))

    def get(self, key: str, default: Any = None, *, revision: int | None = None) -> Any:
        """The value of a key, or ``default``."""
        return self._portal.run(self._inner.get(key, default, revision=revision))

    def entry(self, key: str, *, revision: int | None = None) -> Entry | None:
        """The newest revision of a key, or the given one."""
        return self._portal.run(self._inner.entry(key, revision=revision))

    def delete(self, key: str, *, if_revision: int | None = None) -> int:
        """Delete a key and return the revision of the deletion."""
        return self._portal.run(self._inner.delete(key, if_revision=if_revision))

    def history(self, key: str, *, limit: int = 20) -> list[Entry]:
        """The newest revisions of a key, oldest first."""
        return self._portal.run(self._inner.history(key, limit=limit))

    def watch(self, pattern: str, *, initial: bool = False) -> Iterator[Entry]:
        """Every change of the keys that match, as it happens."""
        return self._portal.iterate(self._inner.watch(pattern, initial=initial))

    def update(self, key: str, change: Callable[[Any], Any], *, default: Any = None) -> Entry:
        """Replace a value by ``change(value)``, losing no update of others."""
        return self._portal.run(self._inner.update(key, change, default=default))

    def set_if_better(self, key: str, value: Any, *, by: str = "", lower: bool = False) -> Entry | None:
        """Write a value unless the one that is there is as good or better; see `AsyncMemory.set_if_better`."""
        return self._portal.run(self._inner.set_if_better(key, value, by=by, lower=lower))

    def incr(self, key: str, by: int | float = 1) -> int | float:
        """Add to a number and return the sum."""
        return self._portal.run(self._inner.incr(key, by))

    def merge(self, key: str, patch: Any) -> Any:
        """Apply a JSON merge patch (RFC 7396) and return the merged value."""
        return self._portal.run(self._inner.merge(key, patch))

    def list(self, prefix: str = "") -> list[Entry]:
        """All keys that begin with ``prefix`` and have a value."""
        return self._portal.run(self._inner.list(prefix))


class Mail:
    """Messages; see `AsyncMail`."""

    def __init__(self, portal: Portal, inner: AsyncMail) -> None:
        self._portal, self._inner = portal, inner

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
        """Store a message for an agent; see `AsyncMail.send`."""
        return self._portal.run(
            self._inner.send(to, text, kind=kind, thread=thread, reply_to=reply_to, data=data, wait_ack=wait_ack)
        )

    def broadcast(
        self, text: str, *, kind: str = "note", thread: str | None = None, reply_to: int | None = None, data: Any = None
    ) -> Sent:
        """Store a message for every agent that is registered now, except oneself."""
        return self._portal.run(self._inner.broadcast(text, kind=kind, thread=thread, reply_to=reply_to, data=data))

    def inbox(self, *, limit: int = 100, sender: str | None = None) -> list[InboxMessage]:
        """Fetch unread messages; pass each to `ack` when it is taken care of, or it comes again."""
        return self._portal.run(self._inner.inbox(limit=limit, sender=sender))

    def messages(self) -> Iterator[InboxMessage]:
        """Messages as they arrive, for ever; each is acknowledged when the loop asks for the next one."""
        return self._portal.iterate(self._inner.messages())

    def acked(self, id_: int, reader: str, seconds: float) -> None:
        """Wait up to ``seconds`` until ``reader`` has acknowledged a message of ours. Raises `WaitTimeout`."""
        self._portal.run(self._inner.acked(id_, reader, seconds))

    def wait(self) -> None:
        """Return as soon as there is a message to read; takes nothing."""
        self._portal.run(self._inner.wait())

    def ack(self, message: InboxMessage) -> bool:
        """Acknowledge a fetched message and tell its sender."""
        return self._portal.run(self._inner.ack(message))

    def unread(self, message: InboxMessage, *, shown: bool = False) -> None:
        """Put a fetched message back at once; with ``shown`` its sender learns that it was seen."""
        self._portal.run(self._inner.unread(message, shown=shown))

    def tell(self, message: InboxMessage, state: ReceiptState) -> None:
        """Write a receipt to the sender of a message."""
        self._portal.run(self._inner.tell(message, state))

    def show(self, id_: int) -> InboxMessage:
        """A message to or from this agent, by id."""
        return self._portal.run(self._inner.show(id_))

    def sent(self, *, limit: int = 20) -> list[SentMessage]:
        """The newest messages that this agent sent, with their receipts."""
        return self._portal.run(self._inner.sent(limit=limit))

    def pending(self) -> tuple[int, int]:
        """How many messages wait unread, and how many are fetched but not acknowledged."""
        return self._portal.run(self._inner.pending())


class Tasks:
    """The tasks of a project; see `AsyncTasks`."""

    def __init__(self, portal: Portal, inner: AsyncTasks) -> None:
        self._portal, self._inner = portal, inner

    def show(self, task: str) -> Task | None:
        """One task, or ``None``."""
        return self._portal.run(self._inner.show(task))

    def list(self, pattern: str = ">", *, state: str | None = None) -> list[Task]:
        """The tasks that match a pattern."""
        return self._portal.run(self._inner.list(pattern, state=state))

    def add(self, task: str, *, title: str | None = None, after: Sequence[str] = (), data: Any = None) -> Task:
        """Add a task."""
        return self._portal.run(self._inner.add(task, title=title, after=after, data=data))

    def apply(self, plan: Sequence[PlannedTask]) -> Applied:
        """Make the tasks be as planned."""
        return self._portal.run(self._inner.apply(plan))


class Claim:
    """A task that is yours while the ``with`` block runs; see `AsyncClaim`.

    The block runs on your thread and cannot be interrupted from outside: call `check` before a side effect. When the
    claim was lost, leaving the block raises `ClaimLost`.
    """

    def __init__(self, portal: Portal, inner: AsyncClaim) -> None:
        self._portal, self._inner = portal, inner

    def __enter__(self) -> Claim:
        self._portal.run(self._inner.acquire())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._portal.run(self._inner.finish(error))

    @property
    def task(self) -> str:
        """Id of the task."""
        return self._inner.task

    @property
    def fence(self) -> int:
        """The fencing token."""
        return self._inner.fence

    @property
    def record(self) -> TaskRecord:
        """The task's record."""
        return self._inner.record

    def check(self) -> None:
        """Raise `ClaimLost` if the claim is known to be lost."""
        self._inner.check()

    def hand_off(
        self, note: str | None = None, *, to: str | None = None, next_action: str | None = None, result: Any = None
    ) -> None:
        """Say what the next agent should know; written when the block ends well."""
        self._inner.hand_off(note, to=to, next_action=next_action, result=result)

    def complete(
        self,
        note: str | None = None,
        *,
        state: Settlement = "done",
        to: str | None = None,
        next_action: str | None = None,
        result: Any = None,
    ) -> None:
        """Settle now, before the block ends. Raises `ClaimLost`."""
        self._portal.run(self._inner.complete(note, state=state, to=to, next_action=next_action, result=result))

    def release(self, note: str | None = None) -> None:
        """Give the task back now, open for anyone. Raises `ClaimLost`."""
        self._portal.run(self._inner.release(note))


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


_defaults: dict[str, str | None] = {}


def init(
    *,
    project: str | None = None,
    agent: str | None = None,
    server: str | None = None,
    session: str | None = None,
) -> Session:
    """Set this process's defaults and return a session with them, which connects at its first verb.

    Sessions that `connect` opens later use the same settings where they are not told otherwise. Raises `UsageError`.
    """
    flags = {"project": project, "agent": agent, "server": server, "session": session}
    opened = Session(project=project, agent=agent, server=server, session=session)
    _defaults.clear()
    _defaults.update(flags)
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
