"""The server on the mcp package: one module a major version, and the loop that serves a client until it is gone."""

# ruff: noqa: TID253 - the server imports this module when it runs

from __future__ import annotations

import asyncio
import logging
from importlib import metadata, util
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_cli.mcp.service import Service
    from tracecraft_cli.mcp.wire import Wire

logger = logging.getLogger(__name__)

MISSING: Final = "tracecraft mcp needs the mcp package: pip install 'tracecraft-nats[mcp]'"
GOODBYE_S: Final = 8.0
"""Seconds that leaving may take; clients kill a server that stays, sooner or later."""


class NoServer(TracecraftError):
    """The mcp package is missing, or one that we do not know."""


def check() -> None:
    """Raise `NoServer` when the mcp package is not there; costs nothing when it is."""
    if util.find_spec("mcp") is None:
        raise NoServer(MISSING)


async def serve(flags: Mapping[str, str | None]) -> None:
    """Serve the client on standard input and output until it closes them, or ends us."""
    from tracecraft_cli.mcp.service import Service
    from tracecraft_cli.mcp.wire import Wire

    wire, service = Wire(), Service(flags)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not (wire.ended.is_set() and _is_of_package(record)))
    serving = asyncio.create_task(_serve(service, wire))
    gone = asyncio.create_task(wire.ended.wait())
    try:
        await asyncio.wait({serving, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _leave(service, serving, gone)
    _look_back(serving, gone=wire.ended.is_set())


async def _leave(service: Service, *tasks: asyncio.Task[Any]) -> None:
    """First the claims: a call that still blocks must not keep them."""
    try:
        async with asyncio.timeout(GOODBYE_S):
            await service.close()
    except TimeoutError:
        pass
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=1)


def _is_of_package(record: logging.LogRecord) -> bool:
    """Whether the mcp package says it; 1.x warns in the root logger of each message that the client's end cut off."""
    return record.name == "root" or record.name.partition(".")[0] == "mcp"


def _look_back(serving: asyncio.Task[None], *, gone: bool) -> None:
    """Raise what ended the service, unless the client went: the package stumbles over what it cannot answer then."""
    if not serving.done() or serving.cancelled():
        return
    error = serving.exception()
    if error is None:
        return
    if isinstance(error, NoServer) or not gone:
        raise error
    logger.debug("the client went before it was answered", exc_info=error)


async def _serve(service: Service, wire: Wire) -> None:
    try:
        from mcp.server.stdio import stdio_server
    except ImportError as error:  # for instance an old one beside a pydantic that it does not know
        raise NoServer(f"the mcp package does not load ({error}): pip install -U 'tracecraft-nats[mcp]'") from error

    server = _server(service)
    async with stdio_server(wire, wire) as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def _server(service: Service) -> Any:
    """The package's server, wired to ours; 2.x is not compatible with 1.x."""
    version = metadata.version("tracecraft-nats")
    major = int(metadata.version("mcp").split(".")[0])
    if major == 1:
        from tracecraft_cli.mcp import version1

        return version1.make(service, version)
    if major == 2:
        from tracecraft_cli.mcp import version2

        return version2.make(service, version)
    raise NoServer(f"tracecraft mcp knows the mcp package 1.10 to 2.x, and here is {metadata.version('mcp')}")
