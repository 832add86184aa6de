"""``tracecraft whoami``."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, table
from tracecraft_cli.runner import guard


@click.command()
@common
def command(common: Common) -> None:
    """Show the agent, project and server, and where each comes from. Asks no server.

    Example: tracecraft whoami --json
    """
    guard(common.as_json, lambda: _show(common))


def _show(common: Common) -> None:
    from tracecraft_cli.held import Memo
    from tracecraft_core import settings

    found = settings.load(common.flags)
    memo = Memo(found)
    values = {
        "agent": found.agent,
        "project": found.project,
        "server": found.server,
        "session": found.session or memo.session(),
    }
    origin = {name: found.origin.get(name, "remembered for this agent on this machine") for name in values}
    result = values | {"origin": origin, "claims": memo.tasks()}
    rows = [[name, value, origin[name]] for name, value in values.items()]
    text = table(["", "value", "from"], rows)
    if memo.tasks():
        text += f"\nclaims renewed by your next command: {', '.join(memo.tasks())}"
    emit(common.as_json, result, text)
