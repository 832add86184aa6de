"""``tracecraft tasks``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo

STATES = ("open", "claimed", "done", "failed", "blocked", "needs_review")


@click.command()
@click.argument("pattern", default=">")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only in this state; repeatable.")
@common
def command(common: Common, pattern: str, states: tuple[str, ...]) -> None:
    """List the tasks that match PATTERN (NATS wildcards), in the order of their last change.

    Example: tracecraft tasks 'S1.*' --state open --state failed
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import task_list

        listed = await task_list.read(session, pattern, states)
        emit(common.as_json, task_list.as_json(listed), task_list.text(listed))

    run(common, work, acts=False)
