"""The mail that waits for the agent, seen without being taken: that it is there and from whom, not a word of it.

A watcher of the log shows what came in and what was read, by whomever. Ids of messages are their places in the log, and
an announcement names all that waits, so the highest id that was announced tells what was: it is written into the
session's state, and a sidecar that comes after a killed one goes on from there.
"""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

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
    from collections.abc import Callable

    from tracecraft import AsyncSession
    from tracecraft_core.bus import Stored

MOST: Final = 200
"""Messages that are remembered here; when half of them are read, the mailbox is looked at again for the rest."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message, as far as a hook may tell of it."""

    id: int
    sender: str


class Unread:
    """What is unread, as last heard."""

    def __init__(self, session: AsyncSession, announced: int, on_announced: Callable[[int], None]) -> None:
        """``announced``: the highest id of which the model knows; ``on_announced`` is told the next one."""
        self._session = session
        self._waiting: dict[int, Envelope] = {}
        self._announced, self._on_announced = announced, on_announced
        self._announcing = False
        self._left_out = False
        self.loaded = asyncio.Event()
        """Set when everything that waited at the beginning is here."""

    def waiting(self) -> list[Envelope]:
        """What is unread, oldest first."""
        return [envelope for _, envelope in sorted(self._waiting.items())]

    def unannounced(self) -> list[Envelope]:
        """What waits and has not been announced; nothing while a hook is about to print an announcement."""
        return [] if self._announcing else [one for one in self.waiting() if one.id > self._announced]

    def announce(self) -> None:
        """A hook is about to print what is not announced."""
        self._announcing = True

    def announced(self, envelopes: list[Envelope], *, printed: bool) -> None:
        """The hook has printed it, or nobody knows."""
        self._announcing = False
        if printed and envelopes and envelopes[-1].id > self._announced:
            self._announced = envelopes[-1].id
            self._on_announced(self._announced)

    def announce_again(self) -> None:
        """The model has forgotten what was announced."""
        self._announced = 0

    async def watch(self) -> None:
        """Hear what comes in and what is read, until it is time to begin anew. Raises what the bus raises."""
        self._left_out = False
        context = self._session.context
        bus, project, agent = context.bus, context.project, context.agent
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
                if self._left_out and len(self._waiting) <= MOST // 2:
                    return

    def _hear(self, stored: Stored, taken: tuple[str, ...]) -> None:
        tokens = stored.subject.split(".")
        if tokens[2] == "receipt":
            with contextlib.suppress(Malformed):
                receipt = bodies.decode(Receipt, stored.data, stored.subject)
                if receipt.state in taken:
                    self._waiting.pop(receipt.id, None)
            return
        own_broadcast = tokens[2] != "msg" and tokens[-1] == self._session.agent
        if not own_broadcast and len(self._waiting) < MOST:
            self._waiting[stored.seq] = Envelope(stored.seq, tokens[-1])
        elif not own_broadcast:
            self._left_out = True
