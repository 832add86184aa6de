"""``tracecraft runs import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@common
def command(common: Common, file: Path) -> None:
    """Take in a run that was exported elsewhere, under its own id and in its own project.

    The file is verified first, and nothing of a damaged one is taken in. A run that is here already changes nothing;
    one of the same id with other content is refused (exit code 3).

    Example: tracecraft runs import winner.tcb
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        import msgspec

        from tracecraft_cli import carrying

        done = await carrying.take_in(session.context, file)
        what = f"{done.entries:,} entries" if done.new else "it was here already, nothing changed"
        emit(common.as_json, msgspec.to_builtins(done), f"run {done.run}: {what}")

    run(common, work, acts=False)
