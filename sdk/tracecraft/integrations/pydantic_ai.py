"""pydantic-ai 2: ``Agent(model, capabilities=[Tracecraft()])``.

A capability wraps the agent's run, each of its model requests and each tool call. An agent that runs inside of another
one's tool lies inside of that tool's step, and the tool is a handoff; tokens are those of the single requests, never
the totals that agents share (``usage=ctx.usage``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import Tree
from tracecraft.recording.step import current_step

with needs("pydantic-ai"):
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, SkipToolExecution
    from pydantic_ai.messages import ModelMessagesTypeAdapter
    from pydantic_ai.tools import Tool as AgentTool
    from pydantic_core import to_jsonable_python


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import RunContext, ToolDefinition

    from tracecraft.integrations.toolbox import Tool, Toolbox
    from tracecraft.session import Session

__all__ = ["Tracecraft", "flush", "tools"]

DEFERRED: Final = (CallDeferred, ApprovalRequired, SkipToolExecution)
"""Ways to leave a tool that are no failure."""


@dataclass
class Tracecraft(AbstractCapability[Any]):
    """Records what an agent does; given twice it does so once.

    ``session`` is whose runs they are (default: those of `tracecraft.init`, else of the environment). Inside of
    ``with tracecraft.run(…)`` everything lies in that run.
    """

    id: str | None = "tracecraft"
    session: Session | None = None

    @cached_property
    def _tree(self) -> Tree:
        return Tree.shared("pydantic-ai", self.session)

    async def wrap_run(
        self, ctx: RunContext[Any], *, handler: Callable[[], Awaitable[AgentRunResult[Any]]]
    ) -> AgentRunResult[Any]:
        """The agent runs."""
        key = ("run", ctx.run_id)
        self._begin_run(key, ctx)
        try:
            with self._tree.inside(key):
                result = await handler()
        except BaseException as error:
            self._end_run(key, error=error)
            raise
        self._end_run(key, output=result)
        return result

    @guarded
    def _begin_run(self, key: Hashable, ctx: RunContext[Any]) -> None:
        name = getattr(ctx.agent, "name", None) or "agent"
        outer = current_step()
        if outer is not None and outer.kind == "tool_call" and outer.id in self._tree:
            self._tree.handoff(uuid4(), outer.id, name)
        tags = {"conversation": ctx.conversation_id} if ctx.conversation_id else {}
        self._tree.begin_run(key, name, input=plain(ctx.prompt), tags=tags, agent=name)

    @guarded
    def _end_run(self, key: Hashable, *, output: Any = None, error: BaseException | None = None) -> None:
        told = {} if output is None else {"output": plain(output.output)}
        self._tree.end_run(key, error=error, **told)

    async def wrap_model_request(
        self,
        ctx: RunContext[Any],
        *,
        request_context: ModelRequestContext,
        handler: Callable[[ModelRequestContext], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """The model is asked."""
        key = uuid4()
        self._begin_request(key, ctx, request_context)
        try:
            with self._tree.inside(key):
                response = await handler(request_context)
        except BaseException as error:
            self._end(key, error=error)
            raise
        self._end_request(key, response)
        return response

    @guarded
    def _begin_request(self, key: Hashable, ctx: RunContext[Any], request: ModelRequestContext) -> None:
        model = request.model.model_name
        asked = ModelMessagesTypeAdapter.dump_python(request.messages, mode="json")
        self._tree.begin(key, ("run", ctx.run_id), model, "llm", model=model, input=asked)

    @guarded
    def _end_request(self, key: Hashable, response: ModelResponse) -> None:
        usage = response.usage
        reasoning = min(usage.output_tokens, int((usage.details or {}).get("reasoning_tokens", 0)))
        cached, written = usage.cache_read_tokens, usage.cache_write_tokens
        self._tree.usage(
            key,
            input=max(0, usage.input_tokens - cached - written),
            cache_read=cached,
            cache_write=written,
            output=usage.output_tokens - reasoning,
            reasoning=reasoning,
            model=response.model_name,
            provider=response.provider_name,
            request=response.provider_response_id,
        )
        self._tree.end(key, output=to_jsonable_python(response.parts, fallback=repr))

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> Any:
        """A tool is called; what it records itself lies in its step."""
        key = uuid4()
        self._begin_tool(key, ctx, tool_def.name, args)
        step = self._tree.step(key)
        if step is not None:
            self._tree.alias(step.id, key)  # by which an agent that runs inside of it finds it
        try:
            with self._tree.inside(key):
                result = await handler(args)
        except DEFERRED as left:
            self._end(key, output=type(left).__name__)
            raise
        except BaseException as error:
            self._end(key, error=error)
            raise
        self._end(key, output=result)
        return result

    @guarded
    def _begin_tool(self, key: Hashable, ctx: RunContext[Any], name: str, args: dict[str, Any]) -> None:
        self._tree.begin(key, ("run", ctx.run_id), name, "tool_call", input=plain(args))
        step = self._tree.step(key)
        if step is not None and ctx.retry:
            step.set_tag("attempt", ctx.retry + 1)

    @guarded
    def _end(self, key: Hashable, *, output: Any = None, error: BaseException | None = None) -> None:
        told = {} if error is not None else {"output": plain(output)}
        self._tree.end(key, error=error, **told)


def tools(toolbox: Toolbox | None = None, *, agent: str | None = None) -> list[AgentTool[Any]]:
    """Shared memory, messages, claims and the rest as tools for an agent, which act as ``agent``.

    For example ``Agent(model, tools=tools(agent="writer"))``; ``toolbox`` is for one that is open already.
    """
    from tracecraft.integrations.toolbox import TOOLS, Toolbox

    box = toolbox or Toolbox(agent=agent)
    return [_agent_tool(box, tool) for tool in TOOLS]


def _agent_tool(box: Toolbox, tool: Tool) -> AgentTool[Any]:
    async def call(**arguments: Any) -> str:
        return await box.answer(tool.name, arguments)

    return AgentTool.from_schema(call, tool.long_name, tool.description, tool.parameters)


def plain(value: Any) -> Any:
    """A value of the agent's as JSON."""
    return to_jsonable_python(value, fallback=repr)
