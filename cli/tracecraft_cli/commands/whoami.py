"""``tracecraft whoami``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_cli.held import Memo
    from tracecraft_core.settings import Settings

MOST_SERVER: Final = 500
"""Characters of a server's name that are shown: the folder of a relay is everybody's to write who is in the sandbox."""


@click.command()
@common
def command(common: Common) -> None:
    """Show the agent, project and server, and where each comes from. Asks no server.

    In a sandbox without network the server is the one of the relay that does its commands.

    Example: tracecraft whoami --json
    """
    guard(common.as_json, lambda: _show(common))


def _show(common: Common) -> None:
    from tracecraft_cli.held import Memo
    from tracecraft_core import sandbox, settings
    from tracecraft_core.task_ids import spoken

    found = settings.load(common.flags)
    memo = Memo(found)
    values = {
        "agent": found.agent,
        "project": found.project,
        "server": found.server,
        "session": found.session or _remembered(memo),
    }
    origin = {name: _origin(found, name) for name in values}
    if sandbox.inside():
        values["server"], origin["server"] = _relayed()
    result: dict[str, Any] = values | {"origin": origin, "claims": memo.tasks()}
    text = table(["", "value", "from"], [[name, value or "-", origin[name]] for name, value in values.items()])
    if memo.tasks():
        text += f"\nclaims renewed by your next command: {', '.join(map(spoken, memo.tasks()))}"
    emit(common.as_json, result, text)


def _relayed() -> tuple[str | None, str]:
    """The server of the relay, and by which relay commands go there."""
    from tracecraft_cli.relay.placed import beat
    from tracecraft_core import sandbox
    from tracecraft_core.quotation import oneline

    workspace = sandbox.workspace()
    serving = beat(workspace / sandbox.FOLDER)
    if serving is None:
        return None, f"by relay, and none serves {workspace} now: 'tracecraft relay {workspace}' outside starts one"
    return oneline(serving.server, MOST_SERVER) or None, f"by the relay that serves {workspace}"


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
