"""``tracecraft mcp`` as a process: it serves the client on standard input and output until that is gone."""

# ruff: noqa: TID253 - the command imports this module when it runs

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import TYPE_CHECKING, Final

from tracecraft_cli.mcp.protocol import Protocol
from tracecraft_cli.mcp.rpc import Conversation
from tracecraft_cli.mcp.service import Service
from tracecraft_cli.mcp.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

GOODBYE_S: Final = 8.0
"""Seconds that leaving may take; clients kill a server that stays, sooner or later."""


async def serve(flags: Mapping[str, str | None]) -> None:
    """Serve the client on standard input and output until it closes them, or ends us."""
    wire, service = Wire(), Service(flags)
    conversation = Conversation(Protocol(service, metadata.version("tracecraft-nats")).answer, wire.write)
    following = asyncio.create_task(conversation.follow(wire))
    gone = asyncio.create_task(wire.ended.wait())
    try:
        await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _leave(service, conversation, following, gone)
    if not following.cancelled():
        following.result()


async def _leave(service: Service, conversation: Conversation, *tasks: asyncio.Task[object]) -> None:
    """First the claims: a call that still blocks must not keep them."""
    try:
        async with asyncio.timeout(GOODBYE_S):
            await service.close()
    except TimeoutError:
        pass
    for task in tasks:
        task.cancel()
    await asyncio.wait({*tasks, asyncio.create_task(conversation.end())}, timeout=1)
