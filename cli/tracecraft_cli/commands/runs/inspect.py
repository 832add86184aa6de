"""``tracecraft runs inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, interactive
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("run_id", metavar="[ID]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Then print what happens, until the run ends.")
@common
def command(common: Common, run_id: str | None, follow: bool) -> None:
    """Show a run: parameters, metrics, agents, steps with their times, tokens and costs, errors, files, messages.

    ID may be the end of one ('k3x9qa'); left out, the run that is current here. A run of more than 200 steps is shown
    with equal steps taken together. With --follow and --json each event is a line of its own, behind the run.

    Example: tracecraft runs inspect k3x9qa --follow
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import timeline
        from tracecraft_cli.columns import columns
        from tracecraft_cli.current_run import CurrentRun
        from tracecraft_cli.runs_view import detail, findings, following

        wanted = run_id or CurrentRun(session.settings).need(by="as 'tracecraft runs inspect ID'")
        found = await findings.find(session.context, wanted)
        now = await timeline.server_time(session.context.bus)
        shown = None if common.as_json else detail.text(found, now, columns(), bars=interactive())
        emit(common.as_json, found.as_json(), shown)
        row = found.detail.row
        if follow and row.status == "running":
            since, shown_already = found.detail.last_seq + 1, found.entries()
            await following.follow(session.context, row.run, since, shown_already, as_json=common.as_json)

    run(common, work, acts=False)
