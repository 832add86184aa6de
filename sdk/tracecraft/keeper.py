"""The background loop that keeps leases and presence alive, and says at once when a claim is lost.

Proof of life never depends on a model remembering to call something: while the process lives, this renews.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from tracecraft import claims
from tracecraft.claims import UNKNOWN
from tracecraft.leases import LIVE_TTL_S
from tracecraft_core.errors import ClaimLost, TracecraftError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.claims import Held
    from tracecraft.context import Context
    from tracecraft.presence import Announcer

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""Seconds between two tries to renew while the bus does not answer."""


class Keeper:
    """Renews every claim of a session at a third of its lease, and the session's presence."""

    def __init__(self, context: Context, announcer: Announcer) -> None:
        self._context, self._announcer = context, announcer
        self._held: dict[str, Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to keep presence alive."""
        self._spawn(self._keep_presence())

    def keep(self, held: Held, on_lost: Callable[[ClaimLost], None] | None = None) -> None:
        """Renew a claim until it is settled; call ``on_lost`` once when it is lost."""
        self._held[held.task] = held
        self._spawn(self._keep_claim(held, on_lost))

    async def stop(self) -> None:
        """Stop renewing; leases that are still held lapse by themselves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_presence(self) -> None:
        while True:
            try:
                await self._announcer.announce(tuple(self._held))
            except TracecraftError as error:
                logger.warning("presence could not be renewed: %s", error)
            await asyncio.sleep(LIVE_TTL_S / 3)

    async def _keep_claim(self, held: Held, on_lost: Callable[[ClaimLost], None] | None) -> None:
        try:
            await self._renew_until_settled(held)
        except ClaimLost as error:
            held.lost = error
            held.waiting.set()
            if on_lost is not None:
                on_lost(error)
        finally:
            if self._held.get(held.task) is held:
                del self._held[held.task]

    async def _renew_until_settled(self, held: Held) -> None:
        pause = held.ttl / 3
        while not await _settled(held, pause):
            # Past this moment somebody else may own the task, whatever the bus would tell us later.
            lapses_at = held.renewed_at + held.ttl
            try:
                async with asyncio.timeout_at(lapses_at):
                    await claims.renew(self._context, held)
            except ClaimLost:
                if held.settled:
                    return
                raise
            except (TimeoutError, TracecraftError) as error:
                if held.settled:
                    return
                left = lapses_at - asyncio.get_running_loop().time()
                if left <= 0:
                    detail = f"the lease could not be renewed in time ({str(error) or 'the bus is away'})"
                    raise ClaimLost(held.task, None, UNKNOWN, detail) from None
                logger.warning("%s could not be renewed yet: %s", held.task, error)
                pause = min(RETRY_S, left)
            else:
                pause = held.ttl / 3


async def _settled(held: Held, seconds: float) -> bool:
    """Whether the claim is settled within so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await held.waiting.wait()
    return held.waiting.is_set()
