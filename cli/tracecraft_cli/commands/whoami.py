"""``tracecraft whoami``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_cli.held import Memo
    from tracecraft_core.settings import Settings


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
        "session": found.session or _remembered(memo),
    }
    origin = {name: _origin(found, name) for name in values}
    result: dict[str, Any] = values | {"origin": origin, "claims": memo.tasks()}
    text = table(["", "value", "from"], [[name, value or "-", origin[name]] for name, value in values.items()])
    if memo.tasks():
        text += f"\nclaims renewed by your next command: {', '.join(memo.tasks())}"
    emit(common.as_json, result, text)


def _remembered(memo: Memo) -> str | None:
    """The session of this agent on this machine, as far as there is a place to remember one."""
    from tracecraft_core.errors import UsageError

    try:
        return memo.session()
    except UsageError as error:
        note(f"tracecraft: {error}")
        return None


def _origin(found: Settings, name: str) -> str:
    origin = found.origin.get(name, "remembered for this agent on this machine")
    return "derived from this folder and this machine" if origin == "derived" else origin
