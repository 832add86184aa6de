"""``tracecraft spool flush``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.option("--timeout", type=DURATION, default=60.0, help="Time that one writer's records may take. [default: 60s]")
@click.option("--from", "recorded_for", metavar="SERVER", help="Also what was recorded for this address.")
@common
def command(common: Common, timeout: float, recorded_for: str | None) -> None:
    """Deliver to the bus what was recorded for this project while it was away: in order, once.

    What was recorded while no server was named goes to the stack of this machine, whatever its port; what was recorded
    for an address goes there, and to another bus only with --from. A line for each run and writer. Exits with 1 when
    something could not be delivered; it stays here then.

    Example: tracecraft spool flush
    """
    failed = False

    async def work(session: AsyncSession, memo: Memo) -> None:
        nonlocal failed
        from tracecraft_cli import spooled
        from tracecraft_core import urls

        told, settings = 0, session.settings
        address = ",".join(urls.without_secrets(one) for one in urls.split(recorded_for)) if recorded_for else None
        async for one in spooled.deliver(settings, session.context.bus, timeout, address):
            emit(common.as_json, one.as_json(), one.text())
            failed = failed or one.problem is not None
            told += 1
        if not told:
            note(f"nothing waits for project {session.project}")
            for line in spooled.elsewhere(settings):
                note(line)

    run(common, work, acts=False)
    if failed:
        raise SystemExit(1)
