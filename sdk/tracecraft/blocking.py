"""The blocking faces of a session's parts: `Memory`, `Mail`, `Tasks`, `Claim`; thin, over one background loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from tracecraft.claim import AsyncClaim
    from tracecraft.claims import Task
    from tracecraft.mail import AsyncMail, InboxMessage, Sent, SentMessage
    from tracecraft.memory import AsyncMemory, Entry
    from tracecraft.portal import Portal
    from tracecraft.tasklist import Applied, AsyncTasks
    from tracecraft_core.bodies import ReceiptState, Settlement, TaskRecord
    from tracecraft_core.plans import PlannedTask


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
