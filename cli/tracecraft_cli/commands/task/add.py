"""``tracecraft task add``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.given import parse_json, read_value
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("task", metavar="ID")
@click.option("--title", metavar="TEXT", help="What it is, in a line.")
@click.option("--after", "after", multiple=True, metavar="TASK", help="Must be done first; repeatable, or with commas.")
@click.option("--data", metavar="JSON", help="What the worker needs, as JSON; '-' reads it from standard input.")
@common
def command(common: Common, task: str, title: str | None, after: tuple[str, ...], data: str | None) -> None:
    """Add a task that anyone can claim once what it comes after is done.

    The same call again changes nothing; another definition replaces that of a task that is still open.

    Example: tracecraft task add S2.report --title 'Write the report' --after S1.parse,S1.count --data '{"max": 3}'
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import task_view

        before = [name.strip() for item in after for name in item.split(",") if name.strip()]
        value = None if data is None else parse_json(read_value(data, "--data"), "--data", '\'{"path": "src"}\'')
        added = await session.tasks.add(task, title=title, after=list(dict.fromkeys(before)), data=value)
        emit(common.as_json, task_view.task_json(added), f"{task} {added.record.state}")

    run(common, work)
