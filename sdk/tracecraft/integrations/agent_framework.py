"""Microsoft Agent Framework: ``Agent(client, middleware=tracecraft_middleware())``.

Three middlewares wrap an agent's runs, its model calls and its tools. An agent that runs inside of another one's tool
lies inside of that tool's step. Tokens are those of the single model calls: an agent's response only sums them up.
A stream works while it is read, so it is followed from its first update to its last.
"""

from __future__ import annotations

import json
import weakref
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import Tree

with needs("agent-framework"):
    from agent_framework import (
        AgentMiddleware,
        ChatMiddleware,
        FunctionMiddleware,
        FunctionTool,
        MiddlewareTermination,
        ResponseStream,
    )
    from agent_framework.exceptions import UserInputRequiredException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping

    from agent_framework import AgentContext, ChatContext, FunctionInvocationContext

    from tracecraft.integrations.toolbox import Tool, Toolbox
    from tracecraft.session import Session

__all__ = ["flush", "tools", "tracecraft_middleware"]

LEFT: Final = (MiddlewareTermination, UserInputRequiredException)
"""Ways to leave an agent, a model call or a tool that are no failure."""
HANDED: Final = "handoff_to"
"""In what a tool returns whose call hands over to another agent (orchestrations' ``HandoffBuilder``)."""

_place: Final[ContextVar[Hashable]] = ContextVar("tracecraft_agent_framework_place", default=None)
"""The innermost of an agent's run, a model call and a tool that this code runs inside of."""


def tracecraft_middleware(
    session: Session | None = None,
) -> list[AgentMiddleware | ChatMiddleware | FunctionMiddleware]:
    """The middleware that records what an agent does; given twice, or to agent and run, it does so once.

    ``session`` is whose runs they are (default: those of `tracecraft.init`, else of the environment). Inside of
    ``with tracecraft.run(…)`` everything lies in that run.
    """
    tree = Tree.shared("agent-framework", session)
    return [AgentRuns(tree), ModelCalls(tree), ToolCalls(tree)]


class _Recording:
    """Wraps something that the framework does, and tells the tree when it begins and ends."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
        """The framework does it inside of ``call_next``, or, where it streams, while the result is read."""
        key = uuid4()
        if not self._starts(key, context):
            await call_next()
            return
        try:
            with self._inside(key):
                await call_next()
        except LEFT:
            self._end(key, context.result)
            raise
        except BaseException as error:
            self._fail(key, error)
            raise
        if isinstance(context.result, ResponseStream):
            self._follow(context.result, key)
        else:
            self._end(key, context.result)

    @guarded
    def _starts(self, key: Hashable, context: Any) -> bool:
        mark = f"tracecraft {id(self._tree)}"  # in what middlewares of one call share
        if mark in context.metadata:
            return False
        context.metadata[mark] = True
        self._begin(key, context)
        return key in self._tree

    @guarded
    def _follow(self, stream: ResponseStream[Any, Any], key: Hashable) -> None:
        @contextmanager
        def pulling() -> Iterator[None]:
            try:
                with self._inside(key):
                    yield
            except StopAsyncIteration:
                raise
            except BaseException as error:
                self._fail(key, error)
                raise

        stream.with_pull_context_manager(pulling)
        stream.with_result_hook(lambda result: self._end(key, result))
        weakref.finalize(stream, self._end, key, None)  # somebody stopped reading

    @contextmanager
    def _inside(self, key: Hashable) -> Iterator[None]:
        token = _place.set(key)
        try:
            with self._tree.inside(key):
                yield
        finally:
            _place.reset(token)

    def _begin(self, key: Hashable, context: Any) -> None:
        raise NotImplementedError

    def _end(self, key: Hashable, result: Any) -> None:
        raise NotImplementedError

    @guarded
    def _fail(self, key: Hashable, error: BaseException) -> None:
        self._tree.end(key, error=error)


class AgentRuns(_Recording, AgentMiddleware):
    """An agent's runs; one inside of a tool of another agent is a handoff."""

    def _begin(self, key: Hashable, context: AgentContext) -> None:
        name = context.agent.name or "agent"
        outer = self._tree.step(_place.get())
        if outer is not None and outer.kind == "tool_call":
            self._tree.handoff(uuid4(), _place.get(), name)
        tags = {} if context.session is None else {"session": context.session.session_id}
        self._tree.begin_run(key, name, input=plain(context.messages), tags=tags, agent=name)

    @guarded
    def _end(self, key: Hashable, result: Any) -> None:
        self._tree.end_run(key, **({} if result is None else {"output": result.text}))

    @guarded
    def _fail(self, key: Hashable, error: BaseException) -> None:
        self._tree.end_run(key, error=error)


class ModelCalls(_Recording, ChatMiddleware):
    """An agent's model calls, each with its own tokens."""

    def _begin(self, key: Hashable, context: ChatContext) -> None:
        options = context.options or {}
        model = options.get("model") or getattr(context.client, "model", None) or "model"
        asked = plain(context.messages)
        if options.get("instructions"):
            asked = [{"role": "system", "contents": [{"type": "text", "text": options["instructions"]}]}, *asked]
        self._tree.begin(key, _place.get(), model, "llm", model=model, input=asked)

    @guarded
    def _end(self, key: Hashable, result: Any) -> None:
        if result is None:
            self._tree.end(key)
            return
        if result.usage_details:
            counted = buckets(result.usage_details)
            self._tree.usage(key, model=result.model, request=result.response_id, **counted)
        self._tree.end(key, output=plain(result.messages))


class ToolCalls(_Recording, FunctionMiddleware):
    """An agent's tools; what a tool records itself lies in its step."""

    def _begin(self, key: Hashable, context: FunctionInvocationContext) -> None:
        arguments = context.arguments
        told = dict(arguments) if hasattr(arguments, "keys") else arguments.model_dump(mode="json")
        self._tree.begin(key, _place.get(), context.function.name, "tool_call", input=told)

    @guarded
    def _end(self, key: Hashable, result: Any) -> None:
        output = plain(result)
        if isinstance(output, dict) and isinstance(output.get(HANDED), str):
            self._tree.handoff(uuid4(), key, output[HANDED])
        self._tree.end(key, output=output)


def buckets(usage: Mapping[str, Any]) -> dict[str, int]:
    """Tokens of one call, disjoint. Anthropic's client alone does not count cached ones as input; its keys show it."""
    cached = usage.get("cache_read_input_token_count") or 0
    written = usage.get("cache_creation_input_token_count") or 0
    counted, said = usage.get("input_token_count") or 0, usage.get("output_token_count") or 0
    if not any(name.startswith("anthropic.") for name in usage):
        counted = max(0, counted - cached - written)
    reasoning = min(said, usage.get("reasoning_output_token_count") or 0)
    return {
        "input": counted,
        "cache_read": cached,
        "cache_write": written,
        "output": said - reasoning,
        "reasoning": reasoning,
    }


def tools(toolbox: Toolbox | None = None, *, agent: str | None = None) -> list[FunctionTool]:
    """Shared memory, messages, claims and the rest as tools for an agent, which act as ``agent``.

    For example ``Agent(client, tools=tools(agent="writer"))``; ``toolbox`` is for one that is open already.
    """
    from tracecraft.integrations.toolbox import TOOLS, Toolbox

    box = toolbox or Toolbox(agent=agent)
    return [_function_tool(box, tool) for tool in TOOLS]


def _function_tool(box: Toolbox, tool: Tool) -> FunctionTool:
    async def call(**arguments: Any) -> str:
        return await box.answer(tool.name, arguments)

    return FunctionTool(name=tool.long_name, description=tool.description, input_model=tool.parameters, func=call)


def plain(value: Any) -> Any:
    """Messages and contents as plain data; a tool's result, which is text, as what the text says."""
    if isinstance(value, (list, tuple)):
        if value and all(getattr(one, "type", "") == "text" for one in value):
            return _decoded("".join(one.text or "" for one in value))
        return [plain(one) for one in value]
    if hasattr(value, "role") and hasattr(value, "contents"):
        said = {"role": str(value.role), "contents": [plain(one) for one in value.contents]}
        return {**said, "name": value.author_name} if value.author_name else said
    if hasattr(value, "to_dict"):
        return {name: one for name, one in value.to_dict().items() if one or name != "additional_properties"}
    return value


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
