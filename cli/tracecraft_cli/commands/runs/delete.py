"""``tracecraft runs delete``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Really: nothing brings a run back but a file it was exported to.")
@click.option("--reason", metavar="TEXT", help="Why; it is kept in the log.")
@common
def command(common: Common, run_ids: tuple[str, ...], yes: bool, reason: str | None) -> None:
    """Delete runs, with the runs inside of them, and free what they alone held: steps, points, files.

    Example: tracecraft runs delete k3x9qa --yes --reason 'wrong data set'
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import several

        await several.each(common.as_json, run_ids, lambda one: _delete(session, one))

    async def _delete(session: AsyncSession, run_id: str) -> None:
        from tracecraft.queries import ask
        from tracecraft_core.queries import Deleted, DeleteQuestion

        question = DeleteQuestion(run=run_id, by=session.agent, reason=reason)
        deleted = await ask(session.context, "runs.delete", question, Deleted)
        for one in deleted.runs:
            emit(common.as_json, {"run": one, "deleted": True}, f"{one} deleted")

    guard(common.as_json, lambda: _check(run_ids, yes))
    run(common, work)


def _check(run_ids: tuple[str, ...], yes: bool) -> None:
    from tracecraft_core.errors import UsageError

    if not yes:
        shown = f"tracecraft runs delete {' '.join(run_ids)} --yes"
        raise UsageError(f"this cannot be undone; 'tracecraft runs export' keeps a copy. If you mean it: {shown}")
