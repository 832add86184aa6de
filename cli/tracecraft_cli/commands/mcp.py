"""``tracecraft mcp``."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.runner import guard


@click.command()
@common
def command(common: Common) -> None:
    """Serve the Model Context Protocol on standard input and output.

    For the configuration of an MCP client; a person has no use for it. The client's model gets 16 tools (claim,
    complete, send, inbox, wait, memory, reserve, log, …), resources and prompts. It answers at once, connects to
    the bus at the first call, and ends when its input is closed.

    Example: tracecraft mcp --agent writer
    """
    guard(common.as_json, lambda: _serve(common))


def _serve(common: Common) -> None:
    import asyncio
    import logging

    from tracecraft_cli.mcp import server

    logging.basicConfig(format="tracecraft mcp: %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    asyncio.run(server.serve(common.flags))
