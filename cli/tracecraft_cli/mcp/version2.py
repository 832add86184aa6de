"""The service on mcp 2.x: its low-level server, with our JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp import MCPError
from mcp import types as mcp_types
from mcp.server.lowlevel import Server

from tracecraft_cli.mcp.service import INSTRUCTIONS, NAME, Unanswerable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracecraft_cli.mcp.service import Progress, Service


def make(service: Service, version: str) -> Any:
    """The server of a service."""

    async def call(context: Any, asked: Any) -> dict[str, Any]:
        return await service.call(asked.name, asked.arguments, _progress(context))

    return Server(
        NAME,
        version=version,
        title=NAME,
        instructions=INSTRUCTIONS,
        on_list_tools=_handler(mcp_types.ListToolsResult, lambda _, __: service.tools()),
        on_call_tool=_handler(mcp_types.CallToolResult, call),
        on_list_resources=_handler(mcp_types.ListResourcesResult, lambda _, __: service.resources()),
        on_list_resource_templates=_handler(mcp_types.ListResourceTemplatesResult, lambda _, __: service.templates()),
        on_read_resource=_handler(mcp_types.ReadResourceResult, lambda _, asked: service.read(str(asked.uri))),
        on_list_prompts=_handler(mcp_types.ListPromptsResult, lambda _, __: service.prompts()),
        on_get_prompt=_handler(mcp_types.GetPromptResult, lambda _, asked: service.prompt(asked.name, asked.arguments)),
    )


def _handler(result: Any, answer: Callable[[Any, Any], Awaitable[dict[str, Any]]]) -> Any:
    async def handle(context: Any, asked: Any) -> Any:
        try:
            return result.model_validate(await answer(context, asked))
        except Unanswerable as error:
            raise MCPError(error.code, error.message) from error

    return handle


def _progress(context: Any) -> Progress | None:
    """How to tell the client how far a call is; ``None`` when it does not want to know."""
    if not context.meta or context.meta.get("progress_token") is None:
        return None
    tell: Progress = context.session.report_progress
    return tell
