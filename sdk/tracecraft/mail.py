"""Messages: durable, for agents that are offline too, and honest about what became of them.

The log is the mailbox: an agent's durable consumer on it remembers what the agent has acknowledged. Reading has two
phases, fetch and acknowledge; what is not acknowledged within `REDELIVER_S` comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft import timeline
from tracecraft_core import bodies, names, subjects
from tracecraft_core.bodies import Message, Receipt, ReceiptState
from tracecraft_core.errors import BodyTooLarge, BusError, Malformed, NotFound, UsageError, WaitTimeout
from tracecraft_core.pull import (
    NANOSECOND,
    Delivery,
    Puller,
    acknowledge,
    create_consumer,
    fetch_now,
    watcher_config,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tracecraft.context import Context
    from tracecraft_core.bus import Stored

REDELIVER_S: Final = 5
"""Seconds after which a message that was fetched but not acknowledged is delivered again."""
REMEMBERED: Final = 4096
"""How many acknowledged messages a session remembers, so that it never hands one out again."""
MAILBOX_IDLE_S: Final = 30 * 24 * 3600
"""Seconds after which the mailbox of an agent that never reads is forgotten; its messages stay in the log."""
REGISTERED: Final = "tc.registered"
"""Metadata of a mailbox: ``yes`` once the agent itself was there, ``no`` while only mail was sent to its name."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is stored."""

    id: int
    """Its sequence in the log, the message's id everywhere."""
    to: str | None
    """``None`` for a broadcast."""
    registered: bool = True
    """``False``: no agent of that name has been here yet; the message waits for it."""
    redacted: int = 0
    """How many secrets in it were replaced before it left."""


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message as its reader sees it."""

    id: int
    sender: str
    to: str | None
    """``None`` for a broadcast."""
    text: str
    kind: str
    thread: str | None
    reply_to: int | None
    data: Any
    time: str
    """When the server stored it, RFC 3339, UTC."""
    delivered: int = 1
    """How often it has been delivered, this time included."""
    delivery: Delivery | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that this agent sent, with what its readers did."""

    message: InboxMessage
    receipts: dict[str, ReceiptState]
    """By reader."""


class AsyncMail:
    """Sending and reading messages."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._mailboxes: dict[str, bool] = {}
        self._settled: dict[int, None] = {}

    async def send(
        self,
        to: str,
        text: str,
        *,
        kind: str = "note",
        thread: str | None = None,
        reply_to: int | None = None,
        data: Any = None,
        wait_ack: float | None = None,
    ) -> Sent:
        """Store a message for an agent. With ``wait_ack`` wait that many seconds until the agent has acknowledged it.

        Raises `InvalidName`, `UsageError` for a text that is empty or none, `BodyTooLarge`, `WaitTimeout` (the message
        is stored all the same), `LogFull`.
        """
        body, redacted = _body(Message(text=text, kind=kind, thread=thread, reply_to=reply_to, data=data))
        registered = await self._open_mailbox(names.agent(to))
        subject = subjects.message(self._context.project, to, self._context.agent)
        ack = await self._context.bus.publish(subject, body)
        if wait_ack is not None:
            await self.acked(ack.seq, to, wait_ack)
        return Sent(ack.seq, to, registered, redacted)

    async def broadcast(
        self, text: str, *, kind: str = "note", thread: str | None = None, reply_to: int | None = None, data: Any = None
    ) -> Sent:
        """Store a message for every agent that is registered now, except oneself."""
        body, redacted = _body(Message(text=text, kind=kind, thread=thread, reply_to=reply_to, data=data))
        subject = subjects.broadcast(self._context.project, self._context.agent)
        return Sent((await self._context.bus.publish(subject, body)).seq, None, redacted=redacted)

    async def _open_mailbox(self, agent: str) -> bool:
        """Make sure that mail to this name is kept, and tell whether the agent has ever been here."""
        if self._mailboxes.get(agent):
            return True
        name = subjects.mailbox(self._context.project, agent)
        try:
            info = await self._context.bus.api(f"CONSUMER.INFO.{subjects.LOG}.{name}")
        except NotFound:
            await create_mailbox(self._context, agent, registered=False)
            return False
        registered: bool = info["config"].get("metadata", {}).get(REGISTERED) == "yes"
        self._mailboxes[agent] = registered
        return registered

    async def acked(self, id_: int, reader: str, seconds: float) -> None:
        """Wait up to ``seconds`` until ``reader`` has acknowledged a message of ours. Raises `WaitTimeout`."""
        subject = subjects.receipt(self._context.project, self._context.agent, reader)
        config = watcher_config([subject], start_seq=id_ + 1)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with Puller(self._context.bus, subjects.LOG, config) as puller:
            while (left := deadline - loop.time()) > 0:
                delivery = await puller.next(left)
                if delivery is None:
                    break
                receipt = _receipt(delivery.stored)
                if receipt is not None and (receipt.id, receipt.state) == (id_, "acked"):
                    return
        raise WaitTimeout(f"{reader} to acknowledge message {id_}, which is stored", seconds)

    async def inbox(self, *, limit: int = 100, sender: str | None = None) -> list[InboxMessage]:
        """Fetch up to ``limit`` unread messages, oldest first. Pass each to `ack` once it is taken care of.

        With ``sender`` only that agent's; the others stay unread. A message that is not acknowledged comes again.
        """
        if await self._register() == 0:
            return []
        name = subjects.mailbox(self._context.project, self._context.agent)
        wanted: list[InboxMessage] = []
        others: list[Delivery] = []
        while len(wanted) < limit:
            try:
                found = await fetch_now(self._context.bus, subjects.LOG, name, min(limit - len(wanted), 256))
            except NotFound:  # forgotten after `MAILBOX_IDLE_S`, or deleted
                self._mailboxes.clear()
                await self._register()
                break
            if not found:
                break
            for delivery in found:
                message = self._message(delivery.stored, delivery)
                if self._is_own_broadcast(message) or message.id in self._settled:
                    await acknowledge(self._context.bus, delivery)
                elif sender not in (None, message.sender):
                    others.append(delivery)
                else:
                    wanted.append(message)
        await asyncio.gather(*(acknowledge(self._context.bus, delivery, kind="-NAK") for delivery in others))
        return sorted(wanted, key=lambda message: message.id)

    async def messages(self) -> AsyncGenerator[InboxMessage]:
        """Messages as they arrive, for ever; each is acknowledged when the loop asks for the next one."""
        await self._register()
        config = mailbox_config(self._context, self._context.agent, registered=True)
        async with Puller(self._context.bus, subjects.LOG, config, batch=1) as puller:
            async for delivery in puller:
                message = self._message(delivery.stored, delivery)
                if self._is_own_broadcast(message) or message.id in self._settled:
                    await acknowledge(self._context.bus, delivery)
                    continue
                working = asyncio.create_task(_keep_working(self._context, delivery))
                try:
                    yield message
                finally:
                    working.cancel()
                await self.ack(message)

    async def wait(self) -> None:
        """Return as soon as there is a message to read; takes nothing."""
        await self._register()
        info = await self._context.bus.api(
            f"CONSUMER.INFO.{subjects.LOG}.{subjects.mailbox(self._context.project, self._context.agent)}"
        )
        if info.get("num_ack_pending", 0):
            return
        filters = subjects.mailbox_filters(self._context.project, self._context.agent)
        config = watcher_config(filters, start_seq=info["delivered"]["stream_seq"] + 1)
        async with Puller(self._context.bus, subjects.LOG, config) as puller:
            async for delivery in puller:
                if not self._is_own_broadcast(self._message(delivery.stored)):
                    return

    async def ack(self, message: InboxMessage) -> bool:
        """Acknowledge a fetched message and tell its sender; ``False`` when the server may not have heard it."""
        if message.delivery is None:
            return False
        self._settle(message.id)
        if not await acknowledge(self._context.bus, message.delivery):
            return False
        await self.tell(message, "acked")
        return True

    def _settle(self, id_: int) -> None:
        """Remember what is taken care of: a server that is killed forgets the acknowledgements of its last 100 ms."""
        self._settled[id_] = None
        if len(self._settled) > REMEMBERED:
            del self._settled[next(iter(self._settled))]

    async def unread(self, message: InboxMessage, *, shown: bool = False) -> None:
        """Put a fetched message back at once; with ``shown`` its sender learns that it was seen."""
        if message.delivery is not None:
            await acknowledge(self._context.bus, message.delivery, kind="-NAK")
        if shown and message.delivered == 1:
            await self.tell(message, "fetched")

    async def tell(self, message: InboxMessage, state: ReceiptState) -> None:
        """Write a receipt to the sender of a message; anonymous senders of foreign clients get one too."""
        subject = subjects.receipt(self._context.project, message.sender, self._context.agent)
        await self._context.bus.publish(subject, bodies.encode(Receipt(id=message.id, state=state)))

    async def pending(self) -> tuple[int, int]:
        """How many messages wait unread, and how many are fetched by some process but not acknowledged yet."""
        name = subjects.mailbox(self._context.project, self._context.agent)
        try:
            info = await self._context.bus.api(f"CONSUMER.INFO.{subjects.LOG}.{name}")
        except NotFound:
            return 0, 0
        return info.get("num_pending", 0), info.get("num_ack_pending", 0)

    async def show(self, id_: int) -> InboxMessage:
        """A message to or from this agent, or a broadcast, by id, read or not. Raises `NotFound`."""
        stored = await self._context.bus.get(subjects.LOG, id_)
        agent = self._context.agent
        if stored is not None and _is_message(self._context.project, stored.subject):
            message = self._message(stored)
            if message.to in (None, agent) or message.sender == agent:
                return message
        raise NotFound("message", str(id_), "it is not yours, not a message, or no longer in the log")

    async def sent(self, *, limit: int = 20) -> list[SentMessage]:
        """The newest ``limit`` messages that this agent sent, oldest first, with their receipts."""
        project, agent = self._context.project, self._context.agent
        filters = [subjects.message(project, "*", agent), subjects.broadcast(project, agent)]
        start = await timeline.start_of_last(self._context.bus, filters, limit)
        messages = [self._message(stored) async for stored in self._read(filters, start)][-limit:]
        if not messages:
            return []
        receipts: dict[int, dict[str, ReceiptState]] = {}
        async for stored in self._read([subjects.receipt(project, agent, "*")], messages[0].id):
            receipt = _receipt(stored)
            if receipt is not None:
                receipts.setdefault(receipt.id, {})[stored.subject.rpartition(".")[2]] = receipt.state
        return [SentMessage(message, receipts.get(message.id, {})) for message in messages]

    async def _read(self, filters: list[str], start: int) -> AsyncIterator[Stored]:
        config = watcher_config(filters, start_seq=start)
        async with Puller(self._context.bus, subjects.LOG, config) as puller:
            async for delivery in puller.backlog():
                yield delivery.stored

    async def _register(self) -> int | None:
        """Make sure of one's own mailbox; the first time tell how many messages are in it, read or not."""
        if self._mailboxes.get(self._context.agent):
            return None
        waiting = await create_mailbox(self._context, self._context.agent, registered=True)
        self._mailboxes[self._context.agent] = True
        return waiting

    def _is_own_broadcast(self, message: InboxMessage) -> bool:
        return message.to is None and message.sender == self._context.agent

    def _message(self, stored: Stored, delivery: Delivery | None = None) -> InboxMessage:
        body = bodies.decode_message(stored.data)
        tokens = stored.subject.split(".")
        to = tokens[3] if tokens[2] == "msg" else None
        return InboxMessage(
            id=stored.seq,
            sender=tokens[-1],
            to=to,
            text=body.text,
            kind=body.kind,
            thread=body.thread,
            reply_to=body.reply_to,
            data=body.data,
            time=stored.time,
            delivered=delivery.attempt if delivery else 1,
            delivery=delivery,
        )


async def _keep_working(context: Context, delivery: Delivery) -> None:
    """While a message is being handled, keep the server from delivering it again."""
    while True:
        await asyncio.sleep(REDELIVER_S / 3)
        await acknowledge(context.bus, delivery, kind="+WPI")


def _is_message(project: str, subject: str) -> bool:
    return subject.startswith((f"{subjects.ROOT}.{project}.msg.", f"{subjects.ROOT}.{project}.all."))


def _receipt(stored: Stored) -> Receipt | None:
    """A receipt; what a foreign client wrote in its place and cannot be understood is no receipt."""
    with contextlib.suppress(Malformed):
        return bodies.decode(Receipt, stored.data, stored.subject)
    return None


def _body(message: Message) -> tuple[bytes, int]:
    """A message without secrets, and how many there were."""
    from tracecraft.redaction import redact  # its rules are many expressions: who only reads pays for none

    text: object = message.text
    if not isinstance(text, str) or not text:
        problem = "is empty" if text == "" else f"is of type {type(text).__name__}, not text"
        raise UsageError(f"the text of the message {problem}: give it text, and any JSON as 'data'")
    body, replaced = redact.json(bodies.encode(message))
    if len(body) > subjects.MAX_BODY_BYTES:
        raise BodyTooLarge("the message", len(body), subjects.MAX_BODY_BYTES)
    return body, sum(replaced.values())


def mailbox_config(context: Context, agent: str, *, registered: bool) -> dict[str, Any]:
    """Configuration of an agent's mailbox. It starts with what comes after its creation."""
    name = subjects.mailbox(context.project, agent)
    return {
        "name": name,
        "durable_name": name,
        "filter_subjects": subjects.mailbox_filters(context.project, agent),
        "deliver_policy": "new",
        "ack_policy": "explicit",
        "ack_wait": REDELIVER_S * NANOSECOND,
        "max_ack_pending": 10_000,
        "inactive_threshold": MAILBOX_IDLE_S * NANOSECOND,
        "num_replicas": 1,
        "metadata": {REGISTERED: "yes" if registered else "no"},
    }


async def create_mailbox(context: Context, agent: str, *, registered: bool) -> int | None:
    """Create a mailbox; a registered one may take over the one that its mail made, never the other way round.

    Returns how many messages in it are not settled; ``None`` where that was not asked.
    """
    config = mailbox_config(context, agent, registered=registered)
    try:
        info = await create_consumer(context.bus, subjects.LOG, config, update=registered)
    except BusError as error:
        if registered or error.code != subjects.CONSUMER_EXISTS:
            raise
        return None
    return int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0))
