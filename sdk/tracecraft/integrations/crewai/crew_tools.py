"""Tracecraft's verbs as tools of a CrewAI agent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from crewai.events.event_context import get_current_parent_id
from crewai.tools import BaseTool
from crewai.tools.tool_failure import ToolFailure
from crewai.utilities.pydantic_schema_utils import create_model_from_schema
from pydantic import PrivateAttr

from tracecraft.integrations.crewai.callback import known_tree, wait_for
from tracecraft.integrations.toolbox import TOOLS, Toolbox, ToolProblem, as_text

if TYPE_CHECKING:
    from tracecraft.integrations.toolbox import Tool

PATIENCE_S: Final = 0.2
"""How long a call waits for the step it lies in to be known, so that what it writes bears the step's mark."""


def tools(agent: str | None = None, *, project: str | None = None, box: Toolbox | None = None) -> list[BaseTool]:
    """Tools for ``Agent(tools=…)``: shared memory, messages, tasks, claims, under the name ``agent``.

    Every agent that coordinates needs its own, as each has a mailbox and claims of its own. ``box`` is a toolbox that
    you have made, and close.
    """
    toolbox = box if box is not None else Toolbox(agent=agent, project=project)
    return [CrewTool.of(tool, toolbox) for tool in TOOLS]


class CrewTool(BaseTool):
    """One verb."""

    _verb: str = PrivateAttr()
    _box: Any = PrivateAttr()

    @classmethod
    def of(cls, tool: Tool, box: Toolbox) -> CrewTool:
        """The verb in CrewAI's form."""
        schema = create_model_from_schema(tool.parameters, model_name=f"{tool.long_name}_arguments")
        # CrewAI keeps what a tool has answered, and answers the same arguments from there: not where others act too.
        made = cls(
            name=tool.long_name, description=tool.description, args_schema=schema, cache_function=never_from_the_cache
        )
        made._verb, made._box = tool.name, box
        return made

    def _run(self, **arguments: Any) -> Any:
        key = get_current_parent_id()
        tree = known_tree()
        if tree is None or key is None:
            return self._call(arguments)
        wait_for(key, PATIENCE_S)
        with tree.inside(key):
            return self._call(arguments)

    async def _arun(self, **arguments: Any) -> Any:
        return await asyncio.to_thread(self._run, **arguments)

    def _call(self, arguments: dict[str, Any]) -> Any:
        try:
            return as_text(self._box.call_blocking(self._verb, arguments))
        except ToolProblem as problem:
            return ToolFailure(message=str(problem), code=problem.code, retryable=problem.retry, details=problem.facts)


def never_from_the_cache(_arguments: Any = None, _result: Any = None) -> bool:
    """No answer is kept."""
    return False
