"""``tracecraft memory list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession, Entry
    from tracecraft_cli.held import Memo


@click.command()
@click.option("--prefix", default="", metavar="P", help="Only keys that begin with P, for example findings.")
@common
def command(common: Common, prefix: str) -> None:
    """List the keys that have a value: key, revision, and the value as far as it fits into the line.

    Example: tracecraft memory list --prefix findings.
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.commands.memory import rows

        entries = await session.memory.list(prefix)
        emit(common.as_json, [rows.as_json(entry) for entry in entries], _table(entries) if entries else None)
        if not entries:
            note(f"no keys{f' that begin with {prefix}' if prefix else ''} in project {session.project}")

    guard(common.as_json, lambda: _check(prefix))
    run(common, work, acts=False)


def _check(prefix: str) -> None:
    from tracecraft_core import names

    if prefix:
        names.memory_key(prefix.removesuffix("."))


def _table(entries: list[Entry]) -> str:
    from tracecraft_cli.commands.memory import rows

    used = max(len("key"), *(len(entry.key) for entry in entries)) + len("  revision  ")
    return table(
        ["key", "revision", "value"],
        [[entry.key, str(entry.revision), rows.value(entry, used)] for entry in entries],
    )
