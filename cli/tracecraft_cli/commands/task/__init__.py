"""``tracecraft task``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "add": "Add a task.",
    "show": "Everything about a task.",
    "list": "List tasks.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.task", table=TABLE)
def command() -> None:
    """Tasks: units of work that one agent at a time holds, with dependencies."""
