"""`Letters`: mail between the mailbox and the model, so that none is lost and none is unheard of.

A message that a tool has returned is not acknowledged yet: the client may die before its model reads it. The next call
shows that it did not, and acknowledges; until then the server is kept from delivering the message again. When there is
no next call, the message is unread again for the agent's next session.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from tracecraft.mail import REDELIVER_S, create_mailbox
from tracecraft.unread import Unread
from tracecraft_core import quotation, subjects
from tracecraft_core.errors import TracecraftError
from tracecraft_core.pull import acknowledge

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence

    from tracecraft.async_session import AsyncSession
    from tracecraft.mail import InboxMessage

logger = logging.getLogger(__name__)

GLANCE_S: Final = 0.5
"""Seconds that a look for unread mail may take: a notice is not worth a wait."""
NAMED: Final = 5
"""Senders that a notice names."""


class Letters:
    """The mail of one agent, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session, self._context = session, session.context
        self._fetched: dict[int, InboxMessage] = {}
        """What was returned to a caller and not acknowledged."""
        self._unread = Unread(session.context)
        """Messages that were heard of and may be unread."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen; what waits already is heard of too. Raises what the bus raises."""
        await create_mailbox(self._context, self._context.agent, registered=True)
        self._spawn(self._listen())
        self._spawn(self._keep_working())
        await self._unread.loaded.wait()

    async def close(self) -> None:
        """Stop listening; what was not acknowledged comes again. Acknowledgements under way get out first."""
        for task in list(self._tasks):
            if task.get_name() != "acknowledge":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- reading ------------------------------------------------------------------------------------------------

    async def fetch(self, limit: int, sender: str | None = None) -> list[InboxMessage]:
        """Unread messages, oldest first; they count as handed over when `hand_over` is told so."""
        return await self._session.mail.inbox(limit=limit, sender=sender)

    def hand_over(self, messages: Sequence[InboxMessage]) -> None:
        """These have reached the caller; their senders are told so."""
        self._fetched |= {message.id: message for message in messages}
        fresh = [message for message in messages if message.delivered == 1]
        if fresh:
            self._spawn(self._tell_fetched(fresh))

    def acknowledge(self, ids: Collection[int] | None = None) -> list[int]:
        """Acknowledge what was handed over (or those of ``ids``), in the background; returns which."""
        wanted = [id_ for id_ in self._fetched if ids is None or id_ in ids]
        messages = [self._fetched.pop(id_) for id_ in wanted]
        if messages:
            self._spawn(self._acknowledge(messages), name="acknowledge")
        return wanted

    async def arrival(self, limit: int) -> list[InboxMessage]:
        """Wait for mail, and fetch it."""
        while True:
            self._unread.arrived.clear()
            found = await self.fetch(limit)
            if found:
                return found
            # What another process fetched and died with comes again, and nothing announces it.
            again = int((await self._info()).get("num_ack_pending", 0)) > len(self._fetched)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REDELIVER_S if again else None):
                    await self._unread.arrived.wait()

    async def unread(self) -> int:
        """How many messages wait."""
        return int((await self._info()).get("num_pending", 0))

    async def notice(self) -> str | None:
        """What to say of unread mail; asks the server only when something has arrived since there was none."""
        if not self._unread.waiting():
            return None
        try:
            async with asyncio.timeout(GLANCE_S):
                self._unread.forget(int((await self._info())["delivered"]["stream_seq"]))
        except (TracecraftError, TimeoutError):
            return None
        waiting = self._unread.waiting()
        if not waiting:
            return None
        number = len(waiting)
        senders = list(dict.fromkeys(envelope.sender for envelope in waiting))
        named = ", ".join(quotation.oneline(name, 64) for name in senders[:NAMED])
        others = f" and {len(senders) - NAMED} others" if len(senders) > NAMED else ""
        many = f"{number} unread message{'s' if number > 1 else ''}"
        return f"{many}{' or more' if self._unread.more else ''} from {named}{others}: read with inbox()"

    # -- in the background --------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        try:
            while True:
                await self._unread.watch()
        except TracecraftError as error:
            logger.warning("new mail is not announced any more: %s", error)
        finally:
            self._unread.loaded.set()

    async def _keep_working(self) -> None:
        """Keep the server from delivering again what the model has in its hands."""
        while True:
            await asyncio.sleep(REDELIVER_S / 3)
            deliveries = [message.delivery for message in self._fetched.values() if message.delivery is not None]
            with contextlib.suppress(TracecraftError):
                await asyncio.gather(*(acknowledge(self._context.bus, one, kind="+WPI") for one in deliveries))

    async def _acknowledge(self, messages: list[InboxMessage]) -> None:
        for message in messages:
            with contextlib.suppress(TracecraftError):
                await self._session.mail.ack(message)

    async def _tell_fetched(self, messages: list[InboxMessage]) -> None:
        for message in messages:
            with contextlib.suppress(TracecraftError):
                await self._session.mail.tell(message, "fetched")

    async def _info(self) -> dict[str, Any]:
        name = subjects.mailbox(self._context.project, self._context.agent)
        return await self._context.bus.api(f"CONSUMER.INFO.{subjects.LOG}.{name}")
