"""``tracecraft run``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "start": "Begin a run; it is then current for this agent in this folder.",
    "log-metric": "Log a number, for example a loss.",
    "log-param": "Log a parameter, for example a learning rate.",
    "log-artifact": "Keep a file or a folder.",
    "log-step": "Log one step that is over: a model call, a tool call.",
    "end": "End the run.",
    "exec": "Run a program as a run: output, exit code, git state, times.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.run", table=TABLE)
def command() -> None:
    """Write a run: what was tried, with which parameters, and what came of it.

    Example: tracecraft run start probe --param lr=0.001 && tracecraft run log-metric loss 0.31 && tracecraft run end
    """
