"""`Run` and `AsyncRun`: a run as a block, from the first event to the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from tracecraft.loop import in_thread
from tracecraft.recording.agent import AsyncRunAgent, RunAgent
from tracecraft.recording.lifecycle import Lifecycle
from tracecraft.recording.logbook import now
from tracecraft.recording.place import PLACE, enter, leave
from tracecraft.recording.plan import plan
from tracecraft.recording.scope import Scope
from tracecraft.recording.step import Step, current_step
from tracecraft_core.run_events import Purpose, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from tracecraft.recording.agent import BlockingSession, CoroutineSession
    from tracecraft.recording.flushed import Flushed
    from tracecraft_core.run_events import EndStatus, Failure, StepKind
    from tracecraft_core.settings import Settings


Blocking: TypeAlias = "Callable[[str, str], tuple[BlockingSession, bool]]"
"""Makes the session of an agent (by its name) of a run, and tells whether it is to be closed with the agent."""
Coroutines: TypeAlias = "Callable[[str, str], tuple[CoroutineSession, bool]]"
"""The same for asyncio."""


class RunOptions(TypedDict, total=False):
    """What `Session.run` takes besides the name; see `tracecraft.run`."""

    params: Mapping[str, Any] | None
    tags: Mapping[str, object] | None
    parent: str | Run | AsyncRun | None
    run_id: str | None
    new_id: str | None
    purpose: Purpose
    forked_from: str | None
    forked_at: int | None
    traceparent: str | None
    system_metrics: bool | float
    patience: float


class _Run(Scope):
    """What both faces have."""

    def __init__(self, life: Lifecycle, coroutines: Coroutines) -> None:
        super().__init__(life.book, life.book.agent)
        self.model = None
        self._life, self._coroutines = life, coroutines

    @property
    def id(self) -> str:
        """The run's id, such as ``20261122-193415-k3x9qa``."""
        return self._life.plan.id

    @property
    def name(self) -> str:
        """Its name; empty where another process started it."""
        return self._life.plan.name

    @property
    def project(self) -> str:
        """The project."""
        return self._book.project

    @property
    def parent(self) -> str | None:
        """Id of the run inside of which it is."""
        return self._life.plan.parent

    @property
    def summary(self) -> Flushed | None:
        """What became of everything that this process logged; ``None`` until the run has ended."""
        return self._life.summary

    @property
    def redacted(self) -> dict[str, int]:
        """How many times each rule of redaction replaced something in what this process logged, errors included."""
        return dict(self._book.redacted)

    def environment(self) -> dict[str, str]:
        """Environment variables for a child process: its first run joins this one, inside the present step.

        For example ``subprocess.run(command, env={**os.environ, **run.environment()})``.
        """
        step = current_step()
        return self._life.environment(step.id if step is not None and step._book is self._book else None)

    def step(self, name: str, kind: StepKind = "other", *, task: str | None = None, id: str | None = None) -> Step:
        """A step of the agent that this session is; see `RunAgent.step`."""
        return Step(self._book, self.agent_name, name, kind, task=task, id=id)

    def set_tag(self, key: str, value: object) -> None:
        """Tag the run; a later value replaces an earlier one."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Tag the run."""
        self._book.event(self.agent_name, "tag", Tags(tags=self._book.tags(tags), time=now()))

    def _begin(self) -> None:
        self._life.begin()
        self._book.owner = self
        enter(self)


class Run(_Run):
    """A run: ``with tracecraft.run("baseline") as run``; ``async with`` gives an `AsyncRun`.

    A body that raises ends the run as ``failed``, with the exception, which goes on; one that is interrupted as
    ``killed``. Outside of a block, `start` and `end` do what its ends do.
    """

    def __init__(self, life: Lifecycle, blocking: Blocking, coroutines: Coroutines) -> None:
        super().__init__(life, coroutines)
        self._blocking = blocking

    def start(self, *, time: float | None = None) -> Run:
        """Begin the run, now or at ``time`` (seconds since 1970). Raises `UsageError` the second time."""
        self._life.begin(time)
        self._book.owner = self
        return self

    def end(
        self,
        status: EndStatus | None = None,
        *,
        error: BaseException | Failure | None = None,
        time: float | None = None,
    ) -> Flushed:
        """End the run, and wait until what was logged is acknowledged; a process that joined it only leaves it.

        ``time`` is when it ended, in seconds since 1970 (default: now).
        """
        self.over = True
        return self._life.end(error, status, time)

    def flush(self, timeout: float | None = 30.0) -> Flushed:
        """Wait up to ``timeout`` seconds (``None``: for ever) until all that was logged so far is acknowledged."""
        return self._life.flush(timeout)

    def agent(self, name: str, model: str | None = None, role: str | None = None) -> RunAgent:
        """An agent of this name that takes part in the run, for a ``with`` block."""
        return RunAgent(self._book, name, model, role, self._connect)

    def _connect(self, agent: str) -> tuple[BlockingSession, bool]:
        return self._blocking(agent, self.id)

    def __enter__(self) -> Run:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        leave(self)
        self.end(error=error)

    async def __aenter__(self) -> AsyncRun:
        self._other = AsyncRun(self._life, self._coroutines)
        return await self._other.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over = True
        await self._other.__aexit__(kind, error, trace)


class AsyncRun(_Run):
    """A run for asyncio: ``async with session.run("baseline") as run``; see `Run`."""

    def start(self, *, time: float | None = None) -> AsyncRun:
        """Begin the run, now or at ``time`` (seconds since 1970). Raises `UsageError` the second time."""
        self._life.begin(time)
        self._book.owner = self
        return self

    async def end(
        self,
        status: EndStatus | None = None,
        *,
        error: BaseException | Failure | None = None,
        time: float | None = None,
    ) -> Flushed:
        """End the run, and wait until what was logged is acknowledged; a process that joined it only leaves it.

        ``time`` is when it ended, in seconds since 1970 (default: now).
        """
        self.over = True
        return await in_thread(self._life.end, error, status, time)

    async def flush(self, timeout: float | None = 30.0) -> Flushed:
        """Wait up to ``timeout`` seconds (``None``: for ever) until all that was logged so far is acknowledged."""
        return await self._life.flush_async(timeout)

    def agent(self, name: str, model: str | None = None, role: str | None = None) -> AsyncRunAgent:
        """An agent of this name that takes part in the run, for an ``async with`` block."""
        return AsyncRunAgent(self._book, name, model, role, self._connect)

    def _connect(self, agent: str) -> tuple[CoroutineSession, bool]:
        return self._coroutines(agent, self.id)

    async def __aenter__(self) -> AsyncRun:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        leave(self)
        await self.end(error=error)


def make(
    settings: Settings,
    blocking: Blocking,
    coroutines: Coroutines,
    name: str | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """A run that begins with its block; see `tracecraft.run`. Raises `UsageError`."""
    return Run(_lifecycle(settings, name, options), blocking, coroutines)


def make_async(
    settings: Settings, coroutines: Coroutines, name: str | None = None, **options: Unpack[RunOptions]
) -> AsyncRun:
    """The same for asyncio."""
    return AsyncRun(_lifecycle(settings, name, options), coroutines)


def before_end(run: Run | AsyncRun, call: Callable[[], object]) -> None:
    """Have something called before the end of a run is recorded (`Lifecycle.before_end`)."""
    run._life.before_end.append(call)


def end_within(run: Run | AsyncRun, status: EndStatus | None, seconds: float) -> None:
    """`end` in this very thread, for up to so many seconds: at the end of the program there is no other one to ask."""
    run.over = True
    run._life.end(status=status, patience=seconds)


def _lifecycle(settings: Settings, name: str | None, options: RunOptions) -> Lifecycle:
    parent = options.get("parent")
    chosen: dict[str, Any] = {**options, "parent": parent.id if isinstance(parent, _Run) else parent}
    return Lifecycle(plan(settings, name, **chosen))


def current_run() -> Run | AsyncRun | None:
    """The run around the code that runs now, if there is one."""
    place = PLACE.get()
    while place is not None:
        owner = place._book.owner
        if isinstance(owner, (Run, AsyncRun)) and owner.summary is None:
            return owner
        place = place._outer
    return None
