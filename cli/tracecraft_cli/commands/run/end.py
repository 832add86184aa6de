"""``tracecraft run end``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.run_writing import run_option
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core.bus import Bus
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.settings import Settings


@click.command()
@click.option(
    "--status",
    type=click.Choice(["finished", "failed", "killed"]),
    default="finished",
    show_default=True,
    help="How it ended.",
)
@click.option("--reason", metavar="TEXT", help="Why it failed.")
@run_option
@common
def command(common: Common, status: str, reason: str | None, run_id: str | None) -> None:
    """End the run that is current in this folder.

    Example: tracecraft run end --status failed --reason 'the loss is NaN from step 40 on'
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        await _end(session.settings, session.context.bus)

    async def away(settings: Settings, error: BusUnreachable) -> None:
        await _end(settings, None)

    async def _end(settings: Settings, bus: Bus | None) -> None:
        from tracecraft_cli import run_notes, run_writing
        from tracecraft_cli.current_run import CurrentRun

        current = CurrentRun(settings)
        run_id_ = current.need(run_id)
        written = await run_writing.leave_and_end(
            settings, bus, run_id_, run_notes.ended(status, run_notes.failure(reason))
        )
        current.forget(run_id_)
        run_writing.tell(written)
        result = {"run": run_id_, "status": status, "delivered": not written.waiting}
        emit(common.as_json, result, f"{run_id_} {status}")

    run(common, work, away=away)
