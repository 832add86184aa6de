"""``tracecraft runs export``."""

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
@click.argument("run_id", metavar="ID")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="[default: ID.tcb]"
)
@click.option("--with-artifacts", is_flag=True, help="Put the contents of its files inside as well.")
@common
def command(common: Common, run_id: str, output: Path | None, with_artifacts: bool) -> None:
    """Write a run into one file: its events, those of the runs inside of it, and what happened meanwhile.

    The file opens without a server ('tracecraft replay FILE'), proves that it is whole ('runs verify FILE') and goes
    into another stack ('runs import FILE').

    Example: tracecraft runs export k3x9qa -o winner.tcb --with-artifacts
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        import dataclasses

        from tracecraft_cli import carrying

        done = await carrying.export(session.context, run_id, output, with_artifacts=with_artifacts)
        files = f", {done.artifacts} files" if with_artifacts else ""
        text = (
            f"{done.file}: run {done.run}, {done.entries:,} entries{files}, {done.size:,} bytes, root {done.root[:16]}"
        )
        emit(common.as_json, dataclasses.asdict(done), text)

    run(common, work, acts=False)
