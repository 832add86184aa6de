"""``tracecraft inbox show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("id_", metavar="ID", type=Whole(min=1))
@common
def command(common: Common, id_: int) -> None:
    """Print one message whole, read or not, and acknowledge it if it was unread.

    Example: tracecraft inbox show 12
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        import contextlib

        from tracecraft import timeline
        from tracecraft_cli.commands.inbox import unread
        from tracecraft_cli.letters import as_json, shown
        from tracecraft_core.errors import Refused

        message = await session.mail.show(id_)
        now = await timeline.server_time(session.context.bus)
        emit(common.as_json, as_json(message), shown(message, now))
        with contextlib.suppress(Refused):  # another process is showing it too, and acknowledges it
            await unread.acknowledge(session, (id_,))

    run(common, work)
