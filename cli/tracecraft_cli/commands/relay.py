"""``tracecraft relay``."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_core.settings import Settings


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--status", "shows", is_flag=True, help="List what is queued and what became of it, and end.")
@click.option("--once", is_flag=True, help="Do what waits, and end.")
@common
def command(common: Common, folder: Path | None, shows: bool, once: bool) -> None:
    """Do for a sandbox without network what tracecraft commands in it ask for; runs outside of it, until Ctrl-C.

    FOLDER is the workspace that the sandbox may write; left out, it is looked for from here upwards. Commands in the
    sandbox leave requests in .tracecraft/relay there, and work as ever while this runs; what only writes is queued
    while it does not. Everything counts for the project given here, and with --agent for that agent alone. Nothing
    that runs a program, or opens a path outside of FOLDER, is done.

    Example: tracecraft relay ~/src/parser --project survey
    """
    if shows and once:
        raise click.UsageError("--status and --once exclude each other: --status does nothing")
    from tracecraft_core import sandbox

    workspace = folder.expanduser().absolute() if folder is not None else sandbox.workspace()
    if shows:
        guard(common.as_json, lambda: _show(common.as_json, workspace))
    else:
        named = folder is not None or sandbox.named()
        guard(common.as_json, lambda: _serve(common, workspace, once, named=named))


def _show(as_json: bool, workspace: Path) -> None:
    from tracecraft_cli.relay import receipts

    receipts.show(as_json, workspace)


def _serve(common: Common, workspace: Path, once: bool, *, named: bool) -> None:
    from tracecraft_cli.relay.asking import answers
    from tracecraft_core import settings
    from tracecraft_core.errors import UsageError

    if not workspace.is_dir():
        raise UsageError(f"{workspace} is no folder: name the workspace that the sandbox may write")
    if not named and workspace.stat().st_mode & stat.S_IWOTH:
        raise UsageError(
            f"{workspace} can be written by everybody on this machine, and so could be asked for by them: go into the "
            "workspace that is meant, or name it: tracecraft relay FOLDER"
        )
    resolved = settings.load(common.flags, folder=workspace)
    if not once:
        who = f" as agent {common.flags['agent']}" if common.flags["agent"] else ""
        note(f"relay for {workspace}, project {resolved.project}{who}, bus {resolved.server}; Ctrl-C stops it")
    if not answers(resolved):
        note(f"tracecraft: {resolved.server} does not answer yet: what is asked for meanwhile fails")
    _run(workspace, resolved, common.flags["agent"], once)


def _run(workspace: Path, resolved: Settings, agent: str | None, once: bool) -> None:
    import asyncio
    import contextlib
    import signal

    from tracecraft_cli.relay.server import serve

    async def work() -> None:
        task = asyncio.ensure_future(serve(workspace, resolved, agent=agent, once=once, told=note))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(work())
