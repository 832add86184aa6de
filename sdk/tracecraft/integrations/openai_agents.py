"""OpenAI Agents SDK: ``add_trace_processor(TracecraftProcessor())``.

The SDK traces by itself; a processor is told of every span. Its agents become agents, its responses and generations
model calls, functions tools. Tokens are those of the single model calls: the totals of turns and tasks repeat them, and
count only where a model of the user's own makes no span.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations import closing
from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import NOTHING, Tree, failed
from tracecraft.recording.place import enter, step_out

with needs("openai-agents"):
    from agents import FunctionTool
    from agents.tracing import TracingProcessor


if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.tool_context import ToolContext
    from agents.tracing import Span, Trace

    from tracecraft.integrations.toolbox import Tool, Toolbox
    from tracecraft.recording.step import Step
    from tracecraft.session import Session
    from tracecraft_core.run_events import Failure

__all__ = ["TracecraftProcessor", "flush", "tools"]

PASSED: Final = ("task", "turn", "mcp_tools")
"""Spans that are no steps of ours: what is in them lies in what is around them."""
MODELS: Final = ("response", "generation")


class TracecraftProcessor(TracingProcessor):
    """A trace processor that records what agents do; any number of them record it once.

    ``session`` is whose runs they are (default: those of `tracecraft.init`, else of the environment). Inside of
    ``with tracecraft.run(…)`` everything lies in that run.
    """

    def __init__(self, session: Session | None = None) -> None:
        self._tree = Tree.shared("openai-agents", session)
        self._inside: dict[str, Step] = {}
        self._turns: dict[str, str] = {}
        """The turn in which a span lies."""
        self._counted: dict[str, Counter[str]] = {}
        """Tokens of a turn that its own spans tell of."""
        self._answers: dict[str, Any] = {}
        """What a trace's last model call answered."""
        self._errors: dict[str, Failure] = {}
        """Why a trace's outermost agent failed."""

    # -- traces -----------------------------------------------------------------------------------------------------

    @guarded
    def on_trace_start(self, trace: Trace) -> None:
        """A workflow begins."""
        told = trace.export() or {}
        tags = {str(name): value for name, value in (told.get("metadata") or {}).items()}
        if told.get("group_id"):
            tags["group"] = told["group_id"]
        self._tree.begin_run(trace.trace_id, trace.name, tags=tags)

    @guarded
    def on_trace_end(self, trace: Trace) -> None:
        """It is over; with an error where an agent failed."""
        answer, error = self._answers.pop(trace.trace_id, None), self._errors.pop(trace.trace_id, None)
        told = {} if answer is None else {"output": answer}
        self._tree.end_run(trace.trace_id, error=error, **told)

    # -- spans ------------------------------------------------------------------------------------------------------

    @guarded
    def on_span_start(self, span: Span[Any]) -> None:
        """Something begins inside of something else."""
        key, data = span.span_id, span.span_data
        parent = span.parent_id or span.trace_id
        self._turns[key] = key if data.type == "turn" else self._turns.get(parent, "")
        if data.type in PASSED:
            self._tree.alias(key, parent)
        elif data.type == "agent":
            self._begin_agent(key, parent, data.name)
        elif data.type in MODELS:
            self._tree.begin(key, parent, getattr(data, "model", None) or data.type, "llm")
        elif data.type == "function":
            self._begin_tool(key, parent, data)
        elif data.type != "handoff":
            self._tree.begin(key, parent, getattr(data, "name", None) or data.type)

    def _begin_agent(self, key: str, parent: str, name: str) -> None:
        outer = self._tree.step(parent)
        if outer is not None and outer.kind == "tool_call":  # an agent as a tool of another one
            self._tree.handoff((key, "handoff"), parent, name)
        self._tree.begin_agent(key, parent, name)

    def _begin_tool(self, key: str, parent: str, data: Any) -> None:
        known = key in self._tree
        self._tree.begin(key, parent, data.name, "tool_call")
        step = self._tree.step(key)
        if step is not None and not known:
            enter(step)
            self._inside[key] = step

    @guarded
    def on_span_end(self, span: Span[Any]) -> None:
        """It has ended, and says what went in and came out only now."""
        key, data, error = span.span_id, span.span_data, _failure(span.error)
        step = self._inside.pop(key, None)
        if step is not None:
            step_out(step)
        turn = self._turns.pop(key, "")
        if data.type in MODELS:
            self._end_model(span, error, turn)
        elif data.type == "function":
            self._tell_input(key, _decoded(data.input))
            self._tree.end(key, output=_decoded(data.output), error=error)
        elif data.type == "handoff":
            parent = span.parent_id or span.trace_id
            self._tree.handoff(key, parent, data.to_agent or "nobody", agent=data.from_agent)
        elif data.type == "turn":
            self._end_turn(key, data)
        elif data.type == "task":
            self._count(self._turns.get(span.parent_id or "", ""), data.usage)
        elif data.type == "agent":
            if error is not None:
                self._errors[span.trace_id] = error
        elif data.type not in PASSED:
            self._tree.end(key, output=data.export(), error=error)

    def _end_model(self, span: Span[Any], error: Failure | None, turn: str) -> None:
        data, key = span.span_data, span.span_id
        response = getattr(data, "response", None)
        model = getattr(response, "model", None) or getattr(data, "model", None)
        step = self._tree.step(key)
        if step is not None and model and not step.over:
            step.name = model
        self._tell_input(key, _with_instructions(data.input, response))
        output = [item.model_dump(mode="json", exclude_none=True) for item in response.output] if response else None
        output = output if output is not None else getattr(data, "output", None)
        usage = getattr(response, "usage", None) or _with_details(data.usage)
        if usage:
            self._tree.usage(key, usage, model=model, provider="openai" if response else None, request=_id(response))
            self._count(turn, {"model": 1})
        if output:
            self._answers[span.trace_id] = getattr(response, "output_text", None) or output
        self._tree.end(key, error=error, output=NOTHING if output is None else output)

    def _tell_input(self, key: str, value: Any) -> None:
        step = self._tree.step(key)
        if step is not None and not step.over and value is not None:
            step.log_input(value)

    # -- tokens of models that make no span -------------------------------------------------------------------------

    def _count(self, turn: str, usage: Mapping[str, Any] | None) -> None:
        if turn and usage:
            counted = self._counted.setdefault(turn, Counter())
            counted.update({name: count for name, count in usage.items() if isinstance(count, int)})

    def _end_turn(self, key: str, data: Any) -> None:
        """A turn repeats the tokens of its model call, and of agents that were called as tools."""
        counted = self._counted.pop(key, Counter())
        if counted["model"] or not data.usage:
            return
        left = {name: count - counted[name] for name, count in data.usage.items() if isinstance(count, int)}
        cached, written = left.get("cached_input_tokens", 0), left.get("cache_write_input_tokens", 0)
        mark = (key, "usage")
        self._tree.begin(mark, key, "model", "llm", agent=data.agent_name)
        self._tree.usage(
            mark,
            input=left.get("input_tokens", 0) - cached - written,
            cache_read=cached,
            cache_write=written,
            output=left.get("output_tokens", 0),
        )
        self._tree.end(mark)

    def shutdown(self) -> None:
        """Wait until the runs that are over are delivered, or lie in the spool."""
        closing.flush()

    def force_flush(self) -> None:
        """The same."""
        closing.flush()


def tools(toolbox: Toolbox | None = None, *, agent: str | None = None) -> list[FunctionTool]:
    """Shared memory, messages, claims and the rest as tools for an agent, which act as ``agent``.

    For example ``Agent(name="writer", tools=tools(agent="writer"))``; ``toolbox`` is for one that is open already.
    """
    from tracecraft.integrations.toolbox import TOOLS, Toolbox

    box = toolbox or Toolbox(agent=agent)
    return [_function_tool(box, tool) for tool in TOOLS]


def _function_tool(box: Toolbox, tool: Tool) -> FunctionTool:
    async def call(_: ToolContext[Any], arguments: str) -> str:
        return await box.answer(tool.name, _decoded(arguments) or {})

    return FunctionTool(
        name=tool.long_name,
        description=tool.description,
        params_json_schema=tool.parameters,
        on_invoke_tool=call,
        strict_json_schema=False,
    )


def _failure(error: Any) -> Failure | None:
    """The SDK tells of an error in words; those of a tool's exception it mostly keeps to itself."""
    if not error:
        return None
    message, said = error.get("message", "failed"), (error.get("data") or {}).get("error")
    return failed("AgentsError", f"{message}: {said}" if said else message)


def _with_instructions(asked: Any, response: Any) -> Any:
    instructions = getattr(response, "instructions", None)
    return asked if not instructions else [{"role": "system", "content": instructions}, *(asked or [])]


def _with_details(usage: Mapping[str, Any] | None) -> Any:
    """A generation's usage, whose totals include what its details say: without any it must not look like another's."""
    if not usage or "input_tokens" not in usage:
        return usage
    return {"input_tokens_details": {}, **usage}


def _id(response: Any) -> str | None:
    return getattr(response, "id", None)


def _decoded(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
