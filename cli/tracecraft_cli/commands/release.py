"""``tracecraft release``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run
from tracecraft_cli.several import each

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("tasks", metavar="TASK...", nargs=-1, required=True)
@click.option("--note", "text", metavar="TEXT", help="What the next one to claim it should know.")
@common
def command(common: Common, tasks: tuple[str, ...], text: str | None) -> None:
    """Give TASK back, open for anyone. Exits with 4 when one of them is no longer yours; the others are released.

    Example: tracecraft release S1.parse --note 'the parser needs libxml2, which is missing here'
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import claims
        from tracecraft_core.bodies import Handoff
        from tracecraft_core.errors import ClaimLost

        async def release(task: str) -> None:
            try:
                held = await claims.hold(session.context, task)
                released = await claims.release(session.context, held, Handoff(note=text) if text else None)
            except ClaimLost:
                memo.forget(task)
                raise
            memo.forget(task)
            result = {"task": task, "state": released.record.state, "revision": released.revision}
            emit(common.as_json, result, f"{task} {released.record.state}")

        await each(common.as_json, tasks, release)

    run(common, work, touches=tasks)
