"""`Tree`: what a framework tells of its work, by ids of its own, as a run with agents and steps.

Frameworks tell in callbacks: something with this id began inside of that one, something with this id has ended. A
`Tree` keeps which of our runs and steps each id stands for. Nothing here waits for the bus. What is told of an id that
is not known (its beginning was never told, or its run is over) is passed over, with a line in the debug log.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations import closing
from tracecraft.integrations.actors import Actors
from tracecraft.recording.agent import record_end
from tracecraft.recording.place import inside
from tracecraft.recording.run import current_run
from tracecraft.recording.step import LONGEST_NAME, step_of
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import Failure

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from tracecraft.recording.agent import AsyncRunAgent, RunAgent
    from tracecraft.recording.run import AsyncRun, Run
    from tracecraft.recording.step import Step
    from tracecraft.session import Session
    from tracecraft_core.run_events import EndStatus, StepKind

logger = logging.getLogger(__name__)


class Nothing:
    """The absence of a value, where ``None`` is one."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = Nothing()


@dataclass(slots=True)
class _Work:
    """A run of ours that a framework works in, with the agents that it has met there."""

    run: Run | AsyncRun
    ours: bool
    """Whether the tree has started it, and ends it."""
    open: int = 0
    """How often the framework has begun to work in it, and not ended."""
    actors: Actors = field(default_factory=Actors)
    agents: dict[str, RunAgent | AsyncRunAgent] = field(default_factory=dict)
    ids: set[Hashable] = field(default_factory=set)
    """What the framework calls everything in it, to be forgotten with it."""


@dataclass(frozen=True, slots=True)
class Node:
    """What an id of the framework stands for: a step, or (an agent that took over) a place inside of one."""

    work: _Work
    step: Step
    """The step, or the innermost one around the place."""
    agent: str
    """Who works there, by its name on the bus."""
    model: str | None = None
    is_place: bool = False
    """Whether it is no step of its own."""


class Tree:
    """The work of one framework in this process. Safe to use from several threads.

    Ids (``key``, ``parent``) are the framework's own, unique in the tree; a parent that is not known is left out.
    ``time`` is when it happened, in seconds since 1970 (default: now).
    """

    def __init__(self, framework: str, *, session: Session | None = None, tags: Mapping[str, object] | None = None):
        """``framework`` is a tag of its runs; ``session`` is whose runs they are (default: `tracecraft.run`)."""
        self.framework = framework
        self._session, self._tags = session, dict(tags or {})
        self._nodes: dict[Hashable, Node] = {}
        self._works: dict[str, _Work] = {}
        self._lock = threading.RLock()

    @classmethod
    def shared(cls, framework: str, session: Session | None = None) -> Tree:
        """The one tree of a framework and a session: an adapter that is registered twice tells everything once."""
        with _shared_lock:
            return _shared.setdefault((framework, session), cls(framework, session=session))

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def run(self, key: Hashable) -> Run | AsyncRun | None:
        """The run in which something happens."""
        node = self._nodes.get(key)
        return None if node is None else node.work.run

    def step(self, key: Hashable) -> Step | None:
        """The step of an id, or the one around its place."""
        node = self._nodes.get(key)
        return None if node is None else node.step

    def agent(self, key: Hashable) -> str | None:
        """Who works there, by its name on the bus."""
        node = self._nodes.get(key)
        return None if node is None else node.agent

    # -- runs ---------------------------------------------------------------------------------------------------

    def begin_run(
        self,
        key: Hashable,
        name: str,
        *,
        input: Any = NOTHING,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, object] | None = None,
        agent: str | None = None,
        time: float | None = None,
    ) -> None:
        """The framework begins to work: a run, with a step that holds its input and output.

        Inside of a run of the program (``with tracecraft.run(…)``) it is a step of that one, and its end does not end
        it. A second beginning with the same key is passed over.
        """
        with self._lock:
            if key in self._nodes:
                return
            work = self._work(_name(name), params, tags, time)
            work.open += 1
            who = work.run.agent_name if agent is None else self._known(work, agent, None, None, time)
            self._add(key, work, step_of(work.run, who, _name(name), "task"), who, None, input, time)

    def end_run(
        self,
        key: Hashable,
        *,
        output: Any = NOTHING,
        error: BaseException | Failure | None = None,
        status: EndStatus | None = None,
        time: float | None = None,
    ) -> None:
        """The framework's work is over; nothing that has this run's ids is heard any more."""
        with self._lock:
            node = self._nodes.get(key)
            if node is None:
                logger.debug("%s: the end of %r, whose beginning was not told", self.framework, key)
                return
            if node.is_place or node.step.over:
                return
            self.end(key, output=output, error=error, time=time)
            node.work.open -= 1
            if node.work.open:
                return
            self._forget(node.work, time)
        if node.work.ours:
            closing.end(node.work.run, status, error=error, time=time)  # type: ignore[arg-type]

    def _work(
        self, name: str, params: Mapping[str, Any] | None, tags: Mapping[str, object] | None, time: float | None
    ) -> _Work:
        around = current_run()
        if around is not None:
            return self._works.setdefault(around.id, _Work(around, ours=False))
        from tracecraft import session

        begin = session.run if self._session is None else self._session.run
        run = begin(name, params=params, tags={"framework": self.framework, **self._tags, **(tags or {})})
        return self._works.setdefault(run.id, _Work(run.start(time=time), ours=True))

    def _forget(self, work: _Work, time: float | None) -> None:
        for agent in work.agents.values():
            record_end(agent, time=time)
        for known in work.ids:
            self._nodes.pop(known, None)
        del self._works[work.run.id]

    # -- agents -------------------------------------------------------------------------------------------------

    def begin_agent(
        self,
        key: Hashable,
        parent: Hashable,
        name: str | None,
        *,
        model: str | None = None,
        role: str | None = None,
        time: float | None = None,
    ) -> None:
        """An agent takes over inside of something: what happens inside of ``key`` is its doing.

        ``name`` is any text; on the bus it is a token (`integrations.actors`), and the text is its role, unless one is
        given.
        """
        with self._lock:
            outer = self._nodes.get(parent)
            if outer is None or key in self._nodes:
                logger.debug("%s: agent %r inside of %r, which is not known", self.framework, name, parent)
                return
            who = self._known(outer.work, name, model, role, time)
            self._put(key, Node(outer.work, outer.step, who, model, is_place=True))

    def _known(self, work: _Work, name: str | None, model: str | None, role: str | None, time: float | None) -> str:
        who = work.actors.name(name)
        if who not in work.agents:
            agent = work.run.agent(who, model, role or (name if name and name != who else None))
            agent.start(time=time)
            work.agents[who] = agent
        return who

    def alias(self, key: Hashable, parent: Hashable) -> None:
        """Something that is no step of ours: what happens inside of it happens inside of its parent."""
        with self._lock:
            outer = self._nodes.get(parent)
            if outer is not None and key not in self._nodes:
                self._put(key, Node(outer.work, outer.step, outer.agent, outer.model, is_place=True))

    # -- steps --------------------------------------------------------------------------------------------------

    def begin(
        self,
        key: Hashable,
        parent: Hashable,
        name: str,
        kind: StepKind = "other",
        *,
        agent: str | None = None,
        model: str | None = None,
        input: Any = NOTHING,
        task: str | None = None,
        time: float | None = None,
    ) -> None:
        """A step begins inside of another, as the work of ``agent`` (any text; default: who works there)."""
        with self._lock:
            outer = self._nodes.get(parent)
            if outer is None or key in self._nodes:
                logger.debug("%s: step %r inside of %r, which is not known", self.framework, name, parent)
                return
            who = outer.agent if agent is None else self._known(outer.work, agent, model, None, time)
            model = model or outer.model
            step = step_of(outer.work.run, who, _name(name), kind, task=task, parent=outer.step, model=model)
            self._add(key, outer.work, step, who, model, input, time)

    def end(
        self,
        key: Hashable,
        *,
        output: Any = NOTHING,
        error: BaseException | Failure | None = None,
        tags: Mapping[str, object] | None = None,
        time: float | None = None,
    ) -> None:
        """A step has ended, well or with an error; the second time, and for an agent's place, nothing happens."""
        node = self._nodes.get(key)
        if node is None or node.is_place or node.step.over:
            return
        if tags:
            node.step.set_tags(tags)
        if output is not NOTHING:
            node.step.log_output(output, time=time)
        node.step.end(error, time=time)

    def usage(self, key: Hashable, usage: Any = None, **numbers: Any) -> None:
        """What the model call of a step that has not ended used; see `Scope.log_usage`.

        Numbers that cannot be are passed over with a warning: the step is still to be ended.
        """
        node = self._nodes.get(key)
        if node is None or node.step.over:
            return
        try:
            node.step.log_usage(usage, **numbers)
        except UsageError as error:
            logger.warning("what a model call used is not recorded: %s", error)

    def handoff(
        self,
        key: Hashable,
        parent: Hashable,
        to: str,
        *,
        agent: str | None = None,
        note: Any = NOTHING,
        time: float | None = None,
    ) -> None:
        """An agent hands over to another: a step of its own that is over at once."""
        self.begin(key, parent, f"hand off to {to}", "handoff", agent=agent, input=note, time=time)
        self.end(key, tags={"to": to}, time=time)

    def log(self, key: Hashable, text: str) -> None:
        """A line for people, inside of a step."""
        node = self._nodes.get(key)
        if node is not None:
            node.step.log(text)

    @contextmanager
    def inside(self, key: Hashable) -> Iterator[None]:
        """Code that runs inside of a step: what it writes to the bus and records itself lies in that step."""
        node = self._nodes.get(key)
        if node is None:
            yield
            return
        with inside(node.step):
            yield

    # -- nodes --------------------------------------------------------------------------------------------------

    def _add(
        self,
        key: Hashable,
        work: _Work,
        step: Step,
        agent: str,
        model: str | None,
        input: Any,
        time: float | None,
    ) -> None:
        step.start(time=time)
        if input is not NOTHING:
            step.log_input(input, time=time)
        self._put(key, Node(work, step, agent, model))

    def _put(self, key: Hashable, node: Node) -> None:
        self._nodes[key] = node
        node.work.ids.add(key)


_shared: Final[dict[tuple[str, Session | None], Tree]] = {}
_shared_lock: Final = threading.Lock()


def failed(kind: str, message: object = "", trace: str = "") -> Failure:
    """A failure that a framework tells of in words."""
    return Failure(type=kind or "Error", message=str(message), trace=trace)


def _name(name: object) -> str:
    text = " ".join(str(name).split())[:LONGEST_NAME] if name is not None else ""
    return text or "unnamed"
