"""`tools`: memory, messages and claims as an MCP server inside of the program, as the Claude Agent SDK takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from claude_agent_sdk import create_sdk_mcp_server, tool

if TYPE_CHECKING:
    from claude_agent_sdk import SdkMcpTool

    from tracecraft.integrations.toolbox import Tool, Toolbox

NAME: Final = "tracecraft"
"""Of the server: its tools are ``mcp__tracecraft__claim`` and so on."""


def tools(toolbox: Toolbox | None = None, *, agent: str | None = None) -> Any:
    """A server for ``ClaudeAgentOptions(mcp_servers={"tracecraft": tools(agent="writer")})``, acting as ``agent``.

    Let them be called without asking by ``allowed_tools=["mcp__tracecraft"]``; ``toolbox`` is for one that is open.
    """
    from tracecraft.integrations.toolbox import TOOLS, Toolbox

    box = toolbox or Toolbox(agent=agent)
    return create_sdk_mcp_server(NAME, tools=[_sdk_tool(box, one) for one in TOOLS])


def _sdk_tool(box: Toolbox, one: Tool) -> SdkMcpTool[Any]:
    @tool(one.name, one.description, one.parameters)
    async def call(arguments: dict[str, Any]) -> dict[str, Any]:
        from tracecraft.integrations.toolbox import ToolProblem, as_text

        try:
            text, failed = as_text(await box.call(one.name, arguments)), False
        except ToolProblem as problem:
            text, failed = as_text({"error": problem.as_dict()}), True
        return {"content": [{"type": "text", "text": text}], "is_error": failed}

    return call
