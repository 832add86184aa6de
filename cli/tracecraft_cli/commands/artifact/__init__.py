"""``tracecraft artifact``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "list": "The files of a run, or the newest of the project.",
    "get": "Fetch a file, its hash checked.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.artifact", table=TABLE)
def command() -> None:
    """Files that runs have kept. 'tracecraft run log-artifact' keeps one.

    Example: tracecraft artifact get k3x9qa models/best.joblib
    """
