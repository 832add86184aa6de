"""``tracecraft plan check``."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard


@click.command()
@click.argument("file")
@common
def command(common: Common, file: str) -> None:
    """Check FILE (YAML or JSON, '-' for standard input) as 'plan apply' would, without a server.

    Example: tracecraft plan check plan.yaml
    """

    def check() -> None:
        from tracecraft_cli import plan_file
        from tracecraft_cli.amounts import counted

        plan = plan_file.load(file)
        emit(common.as_json, {"tasks": [task.id for task in plan]}, f"{counted(len(plan), 'task')}, no cycle")

    guard(common.as_json, check)
