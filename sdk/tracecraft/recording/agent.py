"""`RunAgent` and `AsyncRunAgent`: an agent that takes part in a run, with its steps and its place on the bus.

What is logged is the same for both and never waits. What coordinates (`shared_memory`, `send`, `handoff`) goes through
a session under the agent's name, which is opened at its first verb: without a bus only these raise.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from tracecraft.recording.failure import reported
from tracecraft.recording.logbook import moment, now
from tracecraft.recording.place import enter, leave
from tracecraft.recording.scope import Scope
from tracecraft.recording.step import Step
from tracecraft_core import names
from tracecraft_core.bodies import Handoff
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import AgentEnded, AgentStarted, Tags

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from types import TracebackType

    from tracecraft.blocking import Memory
    from tracecraft.mail import Sent
    from tracecraft.memory import AsyncMemory
    from tracecraft.recording.logbook import Logbook
    from tracecraft_core.run_events import Failure, StepKind

logger = logging.getLogger(__name__)


class BlockingSession(Protocol):
    """What an agent needs of a `Session`."""

    @property
    def memory(self) -> Memory:
        """The shared memory."""

    @property
    def send(self) -> Callable[..., Sent]:
        """Send a message."""

    def close(self) -> None:
        """Go offline."""


class CoroutineSession(Protocol):
    """What an agent needs of an `AsyncSession`."""

    @property
    def memory(self) -> AsyncMemory:
        """The shared memory."""

    @property
    def send(self) -> Callable[..., Awaitable[Sent]]:
        """Send a message."""

    async def close(self) -> None:
        """Go offline."""


S = TypeVar("S", BlockingSession, CoroutineSession)


class _Agent(Scope, Generic[S]):
    """What both faces have."""

    def __init__(
        self, book: Logbook, name: str, model: str | None, role: str | None, connect: Callable[[str], tuple[S, bool]]
    ) -> None:
        super().__init__(book, names.agent(name))
        for what, value in (("model", model), ("role", role)):
            if value is not None and not isinstance(value, str):
                raise UsageError(f"agent {name}: {what} {value!r} is no text")
        self.model, self.role = model, role
        self._connect: Callable[[str], tuple[S, bool]] = connect
        self._session: S | None = None
        self._own_session = False
        self._started = False

    @property
    def name(self) -> str:
        """The agent's name, on the bus too."""
        return self.agent_name

    @property
    def _bus(self) -> S:
        if self._session is None:
            self._book.writing  # an agent of a run that has ended coordinates no more  # noqa: B018
            self._session, self._own_session = self._connect(self.name)
        return self._session

    def start(self, *, time: float | None = None) -> None:
        """Record that the agent takes part, since ``time`` (seconds since 1970) or now; again, nothing happens."""
        if not self._started:
            self._book.event(
                self.name, "agent.started", AgentStarted(time=moment(time), model=self.model, role=self.role)
            )
            self._started = True

    def _end(self, error: BaseException | Failure | None, time: float | None) -> None:
        if self.over or not self._started:
            return
        self.over = True
        failed = reported(error, self._book.text, trace=False)
        ended = AgentEnded(time=moment(time), status="error" if failed else "ok", error=failed)
        self._book.late_event(self.name, "agent.ended", ended)

    def step(self, name: str, kind: StepKind = "other", *, task: str | None = None, id: str | None = None) -> Step:
        """A step of this agent, for a ``with`` block.

        ``kind`` is ``llm``, ``tool_call``, ``task``, ``message``, ``handoff``, ``retrieval`` or ``other``; ``task`` is
        the id of the task that it works on. It lies inside the step around the code that calls this. ``id`` is its own
        id, 16 hexadecimal digits, for one who must know it again (default: a random one).
        """
        return Step(self._book, self.name, name, kind, task=task, model=self.model, id=id)

    def set_tag(self, key: str, value: object) -> None:
        """Tag the run."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Tag the run."""
        self._book.event(self.name, "tag", Tags(tags=self._book.tags(tags), time=now()))


class RunAgent(_Agent[BlockingSession]):
    """An agent in a run: ``with run.agent("researcher", model="…") as agent``."""

    @property
    def shared_memory(self) -> Memory:
        """The project's shared memory; what is written bears this agent's name and the run's."""
        return self._bus.memory

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
        """Send a message to an agent, online or not; see `AsyncSession.send`. Raises `BusUnreachable`."""
        return self._bus.send(to, text, kind=kind, thread=thread, reply_to=reply_to, data=data, wait_ack=wait_ack)

    def handoff(
        self,
        to: str,
        note: str,
        *,
        next_action: str | None = None,
        result: Any = None,
        changed_files: list[str] | None = None,
    ) -> Sent:
        """Hand over to another agent: a step and a message of kind ``handoff``. Raises `BusUnreachable`."""
        with self.step(f"hand off to {to}", kind="handoff") as step:
            data = _handoff(note, to, next_action, result, changed_files)
            step.log_input(data)
            sent = self.send(to, note, kind="handoff", data=data)
            step.log_output({"message": sent.id})
        return sent

    def end(self, error: BaseException | Failure | None = None, *, time: float | None = None) -> None:
        """Record that the agent's part is over, now or since ``time``, and take it off the bus."""
        self._end(error, time)
        session, self._session = self._session, None
        if session is not None and self._own_session:
            with _quietly(self.name):
                session.close()

    def __enter__(self) -> RunAgent:
        self.start()
        enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end(error)
        leave(self)


class AsyncRunAgent(_Agent[CoroutineSession]):
    """An agent in a run: ``async with run.agent("researcher", model="…") as agent``."""

    @property
    def shared_memory(self) -> AsyncMemory:
        """The project's shared memory; what is written bears this agent's name and the run's."""
        return self._bus.memory

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
        """Send a message to an agent, online or not; see `AsyncSession.send`. Raises `BusUnreachable`."""
        return await self._bus.send(to, text, kind=kind, thread=thread, reply_to=reply_to, data=data, wait_ack=wait_ack)

    async def handoff(
        self,
        to: str,
        note: str,
        *,
        next_action: str | None = None,
        result: Any = None,
        changed_files: list[str] | None = None,
    ) -> Sent:
        """Hand over to another agent: a step and a message of kind ``handoff``. Raises `BusUnreachable`."""
        async with self.step(f"hand off to {to}", kind="handoff") as step:
            data = _handoff(note, to, next_action, result, changed_files)
            step.log_input(data)
            sent = await self.send(to, note, kind="handoff", data=data)
            step.log_output({"message": sent.id})
        return sent

    async def end(self, error: BaseException | Failure | None = None, *, time: float | None = None) -> None:
        """Record that the agent's part is over, now or since ``time``, and take it off the bus."""
        self._end(error, time)
        session, self._session = self._session, None
        if session is not None and self._own_session:
            with _quietly(self.name):
                await session.close()

    async def __aenter__(self) -> AsyncRunAgent:
        self.start()
        enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            await self.end(error)
        finally:
            leave(self)


def record_end(agent: RunAgent | AsyncRunAgent, *, time: float | None = None) -> None:
    """Record that the part of an agent is over that never went on the bus, whichever face it has."""
    agent._end(None, time)


def _handoff(
    note: str, to: str, next_action: str | None, result: Any, changed_files: list[str] | None
) -> dict[str, Any]:
    said = Handoff(note=note, to=to, next_action=next_action, result=result, changed_files=changed_files)
    data: dict[str, Any] = msgspec.to_builtins(said)
    return data


@contextlib.contextmanager
def _quietly(name: str) -> Iterator[None]:
    """Taking an agent off the bus must not hide what happened in its block."""
    try:
        yield
    except Exception as error:
        logger.debug("agent %s did not leave the bus: %s", name, error)
