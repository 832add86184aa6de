"""The service on mcp 1.x: its low-level server, with our JSON in place of its decorators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp import McpError, types
from mcp.server.lowlevel import Server

from tracecraft_cli.mcp.service import INSTRUCTIONS, NAME, Unanswerable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracecraft_cli.mcp.service import Progress, Service


def make(service: Service, version: str) -> Any:
    """The server of a service."""
    server = Server(NAME, version=version, instructions=INSTRUCTIONS)

    async def call(request: Any) -> dict[str, Any]:
        return await service.call(request.params.name, request.params.arguments, _progress(server))

    answers: dict[Any, tuple[Any, Callable[[Any], Awaitable[dict[str, Any]]]]] = {
        types.ListToolsRequest: (types.ListToolsResult, lambda _: service.tools()),
        types.CallToolRequest: (types.CallToolResult, call),
        types.ListResourcesRequest: (types.ListResourcesResult, lambda _: service.resources()),
        types.ListResourceTemplatesRequest: (types.ListResourceTemplatesResult, lambda _: service.templates()),
        types.ReadResourceRequest: (types.ReadResourceResult, lambda asked: service.read(str(asked.params.uri))),
        types.ListPromptsRequest: (types.ListPromptsResult, lambda _: service.prompts()),
        types.GetPromptRequest: (
            types.GetPromptResult,
            lambda asked: service.prompt(asked.params.name, asked.params.arguments),
        ),
    }
    for request, (result, answer) in answers.items():
        server.request_handlers[request] = _handler(result, answer)
    return server


def _handler(result: Any, answer: Callable[[Any], Awaitable[dict[str, Any]]]) -> Any:
    async def handle(request: Any) -> Any:
        try:
            return types.ServerResult(result.model_validate(await answer(request)))
        except Unanswerable as error:
            raise McpError(types.ErrorData(code=error.code, message=error.message)) from error

    return handle


def _progress(server: Any) -> Progress | None:
    """How to tell the client how far the call is that is being handled; ``None`` when it does not want to know."""
    context = server.request_context
    token = context.meta.progressToken if context.meta is not None else None
    if token is None:
        return None

    async def tell(so_far: float, total: float, words: str) -> None:
        await context.session.send_progress_notification(token, so_far, total, words, str(context.request_id))

    return tell
