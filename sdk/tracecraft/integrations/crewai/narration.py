"""`Narration`: what each of CrewAI's events means, told to the tree.

A crew (outside of any other) is a run, a task a step, an agent takes over inside of its task. Delegation and questions
to a coworker, which CrewAI offers as tools, are handoffs; what the coworker does lies in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from crewai.events.event_bus import is_replaying

from tracecraft.integrations.crewai.token_usage import numbers
from tracecraft.integrations.tree import NOTHING, failed

if TYPE_CHECKING:
    from tracecraft.integrations.tree import Tree
    from tracecraft_core.run_events import Failure, StepKind

HANDOFFS: Final = frozenset({"delegate_work_to_coworker", "ask_question_to_coworker"})
"""CrewAI's tools by which an agent lets a coworker work."""
INTERNAL_FLOW: Final = "AgentExecutor"
"""The flow that CrewAI runs inside of every agent."""
SEARCHES: Final[Mapping[str, str]] = {
    "memory_query_started": "search the memory",
    "knowledge_query_started": "search the knowledge",
    "knowledge_search_query_started": "search the knowledge",
}
OTHERS: Final[Mapping[str, str]] = {
    "memory_save_started": "save to the memory",
    "llm_guardrail_started": "guardrail",
    "agent_reasoning_started": "plan",
    "agent_evaluation_started": "evaluate",
}
PRICE_LISTS: Final[Mapping[str, str]] = {"gemini": "google", "bedrock": "aws"}
"""CrewAI's names of providers whose name on the price list is another."""


class Narration:
    """Turns events into runs, agents and steps. What it does not know, it passes through."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._runs: set[str] = set()
        """Which scopes are told to the tree as runs."""
        self._remarked: tuple[Any, ...] = ()

    def begin(self, source: Any, event: Any, parent: str | None) -> bool:
        """Something begins, inside of ``parent`` or of nothing; whether it is a run, or inside of one."""
        teller = getattr(self, f"_{event.type}", None)
        if teller is not None:
            teller(source, event, parent)
        elif parent is not None and event.type in SEARCHES:
            self._step(event, parent, SEARCHES[event.type], "retrieval", getattr(event, "query", NOTHING))
        elif parent is not None and event.type in OTHERS:
            self._step(event, parent, OTHERS[event.type], "other", NOTHING)
        elif parent is not None:
            self.tree.alias(event.event_id, parent)
        return event.event_id in self.tree

    def resume(self, task: Any, event: Any, run: str) -> None:
        """A crew goes on from a checkpoint with this task."""
        name = getattr(getattr(task.agent, "crew", None), "name", None) or "crew"
        self._runs.add(run)
        self.tree.begin_run(run, name, tags={"resumed": True}, time=_time(event))

    def end(self, source: Any, event: Any, key: str) -> None:
        """What the event ``key`` began has ended."""
        time = _time(event)
        if event.type == "agent_execution_error":
            self.tree.log(key, f"{_role(event.agent) or 'the agent'} failed: {event.error}")
        if event.type == "llm_call_completed" and (used := numbers(event.usage)):
            self.tree.usage(key, model=event.model, provider=_provider(source), **_cause(), **used)
        error = _error(event)
        if key in self._runs:
            self._runs.discard(key)
            self.tree.end_run(key, output=_output(event), error=error, time=time)
        else:
            self.tree.end(key, output=_output(event), error=error, tags=_tags(event), time=time)

    def remark(self, source: Any, event: Any) -> None:
        """Something that neither begins nor ends a scope: a tool that is not there, asked for up to six times."""
        if event.type != "tool_selection_error" or event.parent_event_id is None:
            return
        told = (event.parent_event_id, event.tool_name, str(event.error))
        if told != self._remarked:
            self._remarked = told
            self._step(event, event.parent_event_id, event.tool_name, "tool_call", event.tool_args)
            self.tree.end(event.event_id, error=failed("ToolSelectionError", event.error), time=_time(event))

    # -- beginnings, by the type of the event -------------------------------------------------------------------

    def _crew_kickoff_started(self, _source: Any, event: Any, parent: str | None) -> None:
        self._root(event, parent, event.crew_name or "crew", event.inputs)

    def _flow_started(self, _source: Any, event: Any, parent: str | None) -> None:
        if parent is not None and event.flow_name == INTERNAL_FLOW:
            self.tree.alias(event.event_id, parent)
        else:
            self._root(event, parent, event.flow_name, event.inputs)

    def _lite_agent_execution_started(self, _source: Any, event: Any, parent: str | None) -> None:
        role = event.agent_info.get("role")
        self._root(event, parent, role or "agent", event.messages, agent=role)

    def _method_execution_started(self, _source: Any, event: Any, parent: str | None) -> None:
        if parent is not None:
            self._step(event, parent, event.method_name, "task", event.params or NOTHING)

    def _task_started(self, source: Any, event: Any, parent: str | None) -> None:
        if parent is None:
            return
        asked = {"description": source.description, "expected_output": source.expected_output}
        if event.context:
            asked["context"] = event.context
        who = source.agent
        self._step(event, parent, event.task_name or "task", "task", asked, _role(who), _model(who))

    def _agent_execution_started(self, _source: Any, event: Any, parent: str | None) -> None:
        if parent is not None:
            who = event.agent
            self.tree.begin_agent(event.event_id, parent, _role(who), model=_model(who), time=_time(event))

    def _llm_call_started(self, _source: Any, event: Any, parent: str | None) -> None:
        if parent is not None:
            self._step(event, parent, event.model or "model", "llm", event.messages, model=event.model)

    def _tool_usage_started(self, _source: Any, event: Any, parent: str | None) -> None:
        if parent is None:
            return
        arguments = _arguments(event.tool_args)
        if event.tool_name in HANDOFFS:
            self._step(event, parent, f"hand off to {_coworker(arguments)}", "handoff", arguments)
        else:
            self._step(event, parent, event.tool_name, "tool_call", arguments)

    def _root(self, event: Any, parent: str | None, name: str, input: Any, agent: str | None = None) -> None:
        value = NOTHING if input is None else input
        if parent is not None:
            self._step(event, parent, name, "task", value, agent)
        else:
            self._runs.add(event.event_id)
            self.tree.begin_run(event.event_id, name, input=value, agent=agent, time=_time(event))

    def _step(
        self,
        event: Any,
        parent: str,
        name: str,
        kind: StepKind,
        input: Any,
        agent: str | None = None,
        model: str | None = None,
    ) -> None:
        time = _time(event)
        self.tree.begin(event.event_id, parent, name, kind, agent=agent, model=model, input=input, time=time)


def _time(event: Any) -> float:
    return float(event.timestamp.timestamp())


def _role(agent: Any) -> str | None:
    role = getattr(agent, "role", None)
    return role.strip() if isinstance(role, str) else None


def _model(agent: Any) -> str | None:
    model = getattr(getattr(agent, "llm", None), "model", None)
    return model if isinstance(model, str) else None


def _provider(model: Any) -> str | None:
    name = getattr(model, "provider", None)
    return PRICE_LISTS.get(name, name) if isinstance(name, str) else None


def _cause() -> dict[str, str]:
    """A crew that goes on from a checkpoint tells again what it had done: that was paid for before."""
    return {"cause": "replay"} if is_replaying() else {}


def _arguments(written: Any) -> Any:
    """Arguments of a tool: agents that write them themselves (ReAct) give text."""
    if isinstance(written, str):
        try:
            return json.loads(written)
        except ValueError:
            return written
    return written


def _coworker(arguments: Any) -> str:
    return str(arguments.get("coworker") or "a coworker") if isinstance(arguments, Mapping) else "a coworker"


def _tags(event: Any) -> dict[str, object] | None:
    if not event.type.startswith("tool_usage_"):
        return None
    tags: dict[str, object] = {}
    if event.tool_name in HANDOFFS:
        tags |= {"to": _coworker(_arguments(event.tool_args)), "tool": event.tool_name}
    if event.run_attempts > 1:
        tags["attempt"] = event.run_attempts
    if getattr(event, "from_cache", False):
        tags["from_cache"] = True
    return tags


def _output(event: Any) -> Any:
    for name in ("output", "response", "result", "results", "memory_content", "retrieved_knowledge"):
        value = getattr(event, name, None)
        if value is not None:
            return getattr(value, "raw", value)
    return NOTHING


def _error(event: Any) -> Failure | None:
    failure = getattr(event, "failure", None)
    if failure is not None:  # a tool that returned, and says that it did not do it
        return failed(failure.code or failure.reason.value, failure.message)
    error = getattr(event, "error", None)
    if error is None:
        return None
    kind = getattr(event, "error_type", None) or (type(error) if isinstance(error, BaseException) else None)
    what = "".join(word.title() for word in event.type.rpartition("_")[0].split("_"))
    return failed(kind.__name__ if isinstance(kind, type) else f"{what}Failed", error)
