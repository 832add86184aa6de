"""``tracecraft wait-for``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("tasks", metavar="TASK...", nargs=-1)
@click.option("--any", "any_", is_flag=True, help="One of them is enough.")
@click.option("--timeout", type=DURATION, help="Give up after this time, for example 10m. [default: never]")
@click.option("--or-message", is_flag=True, help="Mail for you ends the wait too.")
@click.option("--fail-on-lost", is_flag=True, help="End with 6 when the owner of one of them dies.")
@common
def command(
    common: Common, tasks: tuple[str, ...], any_: bool, timeout: float | None, or_message: bool, fail_on_lost: bool
) -> None:
    """Block until TASK is done, woken by the server; print what was handed over. 'S1.*' stands for all that match now.

    Exits with 5 when one failed or is blocked (with --any: all), 6 with --fail-on-lost, 124 on timeout. It costs
    nothing while it waits: run it in the background.

    Example: tracecraft wait-for S1.parse S1.count --timeout 30m --fail-on-lost
    """
    if not tasks and not or_message:
        raise click.UsageError("name at least one task, or wait for mail with --or-message")

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import task_view

        result = await session.wait_for(
            *tasks, any_=any_, timeout=timeout, fail_on_lost=fail_on_lost, or_message=or_message
        )
        found = {"reason": result.reason, "tasks": [task_view.task_json(task) for task in result.tasks.values()]}
        lines = [task_view.settled_text(task) for task in result.tasks.values()]
        if result.reason == "message":
            lines.append("you have mail: read it with 'tracecraft inbox'")
        emit(common.as_json, found, "\n".join(lines))

    run(common, work)
