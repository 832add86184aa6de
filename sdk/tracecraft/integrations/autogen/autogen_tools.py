"""Tracecraft's verbs as tools of an AutoGen agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autogen_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict

from tracecraft.integrations.autogen.model_calls import tell_refusal
from tracecraft.integrations.toolbox import TOOLS, Toolbox, ToolProblem, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft.integrations.toolbox import Tool


def tools(agent: str | None = None, *, project: str | None = None, box: Toolbox | None = None) -> list[AutoGenTool]:
    """Tools for ``AssistantAgent(tools=…)``: shared memory, messages, tasks, claims, under the name ``agent``.

    Every agent that coordinates needs its own, as each has a mailbox and claims of its own. ``box`` is a toolbox that
    you have made, and close.
    """
    toolbox = box if box is not None else Toolbox(agent=agent, project=project)
    return [AutoGenTool(tool, toolbox) for tool in TOOLS]


class Arguments(BaseModel):
    """Any: the toolbox checks them, and says what is wrong in words for a model."""

    model_config = ConfigDict(extra="allow")


class AutoGenTool(BaseTool[Any, Any]):
    """One verb."""

    def __init__(self, tool: Tool, box: Toolbox) -> None:
        self._verb, self._box = tool, box
        super().__init__(Arguments, str, tool.long_name, tool.description)

    @property
    def schema(self) -> Any:
        """As AutoGen sends it to a model."""
        schema = {"name": self._verb.long_name, "description": self._verb.description, "strict": False}
        return {**schema, "parameters": self._verb.parameters}

    async def run_json(self, args: Any, cancellation_token: Any, call_id: str | None = None) -> Any:
        """`run`, as AutoGen calls it. The stream has only the words of a refusal, so its recorder is told of it."""
        try:
            return await super().run_json(args, cancellation_token, call_id)
        except ToolProblem as problem:
            tell_refusal(call_id, problem)
            raise

    async def run(self, args: Any, cancellation_token: Any) -> str:
        """Call the verb. A refusal is raised: AutoGen tells its words to the model, and that the tool failed."""
        given: Mapping[str, Any] = args.model_dump()
        return as_text(await self._box.call(self._verb.name, given))
