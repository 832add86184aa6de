"""Acknowledging messages by id, wherever they stand in the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft_cli.commands.inbox.reading import ALL, each
from tracecraft_cli.commands.inbox.reading import acknowledge as acknowledge_all

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracecraft import AsyncSession


async def acknowledge(session: AsyncSession, ids: Collection[int]) -> list[int]:
    """Acknowledge those of the messages that are unread, and return their ids.

    Raises `NotFound` for an id that is no message of ours, `Refused` when another process may be reading one: then
    it is that process that acknowledges it.
    """
    from tracecraft_core.errors import Refused

    for id_ in ids:
        await session.mail.show(id_)
    if await session.mail.pending() == (0, 0):
        return []
    fetched = await session.mail.inbox(limit=ALL)
    unread, in_flight = await session.mail.pending()
    wanted = [message for message in fetched if message.id in ids]
    await each([message for message in fetched if message.id not in ids], session.mail.unread)
    await acknowledge_all(session, wanted)
    missing = sorted(set(ids) - {message.id for message in wanted})
    if missing and in_flight > len(fetched) and not unread:
        shown = ", ".join(f"#{id_}" for id_ in missing)
        raise Refused(f"{shown} may be in the hands of another process of {session.agent}: try again in a few seconds")
    return [message.id for message in wanted]
