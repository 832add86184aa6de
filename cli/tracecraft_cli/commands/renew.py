"""``tracecraft renew``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import run
from tracecraft_cli.several import each

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option("--lease", type=DURATION, help="New length of the lease, for example 1h. [default: as it was]")
@common
def command(common: Common, tasks: tuple[str, ...], lease: float | None) -> None:
    """Extend the lease of TASK, or of everything that you claimed by commands before.

    Exits with 4 when one of them is no longer yours; the others are renewed.

    Example: tracecraft renew S1.parse --lease 1h
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import lapsed, leases
        from tracecraft_cli import task_view
        from tracecraft_core.errors import ClaimLost, NotFound

        ttl = None if lease is None else leases.check_ttl(lease)

        async def renew(task: str) -> None:
            try:
                held = await lapsed.renew(session.context, task, ttl)
            except (ClaimLost, NotFound):
                memo.forget(task)
                raise
            result = {"task": task, "fence": held.fence, "lease": held.ttl}
            emit(common.as_json, result, f"{task} fence {held.fence} lease {task_view.duration(held.ttl)}")

        wanted = tasks or tuple(memo.tasks())
        if not wanted:
            note("nothing to renew: no command of yours has claimed a task")
        await each(common.as_json, wanted, renew)

    run(common, work, touches=None)
