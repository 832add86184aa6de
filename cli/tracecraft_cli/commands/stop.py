"""``tracecraft stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.data_folder import chosen, data_option
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@data_option("Data folder of the stack.")
@common
def command(common: Common, data: Path | None) -> None:
    """Stop the stack that runs on this machine, and wait until all of it is gone. Its data stays.

    Example: tracecraft stop
    """

    def work() -> None:
        from tracecraft_core.local import running_stack
        from tracecraft_stack import stop_running
        from tracecraft_stack.stack import SLOW_STOP, STOPPING

        folder = chosen(data)
        state = running_stack(folder)
        if state is not None:
            note(f"{STOPPING} the stack in {folder}{SLOW_STOP if state.s3_endpoint else ''}")
        stopped = stop_running(folder)
        if not stopped:
            note(f"no stack runs in {folder}")
        emit(common.as_json, {"data": str(folder), "stopped": stopped}, "stopped" if stopped else None)

    guard(common.as_json, work)
