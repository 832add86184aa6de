"""``tracecraft trust``."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard


@click.command()
@click.argument("servers", metavar="[SERVER]...", nargs=-1)
@click.option("--revoke", is_flag=True, help="Approve it no more.")
@click.option("--list", "listing", is_flag=True, help="Only show what is approved.")
@common
def command(common: Common, servers: tuple[str, ...], revoke: bool, listing: bool) -> None:
    """Approve the server that the .tracecraft.toml of this folder names, or SERVER, for you and in every project.

    A file in a repository that you cloned may name a server of somebody else, and what your agents do would be sent
    there. Until you approve it, every command refuses; a server on this machine needs no approval unless another user
    wrote the file. A person approves: inside of a coding agent the command is refused.

    Example: tracecraft trust nats://team.example.com:4222
    """
    guard(common.as_json, lambda: _trust(common, ",".join(servers), revoke, listing))


def _trust(common: Common, servers: str, revoke: bool, listing: bool) -> None:
    from tracecraft_core import trust, urls
    from tracecraft_core.errors import UsageError
    from tracecraft_core.settings import approved_servers

    approved, done = approved_servers(), list[str]()
    if not listing:
        if _in_coding_agent():
            raise UsageError("this runs inside of a coding agent: a person approves servers, in a shell of their own")
        servers = servers or _named_here()
        urls.check(servers, "SERVER")
        done = (trust.revoke if revoke else trust.approve)(servers, approved)
    listed = trust.listed(approved)
    word = "revoked" if revoke else "approved"
    text = "\n".join(listed if listing else [f"{word}: {server}" for server in done] or ["it was not approved"])
    emit(common.as_json, {"approved": listed, "file": str(approved)}, text or None)


def _in_coding_agent() -> bool:
    import os

    from tracecraft_core import coding_session

    return any(os.environ.get(name) for name in coding_session.VARIABLES.values()) or coding_session.find() is not None


def _named_here() -> str:
    from pathlib import Path

    from tracecraft_core import settings
    from tracecraft_core.errors import UsageError

    file = settings.find_file(Path.cwd())
    said = settings.read_file(file) if file is not None else {}
    if "server" not in said:
        where = "there is no .tracecraft.toml here or above" if file is None else f"{file} names no server"
        raise UsageError(f"{where}: there is nothing to approve; 'tracecraft trust SERVER' approves one")
    return said["server"]
