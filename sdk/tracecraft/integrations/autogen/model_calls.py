"""`ModelCalls`: the calls that AutoGen's model clients make during a traced stream, from AutoGen's structured log.

The messages of a stream tell only how many tokens went in and out of most calls. The log tells of all of them, a
selector's and an orchestrator's too, with the whole answer of the service: model, caches, reasoning.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from autogen_core import EVENT_LOGGER_NAME
from autogen_core.logging import LLMCallEvent, LLMStreamEndEvent, LLMStreamStartEvent

from tracecraft.integrations.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tracecraft.integrations.toolbox import ToolProblem

MOST_TAKEN: Final = 100
"""Calls that are remembered because a message may still tell of them; a selector's never has one."""

_events: Final = logging.getLogger(EVENT_LOGGER_NAME)
_here: Final[ContextVar[ModelCalls | None]] = ContextVar("tracecraft_autogen_calls", default=None)
"""Whose calls the code that runs now makes; AutoGen's runtime takes it along into its tasks."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call that has ended."""

    agent: str | None
    """Who was at work as the runtime knows it; an agent that is another one's tool works under that one's name."""
    messages: Any
    """What was sent, when that is known."""
    response: Mapping[str, Any]
    prompt: int
    completion: int
    began: float
    """Seconds since 1970. AutoGen tells it of streams; of others it is when the thing before it was told of."""
    ended: float


class ModelCalls:
    """Those of one stream."""

    def __init__(self) -> None:
        self.since = time.time()
        """When the last thing happened."""
        self._waiting: list[ModelCall] = []
        self._taken: deque[ModelCall] = deque(maxlen=MOST_TAKEN)
        """Before a message told of them, which may still come (agents work at the same time); without what was said."""
        self._begun: dict[str | None, list[tuple[float, Any]]] = {}
        self.refusals: dict[str, ToolProblem] = {}
        """Why calls of our own tools were refused, by the id of the call; until a message tells of its end."""

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Code whose calls are ours."""
        token = _here.set(self)
        try:
            yield
        finally:
            _here.reset(token)

    def take(self, agent: str, prompt: int, completion: int) -> list[tuple[ModelCall, str | None]] | None:
        """The call of which a message of this agent tells, after those before it, each with who made it.

        Empty when it was taken with another one before; ``None`` when the log does not know it.
        """
        found = _fitting(self._waiting, agent, prompt, completion)
        if found is not None:
            place = self._waiting.index(found)
            before, self._waiting = self._waiting[:place], self._waiting[place + 1 :]
            self._taken.extend(replace(call, messages=None, response={}) for call in before)
            return [*((call, call.agent) for call in before), (found, agent)]
        found = _fitting(self._taken, agent, prompt, completion)
        if found is not None:
            self._taken.remove(found)
            return []
        return None

    def rest(self) -> list[ModelCall]:
        """Those of which no message has told."""
        rest, self._waiting = self._waiting, []
        return rest

    @guarded
    def hear(self, record: logging.LogRecord) -> None:
        """A line of the log."""
        event = record.msg
        facts: Mapping[str, Any] = getattr(event, "kwargs", {})
        agent = _name(facts.get("agent_id"))
        if isinstance(event, LLMStreamStartEvent):
            self._begun.setdefault(agent, []).append((record.created, facts["messages"]))
        elif isinstance(event, LLMStreamEndEvent | LLMCallEvent):
            began, messages = min(self.since, record.created), facts.get("messages")
            if messages is None and self._begun.get(agent):
                began, messages = self._begun[agent].pop(0)
            tokens = int(facts["prompt_tokens"]), int(facts["completion_tokens"])
            self.since = record.created
            self._waiting.append(ModelCall(agent, messages, facts["response"], *tokens, began, record.created))


class _Ear(logging.Filter):
    """Hears the log without making it louder: what would not have been logged without us goes no further."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._listening = 0
        self._level = logging.NOTSET

    def filter(self, record: logging.LogRecord) -> bool:
        calls = _here.get()
        if calls is not None:
            calls.hear(record)
        wanted = self._level or (_events.parent.getEffectiveLevel() if _events.parent else logging.WARNING)
        return record.levelno >= wanted

    @contextmanager
    def open(self) -> Iterator[None]:
        """Meanwhile the log is heard."""
        with self._lock:
            self._listening += 1
            if self._listening == 1:
                self._level = _events.level
                if not _events.isEnabledFor(logging.INFO):
                    _events.setLevel(logging.INFO)
                _events.addFilter(self)
        try:
            yield
        finally:
            with self._lock:
                self._listening -= 1
                if not self._listening:
                    _events.removeFilter(self)
                    _events.setLevel(self._level)


ear: Final = _Ear()


def tell_refusal(call_id: str | None, problem: ToolProblem) -> None:
    """A call of one of our tools was refused, in the stream around it."""
    calls = _here.get()
    if calls is not None and call_id:
        calls.refusals[call_id] = problem


def _fitting(calls: Iterable[ModelCall], agent: str, prompt: int, completion: int) -> ModelCall | None:
    fitting = [call for call in calls if (call.prompt, call.completion) == (prompt, completion)]
    return next((call for call in fitting if call.agent == agent), next(iter(fitting), None))


def _name(agent_id: str | None) -> str | None:
    """``alice_<team>/<team>`` is how a team's runtime calls alice."""
    if agent_id is None:
        return None
    kind, _, key = agent_id.rpartition("/")
    return kind.removesuffix(f"_{key}") or None
