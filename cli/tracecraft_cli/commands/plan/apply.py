"""``tracecraft plan apply``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core.plans import PlannedTask


@click.command()
@click.argument("file")
@common
def command(common: Common, file: str) -> None:
    """Create the tasks of FILE (YAML or JSON, '-' for standard input), and change those that are still open.

    Applying a plan again changes nothing; after a crash in the middle it does the rest. A cycle, a wrong name, or
    another definition of a task that somebody has claimed is refused (exit code 2) before anything is written.

    A plan is 'tasks:' and a list of id, title, after, data, for example

    \b
        tasks:
          - {id: S1.parse, title: Parse it, data: {path: src}}
          - {id: S2.report, after: [S1.parse]}

    Example: tracecraft plan apply plan.yaml
    """

    def prepare() -> None:
        from tracecraft_cli import plan_file

        _apply(common, plan_file.load(file))

    guard(common.as_json, prepare)


def _apply(common: Common, plan: list[PlannedTask]) -> None:
    async def work(session: AsyncSession, memo: Memo) -> None:
        applied = await session.tasks.apply(plan)
        if applied.unknown:
            note(
                f"tracecraft: no task has these ids yet, and what comes after them waits: {', '.join(applied.unknown)}"
            )
        done = {what: getattr(applied, what) for what in ("created", "changed", "unchanged")}
        counts = ", ".join(f"{len(tasks)} {what}" for what, tasks in done.items())
        names = [f"{what}: {' '.join(tasks)}" for what, tasks in done.items() if tasks and what != "unchanged"]
        emit(common.as_json, done | {"unknown": applied.unknown}, "\n".join([counts, *names]))

    run(common, work)
