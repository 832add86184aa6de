"""``tracecraft spool``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup
from tracecraft_cli.options import Common, common
from tracecraft_cli.runner import guard

TABLE: Final = {
    "status": "What waits, and of which runs.",
    "flush": "Deliver it now.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.spool", table=TABLE, invoke_without_command=True)
@common
def command(common: Common) -> None:
    """What runs have recorded on this machine while the bus or the artifact store was away.

    A process that still lives delivers its records itself; those of dead ones wait for 'spool flush', or for the next
    run on this machine. Without a sub-command: what waits.

    Example: tracecraft spool
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        context.find_root().obj = common  # options before the sub-command's name count for it too
        return
    from tracecraft_cli.commands.spool.status import show

    guard(common.as_json, lambda: show(common))
