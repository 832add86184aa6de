"""``tracecraft task show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("task", envvar="TRACECRAFT_TASK")
@click.option("--history", "limit", type=Whole(min=0), default=10, show_default=True, help="Changes to show.")
@common
def command(common: Common, task: str, limit: int) -> None:
    """Show everything about TASK: state, who holds it and until when, dependencies, handoff, and how it got there.

    Example: tracecraft task show S1.parse --json
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import task_story

        story = await task_story.tell(session.context, task, limit)
        emit(common.as_json, story.as_json(), story.text())

    run(common, work, acts=False)
