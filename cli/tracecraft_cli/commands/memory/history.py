"""``tracecraft memory history``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.commands.memory import keys
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, table
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession, Entry
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("key")
@click.option("--limit", type=Whole(min=1), default=20, show_default=True, help="Only the newest N.")
@common
def command(common: Common, key: str, limit: int) -> None:
    """Show the revisions of KEY that the bus keeps, oldest first, deletions too.

    'tracecraft memory get KEY --revision N' prints one of them whole.

    Example: tracecraft memory history findings.json --limit 5
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import timeline
        from tracecraft_cli.commands.memory import rows
        from tracecraft_core.errors import NotFound

        entries = await session.memory.history(key, limit=limit)
        if not entries:
            raise NotFound("memory key", key, "'tracecraft memory list' shows what there is")
        now = await timeline.server_time(session.context.bus)
        emit(common.as_json, [rows.as_json(entry) for entry in entries], _table(entries, now))

    guard(common.as_json, lambda: keys.check(key))
    run(common, work, acts=False)


def _table(entries: list[Entry], now: str) -> str:
    from tracecraft_cli.ages import ago
    from tracecraft_cli.commands.memory import rows

    used = len("revision  ") + max(len(ago(entry.time, now)) for entry in entries) + 2
    return table(
        ["revision", "when", "value"],
        [[str(entry.revision), ago(entry.time, now), rows.value(entry, used)] for entry in entries],
    )
