"""``tracecraft stop``."""

from __future__ import annotations

from pathlib import Path

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard


@click.command()
@click.option("--data", type=click.Path(path_type=Path), envvar="TRACECRAFT_DATA", help="Data folder of the stack.")
@common
def command(common: Common, data: Path | None) -> None:
    """Stop the stack that runs on this machine, and wait until all of it is gone. Its data stays.

    Example: tracecraft stop
    """

    def work() -> None:
        from tracecraft_core.local import data_dir
        from tracecraft_stack import stop_running

        folder = (data or data_dir()).expanduser().absolute()
        stopped = stop_running(folder)
        if not stopped:
            note(f"no stack runs in {folder}")
        emit(common.as_json, {"data": str(folder), "stopped": stopped}, "stopped" if stopped else None)

    guard(common.as_json, work)
