"""``tracecraft plan``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "apply": "Make the tasks be as planned.",
    "check": "Check a plan; asks no server.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.plan", table=TABLE)
def command() -> None:
    """Plans: many tasks with dependencies, from one YAML or JSON file."""
