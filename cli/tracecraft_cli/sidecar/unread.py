"""The mail that waits for the agent, seen without being taken: ``tracecraft inbox`` in the agent's shell has it too.

A watcher of the log shows what came in and what was acknowledged, by whomever. Only what a hook has handed over to the
model is then fetched from the mailbox and acknowledged there, so that its sender gets a receipt.
"""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from tracecraft.mail import InboxMessage
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Receipt
from tracecraft_core.errors import Malformed, TracecraftError
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.sidecar.shown import Shown
    from tracecraft_core.bus import Stored

logger = logging.getLogger(__name__)

MOST: Final = 200
"""Messages that are kept here; when half of them are read, the mailbox is looked at again for the rest."""

RETRY_S: Final = 2.0
"""Seconds between two tries to acknowledge, while the bus is away or another reader has the message."""


class Unread:
    """What is unread, as last heard."""

    def __init__(self, session: AsyncSession, shown: Shown) -> None:
        self._session, self._shown = session, shown
        self._messages: dict[int, InboxMessage] = {}
        self._in_flight: set[int] = set()
        self._announced: set[int] = set()
        self._left_out = False
        self._settle = asyncio.Event()
        self.loaded = asyncio.Event()
        """Set when everything that waited at the beginning is here."""

    def waiting(self) -> list[InboxMessage]:
        """What the model has not been shown and is not being shown just now, oldest first."""
        done = self._shown.handed | self._in_flight
        return [message for id_, message in sorted(self._messages.items()) if id_ not in done]

    def unannounced(self) -> list[InboxMessage]:
        """What waits and has not been announced."""
        return [message for message in self.waiting() if message.id not in self._announced]

    def announced(self, ids: list[int]) -> None:
        """The model knows that these wait."""
        self._announced.update(ids)

    def maybe_shown(self) -> frozenset[int]:
        """Of what waits, what went into an answer that may have been read."""
        return frozenset(self._shown.offered)

    def offer(self, ids: list[int]) -> None:
        """These go into an answer now."""
        self._shown.offer(ids)
        self._in_flight.update(ids)

    def concluded(self, ids: list[int], *, handed_over: bool) -> None:
        """The answer has been printed, or nobody knows."""
        self._in_flight.difference_update(ids)
        if handed_over and ids:
            self._shown.hand_over(ids)
            self._settle.set()

    async def watch(self) -> None:
        """Hear what comes in and what is acknowledged, until it is time to begin anew. Raises what the bus raises."""
        self._left_out = False
        context = self._session.context
        bus, project, agent = context.bus, context.project, context.agent
        info = await bus.api(f"CONSUMER.INFO.{subjects.LOG}.{subjects.mailbox(project, agent)}")
        filters = [*subjects.mailbox_filters(project, agent), subjects.receipt(project, "*", agent)]
        config = watcher_config(filters, start_seq=info["ack_floor"]["stream_seq"] + 1)
        async with Puller(bus, subjects.LOG, config) as puller:
            async for delivery in puller.backlog():
                self._hear(delivery.stored)
            self.loaded.set()
            async for delivery in puller:
                self._hear(delivery.stored)
                if self._left_out and len(self._messages) <= MOST // 2:
                    return

    def _hear(self, stored: Stored) -> None:
        if stored.subject.split(".")[2] == "receipt":
            self._hear_receipt(stored)
            return
        message = _message(stored)
        own = message.to is None and message.sender == self._session.agent
        if not own and len(self._messages) < MOST:
            self._messages[message.id] = message
        elif not own:
            self._left_out = True

    def _hear_receipt(self, stored: Stored) -> None:
        with contextlib.suppress(Malformed):
            receipt = bodies.decode(Receipt, stored.data, stored.subject)
            if receipt.state != "fetched":
                self._forget(receipt.id)

    def _forget(self, id_: int) -> None:
        self._messages.pop(id_, None)
        self._announced.discard(id_)
        self._shown.forget(id_)

    async def settle(self) -> None:
        """Acknowledge what was handed over, for ever."""
        while True:
            if not self._shown.handed:
                self._settle.clear()
                await self._settle.wait()
            with contextlib.suppress(TracecraftError, TimeoutError):
                await self.settle_now()
            if self._shown.handed:
                await asyncio.sleep(RETRY_S)

    async def settle_now(self) -> None:
        """Take what was handed over out of the mailbox; what comes with it is put back. Raises what the bus raises."""
        mail, seen = self._session.mail, set[int]()
        while wanted := self._shown.handed - seen:
            fetched = await mail.inbox(limit=len(wanted))
            fresh = [message for message in fetched if message.id not in seen]
            for message in fetched:
                if message.id not in self._shown.handed:
                    await mail.unread(message)
                elif await mail.ack(message):
                    self._forget(message.id)
            seen.update(message.id for message in fresh)
            if not fresh:
                return  # somebody else has the rest in hand, and acknowledges it or lets it come again


def _message(stored: Stored) -> InboxMessage:
    """A message as its reader sees it."""
    body, tokens = bodies.decode_message(stored.data), stored.subject.split(".")
    return InboxMessage(
        id=stored.seq,
        sender=tokens[-1],
        to=tokens[3] if tokens[2] == "msg" else None,
        text=body.text,
        kind=body.kind,
        thread=body.thread,
        reply_to=body.reply_to,
        data=body.data,
        time=stored.time,
    )
