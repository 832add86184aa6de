"""``tracecraft inbox ack``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("ids", metavar="ID...", type=Whole(min=1), nargs=-1, required=True)
@common
def command(common: Common, ids: tuple[int, ...]) -> None:
    """Acknowledge messages without showing them; their senders get a receipt. One that is read already is no error.

    Example: tracecraft inbox ack 12 15
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.commands.inbox import unread

        acked = await unread.acknowledge(session, ids)
        for id_ in ids:
            if id_ not in acked:
                note(f"#{id_} is not unread")
        emit(common.as_json, {"acked": acked}, None)

    run(common, work)
