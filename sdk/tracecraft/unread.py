"""`Unread`: the mail that waits for an agent, seen without being taken: that it is there and from whom, no more.

A watcher of the log shows what came in and what was read, by whomever. Ids of messages are their places in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Receipt
from tracecraft_core.errors import Malformed
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from tracecraft.context import Context
    from tracecraft_core.bus import Stored

MOST: Final = 200
"""Messages that are remembered here; when half of them are read, the mailbox is looked at again for the rest."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message from the outside."""

    id: int
    sender: str


class Unread:
    """What is unread, as last heard."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: dict[int, Envelope] = {}
        self.more = False
        """Whether there may be others, newer than all that are remembered."""
        self.loaded = asyncio.Event()
        """Set when everything that waited at the beginning is here."""
        self.arrived = asyncio.Event()
        """Set with every message that comes in; cleared by who waits for it."""

    def waiting(self) -> list[Envelope]:
        """What is unread, oldest first."""
        return [envelope for _, envelope in sorted(self._waiting.items())]

    def forget(self, last: int) -> None:
        """Everything up to this id has been handed out, as the server says; not every reader tells of it."""
        self._waiting = {id_: envelope for id_, envelope in self._waiting.items() if id_ > last}

    async def watch(self) -> None:
        """Hear what comes in and what is read, until it is time to begin anew. Raises what the bus raises."""
        self.more = False
        bus, project, agent = self._context.bus, self._context.project, self._context.agent
        info = await bus.api(f"CONSUMER.INFO.{subjects.LOG}.{subjects.mailbox(project, agent)}")
        filters = [*subjects.mailbox_filters(project, agent), subjects.receipt(project, "*", agent)]
        config = watcher_config(filters, start_seq=info["ack_floor"]["stream_seq"] + 1)
        async with Puller(bus, subjects.LOG, config) as puller:
            async for delivery in puller.backlog():
                # What was fetched earlier and never taken waits again: who fetched it is gone.
                self._hear(delivery.stored, taken=("acked", "expired"))
            self.loaded.set()
            async for delivery in puller:
                self._hear(delivery.stored, taken=("fetched", "acked", "expired"))
                if self.more and len(self._waiting) <= MOST // 2:
                    return

    def _hear(self, stored: Stored, taken: tuple[str, ...]) -> None:
        tokens = stored.subject.split(".")
        if tokens[2] == "receipt":
            with contextlib.suppress(Malformed):
                receipt = bodies.decode(Receipt, stored.data, stored.subject)
                if receipt.state in taken:
                    self._waiting.pop(receipt.id, None)
        elif tokens[2] == "msg" or tokens[-1] != self._context.agent:  # not one's own broadcast
            self.more = self.more or len(self._waiting) >= MOST
            if not self.more:  # a newer one must not come before those that were left out
                self._waiting[stored.seq] = Envelope(stored.seq, tokens[-1])
            self.arrived.set()
