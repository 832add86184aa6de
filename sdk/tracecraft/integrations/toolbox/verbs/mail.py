"""``send``, ``inbox``: messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from tracecraft.integrations.toolbox import bounds, seen
from tracecraft.integrations.toolbox.results import InboxResult, SendResult

if TYPE_CHECKING:
    from tracecraft.integrations.toolbox.arguments import InboxArguments, SendArguments
    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft.integrations.toolbox.results import Letter
    from tracecraft.mail import InboxMessage

EVERYONE: Final = "all"
"""Whom `send` takes for everyone."""


async def send(turn: Turn, arguments: SendArguments) -> SendResult:
    """Send a message."""
    thread = None if arguments.thread is UNSET else arguments.thread
    reply_to = None if arguments.reply_to is UNSET else arguments.reply_to
    session, kind, data = turn.session, arguments.kind, arguments.data
    if arguments.to == EVERYONE:
        sent = await session.broadcast(arguments.text, kind=kind, thread=thread, reply_to=reply_to, data=data)
    else:
        sent = await session.send(arguments.to, arguments.text, kind=kind, thread=thread, reply_to=reply_to, data=data)
    return SendResult(id=sent.id, to=arguments.to, registered=sent.registered)


async def inbox(turn: Turn, arguments: InboxArguments) -> InboxResult:
    """Unread messages, or one of any."""
    if arguments.message is not UNSET:
        message = await turn.session.mail.show(arguments.message)
        return InboxResult(messages=[seen.letter(message, arguments.offset, bounds.WHOLE)])
    sender = None if arguments.sender is UNSET else arguments.sender
    found = await turn.desk.letters.fetch(arguments.limit, sender)
    if arguments.peek:
        for message in found:
            await turn.session.mail.unread(message)
    else:
        turn.handing.messages += found
    return InboxResult(messages=letters(found), more=await turn.desk.letters.unread())


def letters(found: list[InboxMessage]) -> list[Letter]:
    """Messages, each with its share of the room that there is."""
    width = min(bounds.TEXT, bounds.SEVERAL // max(1, len(found)))
    return [seen.letter(message, 0, width) for message in found]
