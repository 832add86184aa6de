"""Staying at the inbox: each message is printed as it comes, and acknowledged when it is printed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tracecraft_cli.letters import as_json, shown
from tracecraft_cli.output import emit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tracecraft import AsyncSession, InboxMessage


async def follow(session: AsyncSession, json: bool, sender: str | None, limit: int | None) -> None:
    """Print messages for ever, or until ``limit`` were printed."""
    from tracecraft import timeline

    printed = 0
    source = _arriving(session) if sender is None else _arriving_from(session, sender)
    async with contextlib.aclosing(source) as messages:
        async for message in messages:
            now = await timeline.server_time(session.context.bus)
            emit(json, as_json(message), shown(message, now))
            printed += 1
            if printed == limit:  # else it is acknowledged when the loop asks for the next one
                await session.mail.ack(message)
                return


def _arriving(session: AsyncSession) -> AsyncGenerator[InboxMessage]:
    return session.mail.messages()


async def _arriving_from(session: AsyncSession, sender: str) -> AsyncGenerator[InboxMessage]:
    """Messages of one agent; the others stay unread, so this looks only when the log has something of that agent."""
    from tracecraft.mail import REDELIVER_S
    from tracecraft_core import subjects
    from tracecraft_core.pull import Puller, watcher_config

    project, agent = session.project, session.agent
    filters = [subjects.message(project, agent, sender), subjects.broadcast(project, sender)]
    async with Puller(session.context.bus, subjects.LOG, watcher_config(filters, "new")) as signals:
        while True:
            for message in await session.mail.inbox(sender=sender):
                yield message
                await session.mail.ack(message)
            _, in_flight = await session.mail.pending()
            await signals.next(REDELIVER_S if in_flight else None)
            signals.ready()
