"""`Service`: the answers to a client, as JSON of the protocol."""

# ruff: noqa: TID253 - the server imports this module when it runs

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.toolbox import PROTOCOL, TOOLS, ToolProblem, as_text
from tracecraft.integrations.toolbox.problem import INVALID_ARGUMENTS, NOT_FOUND
from tracecraft_cli.mcp import prompts, resources
from tracecraft_cli.mcp.rpc import BROKEN, WRONG, Unanswerable
from tracecraft_cli.mcp.seat import Seat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tracecraft.integrations.toolbox import Tool

    Progress = Callable[[float, float, str], Awaitable[None]]
    """Tells a client how far a call is: seconds so far, seconds at most, words."""

NAME: Final = "tracecraft"
INSTRUCTIONS: Final = PROTOCOL
HEARTBEAT_S: Final = 5.0
"""Seconds between two signs of life while a tool blocks."""

NOT_THERE: Final = -32002
"""Error code of the protocol: no such resource."""
WARM_UP_S: Final = 0.1
"""Seconds after the tools were asked for, by which their list is on its way."""


class Service:
    """One client's server."""

    def __init__(self, flags: Mapping[str, str | None]) -> None:
        self._seat = Seat(flags)
        self._warming: asyncio.Task[None] | None = None

    async def tools(self) -> dict[str, Any]:
        """``tools/list``; afterwards there is time to load what the first call needs."""
        if self._warming is None:
            self._warming = asyncio.create_task(_warm_up())
        return {"tools": [_described(tool) for tool in TOOLS]}

    async def call(
        self, name: str, arguments: Mapping[str, Any] | None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """``tools/call``; a refusal is a result too, with the words on which a model can act."""
        try:
            async with _heartbeat(arguments, progress):
                result = await self._seat.call(name, arguments)
        except ToolProblem as trouble:
            return {
                "content": [{"type": "text", "text": f"{trouble.message}\n({trouble.code})"}],
                "isError": True,
                "_meta": {f"{NAME}/problem": trouble.as_dict()},
            }
        return {"content": [{"type": "text", "text": as_text(result)}], "structuredContent": result, "isError": False}

    async def resources(self) -> dict[str, Any]:
        """``resources/list``."""
        return {"resources": list(resources.RESOURCES)}

    async def templates(self) -> dict[str, Any]:
        """``resources/templates/list``."""
        return {"resourceTemplates": list(resources.TEMPLATES)}

    async def read(self, uri: str) -> dict[str, Any]:
        """``resources/read``. Raises `Unanswerable`."""
        found = resources.reading(uri)
        if found is None:
            known = ", ".join([one["uri"] for one in resources.RESOURCES])
            templates = ", ".join(one["uriTemplate"] for one in resources.TEMPLATES)
            raise Unanswerable(NOT_THERE, f"there is no resource {uri[:200]!r}; there are {known}, {templates}")
        try:
            result = await self._seat.call(*found)
        except ToolProblem as trouble:
            codes = {NOT_FOUND: NOT_THERE, INVALID_ARGUMENTS: WRONG}
            raise Unanswerable(codes.get(trouble.code, BROKEN), trouble.message) from trouble
        if result.get("exists") is False:
            raise Unanswerable(NOT_THERE, f"there is no value under {uri[:300]!r}")
        return {"contents": [{"uri": uri, "mimeType": resources.JSON, "text": as_text(result)}]}

    async def prompts(self) -> dict[str, Any]:
        """``prompts/list``."""
        return {"prompts": list(prompts.PROMPTS)}

    async def prompt(self, name: str, arguments: Mapping[str, str] | None) -> dict[str, Any]:
        """``prompts/get``. Raises `Unanswerable`."""
        text = prompts.text_of(name, arguments or {})
        if text is None:
            known = ", ".join(one["name"] for one in prompts.PROMPTS)
            raise Unanswerable(WRONG, f"there is no prompt {name[:80]!r}; there are {known}")
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}

    async def close(self) -> None:
        """The client is gone."""
        await self._seat.close()


def _described(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.parameters,
        "outputSchema": tool.result,
        "annotations": {
            "title": tool.title,
            "readOnlyHint": tool.read_only,
            "destructiveHint": tool.destructive,
            "idempotentHint": tool.idempotent,
            "openWorldHint": tool.open_world,
        },
    }


@contextlib.asynccontextmanager
async def _heartbeat(arguments: Mapping[str, Any] | None, progress: Progress | None) -> AsyncIterator[None]:
    """Tell a client that wants to know that the call is still alive; many give up on a silent one."""
    if progress is None:
        yield
        return
    beating = asyncio.create_task(_beat(progress, _longest(arguments or {})))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})


async def _beat(progress: Progress, total: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        so_far = round(loop.time() - began, 1)
        await progress(so_far, max(total, so_far), f"still waiting, {so_far:.0f} s of at most {total:.0f}")


def _longest(arguments: Mapping[str, Any]) -> float:
    """The seconds that a call may block, as its arguments say."""
    from tracecraft.integrations.toolbox.arguments import WAIT_S

    given = [value for key in ("timeout", "wait") if isinstance(value := arguments.get(key), int)]
    return float(max(given, default=WAIT_S))


async def _warm_up() -> None:
    await asyncio.sleep(WARM_UP_S)
    await asyncio.to_thread(_load)


def _load() -> None:
    import tracecraft.async_session
    import tracecraft.integrations.toolbox.verbs  # noqa: F401
