"""``tracecraft spool``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "status": "What waits, and of which runs.",
    "flush": "Deliver it now.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.spool", table=TABLE)
def command() -> None:
    """What runs have recorded on this machine while the bus or the artifact store was away.

    A process that still lives delivers its records itself; those of dead ones wait for 'spool flush', or for the next
    run on this machine.

    Example: tracecraft spool status
    """
