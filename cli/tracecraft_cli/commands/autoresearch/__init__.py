"""``tracecraft autoresearch``: one module a sub-command."""

from __future__ import annotations

from typing import Final

import click

from tracecraft_cli.lazy import LazyGroup

TABLE: Final = {
    "watch": "Follow results.tsv, run.log and the branch: a run for each row.",
    "snippet": "Print what to add to program.md when several agents research.",
}


@click.group(cls=LazyGroup, package="tracecraft_cli.commands.autoresearch", table=TABLE)
def command() -> None:
    """Experiments of an agent that works as karpathy/autoresearch does: edit, commit, train, keep or go back.

    Example: tracecraft autoresearch watch ~/autoresearch
    """
