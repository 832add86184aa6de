"""`Narration`: what the messages of a stream mean, told to the tree.

The stream is a run; model calls, tools, handoffs and what an agent says without a model are steps in it. An agent that
is another one's tool works inside of that tool call.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.toolbox.refusal import failure
from tracecraft.integrations.tree import NOTHING, Tree, failed
from tracecraft.recording.usage import read
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft.integrations.autogen.model_calls import ModelCall, ModelCalls
    from tracecraft_core.run_events import EndStatus

TRANSFER: Final = "transfer_to_"
"""How AutoGen names the tool of a handoff, unless the user has named it."""
USER: Final = "user"
"""Who gives the task."""


class Narration:
    """Of one stream."""

    def __init__(self, tree: Tree, calls: ModelCalls, name: str, model: str | None) -> None:
        self._tree, self._calls, self._model = tree, calls, model
        self._run = object()
        self._numbers = itertools.count()
        self._task: list[str] | None = []
        """What the user says at first; ``None`` once somebody else has spoken."""
        self._open: dict[str, tuple[str, str | None]] = {}
        """Tool calls that have not ended: who asked for it, and to whom it hands over."""
        self._handed: set[tuple[str, str]] = set()
        """Handoffs that a tool call has told of already."""
        self._last: Any = NOTHING
        tree.begin_run(self._run, name)

    @property
    def key(self) -> object:
        """The id of the run in the tree."""
        return self._run

    def hear(self, message: Any) -> None:
        """A message of the stream."""
        if hasattr(message, "stop_reason"):  # the result of the task, the last of all
            return self._finish(message)
        if not hasattr(message, "created_at"):
            return None
        teller = getattr(self, f"_{type(message).__name__}", None)
        time = message.created_at.timestamp()
        if self._task is not None and message.source == USER:
            self._task.append(message.to_text())
        else:
            self._say_task()
            if message.models_usage is not None:
                self._model_call(message, time)
            if teller is not None:
                teller(message, time)
            elif message.models_usage is None and hasattr(message, "to_model_text"):
                self._said(message, time)
            if hasattr(message, "to_model_text"):
                self._last = message.to_text()
        self._calls.since = max(time, self._calls.since)
        return None

    def fail(self, error: BaseException) -> None:
        """The stream has broken."""
        self._tell_rest()
        self._tree.end_run(self._run, output=self._last, error=error)

    def close(self, status: EndStatus) -> None:
        """The stream is at its end, or nobody wants to hear the rest; after a result nothing happens."""
        self._tell_rest()
        self._tree.end_run(self._run, output=self._last, status=status)

    # -- messages, by their class -------------------------------------------------------------------------------

    def _ToolCallRequestEvent(self, message: Any, time: float) -> None:
        for one in message.content:
            to = one.name.removeprefix(TRANSFER) if one.name.startswith(TRANSFER) else None
            name, kind = (f"hand off to {to}", "handoff") if to else (one.name, "tool_call")
            self._begin(one.id, message.source, name, kind, _parsed(one.arguments), time)
            self._open[one.id] = message.source, to

    def _ToolCallExecutionEvent(self, message: Any, time: float) -> None:
        for one in message.content:
            asked, to = self._open.pop(one.call_id, (message.source, None))
            refusal = self._calls.refusals.pop(one.call_id, None)
            error = None
            if one.is_error:
                error = failed("ToolError", one.content) if refusal is None else failure(refusal)
            tags = {"to": to} if to else None
            self._tree.end((self._run, one.call_id), output=one.content, error=error, tags=tags, time=time)
            if to:
                self._handed.add((asked, to))

    def _ToolCallSummaryMessage(self, message: Any, time: float) -> None:
        """The results once more."""

    def _HandoffMessage(self, message: Any, time: float) -> None:
        told = (message.source, message.target)
        if told in self._handed:  # by a tool call that was named as usual
            self._handed.discard(told)
            return
        self._tree.handoff(
            self._key(), self._run, message.target, agent=message.source, note=message.content, time=time
        )

    def _MemoryQueryEvent(self, message: Any, time: float) -> None:
        found = [str(one.content) for one in message.content]
        self._told(message.source, "search the memory", "retrieval", NOTHING, found, self._calls.since, time)

    def _CodeExecutionEvent(self, message: Any, time: float) -> None:
        error = failed("CodeFailed", f"exit code {message.result.exit_code}") if message.result.exit_code else None
        key = self._told(
            message.source, "run code", "tool_call", NOTHING, message.result.output, self._calls.since, time, error
        )
        step = self._tree.step(key)
        if step is not None and message.retry_attempt:
            step.log(f"attempt {message.retry_attempt + 1}")

    def _ModelClientStreamingChunkEvent(self, message: Any, time: float) -> None:
        """The whole message follows."""

    # -- steps --------------------------------------------------------------------------------------------------

    def _model_call(self, message: Any, time: float) -> None:
        used = message.models_usage
        calls = self._calls.take(message.source, used.prompt_tokens, used.completion_tokens)
        if calls is not None:
            for call, agent in calls:
                self._tell(call, agent)
            return
        said = [vars(one) for one in message.content] if isinstance(message.content, list) else message.to_text()
        key = self._begin_call(message.source, self._model, NOTHING, self._calls.since)
        if used.prompt_tokens or used.completion_tokens:
            self._tree.usage(key, input=used.prompt_tokens, output=used.completion_tokens, model=self._model)
        self._tree.end(key, output=said, time=time)

    def _tell(self, call: ModelCall, agent: str | None) -> None:
        model = str(call.response.get("model") or self._model or "") or None
        messages = NOTHING if call.messages is None else call.messages
        key = self._begin_call(agent, model, messages, call.began)
        if call.prompt or call.completion:
            self._tree.usage(key, **_buckets(call), model=model)
        self._tree.end(key, output=_answer(call.response), time=call.ended)

    def _tell_rest(self) -> None:
        self._say_task()
        for call in self._calls.rest():
            self._tell(call, call.agent)

    def _begin_call(self, agent: str | None, model: str | None, input: Any, time: float) -> object:
        key = self._key()
        parent = self._parent(agent)
        self._tree.begin(key, parent, model or "model", "llm", agent=agent, model=model, input=input, time=time)
        return key

    def _said(self, message: Any, time: float) -> None:
        if message.source == USER and self._parent(USER) is not self._run:
            return  # the task of an agent that is a tool: it is the tool call's input
        self._told(message.source, "message", "message", NOTHING, message.to_text(), time, time)

    def _told(
        self,
        agent: str,
        name: str,
        kind: Any,
        input: Any,
        output: Any,
        began: float,
        ended: float,
        error: Any = None,
    ) -> object:
        key = self._key()
        self._tree.begin(key, self._parent(agent), name, kind, agent=agent, input=input, time=min(began, ended))
        self._tree.end(key, output=output, error=error, time=ended)
        return key

    def _begin(self, id: str, agent: str, name: str, kind: Any, input: Any, time: float) -> None:
        self._tree.begin((self._run, id), self._parent(agent), name, kind, agent=agent, input=input, time=time)

    def _parent(self, agent: str | None) -> object:
        """Where an agent works: in the one tool call that another agent waits for, or in the run."""
        if len(self._open) == 1:
            ((id, (asked, _)),) = self._open.items()
            if agent not in (None, asked):
                return (self._run, id)
        return self._run

    def _say_task(self) -> None:
        step = self._tree.step(self._run)
        if self._task and step is not None:
            step.log_input(self._task[0] if len(self._task) == 1 else self._task)
        self._task = None

    def _finish(self, result: Any) -> None:
        self._tell_rest()
        step = self._tree.step(self._run)
        if step is not None and result.stop_reason:
            step.set_tag("stop_reason", result.stop_reason)
        self._tree.end_run(self._run, output=self._last)

    def _key(self) -> object:
        return (self._run, next(self._numbers))


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _buckets(call: ModelCall) -> dict[str, Any]:
    """From the service's own words where it said them, with its id of the call; else what AutoGen says."""
    try:
        found = read(dict(call.response))
    except UsageError:
        return {"input": call.prompt, "output": call.completion}
    return {
        "input": found.input,
        "cache_read": found.cache_read,
        "cache_write": found.cache_write,
        "output": found.output,
        "reasoning": found.reasoning,
        "request": found.request,
    }


def _answer(response: Mapping[str, Any]) -> Any:
    choices = response.get("choices")
    if choices:
        message = choices[0].get("message") or {}
        return {name: message[name] for name in ("content", "tool_calls") if message.get(name)}
    return response.get("content", NOTHING)
