"""``tracecraft autoresearch snippet``."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit


@click.command()
@common
def command(common: Common) -> None:
    """Print the part for program.md with which several agents share the work: claim, ask, publish, read the best.

    Example: tracecraft autoresearch snippet >> program.md
    """
    from tracecraft_cli.autoresearch.snippet import text

    emit(common.as_json, {"text": text()}, text().rstrip("\n"))
