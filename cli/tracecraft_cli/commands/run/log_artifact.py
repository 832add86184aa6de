"""``tracecraft run log-artifact``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.run_writing import run_option
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo

KINDS: Final = ("file", "image", "text", "model", "log")


@click.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(KINDS), help="What it is. [default: image for images, else file]")
@click.option("--step", metavar="STEP", help="Id of the step that made it.")
@run_option
@common
def command(common: Common, name: str, path: Path, kind: str | None, step: str | None, run_id: str | None) -> None:
    """Keep the file PATH as NAME, or all files of the folder PATH below NAME; prints name, hash and size of each.

    What is in the artifact store already is not sent again; an interrupted upload goes on where it stopped when
    the command is repeated.

    Example: tracecraft run log-artifact models/best best.joblib --kind model
    """
    files: list[tuple[str, Path]] = []

    def check() -> None:
        from tracecraft_cli import uploading

        files.extend(uploading.files(name, path))

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import uploading

        await uploading.upload(common, session, run_id, files, kind, step)

    guard(common.as_json, check)
    run(common, work)
