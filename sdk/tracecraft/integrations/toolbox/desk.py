"""`Desk`: what an open toolbox has before it: session, claims in hand, mail, run. `Turn` is one call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft import claims, leases
from tracecraft.integrations.toolbox.letters import Letters
from tracecraft.integrations.toolbox.tracking import Tracking
from tracecraft_core.bodies import Handoff
from tracecraft_core.errors import TracecraftError
from tracecraft_core.tasks import SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tracecraft.async_session import AsyncSession
    from tracecraft.claim import AsyncClaim
    from tracecraft.claims import Held, Task
    from tracecraft.context import Context
    from tracecraft.integrations.toolbox.handing import Handing
    from tracecraft.recording.run import AsyncRun, Run
    from tracecraft_core.errors import ClaimLost
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

GLANCE_S: Final = 1.0
"""Seconds that finding out more about a lost claim may take."""
PARTING_S: Final = 1.5
"""Seconds that giving claims back may take when the toolbox is closed; what is not given back lapses."""
PARTING: Final = "given back: the program that held it has ended before the task was settled"
GIVEN_UP: Final = "given back: the call that claimed it was cancelled"


class Desk:
    """Everything that lives as long as a toolbox is open; on the session's loop."""

    def __init__(
        self,
        session: AsyncSession,
        run: Run | AsyncRun | str | None,
        find: Callable[[Settings], str | None],
    ) -> None:
        self.session = session
        self.claims: dict[str, AsyncClaim] = {}
        """Claims that were taken here and are renewed, by task."""
        self.letters = Letters(session)
        self.tracking = Tracking(session, run, find)
        self._lost: list[ClaimLost] = []
        self._cleaning: set[asyncio.Task[None]] = set()

    @property
    def context(self) -> Context:
        """The place of the session's agent in its project."""
        return self.session.context

    # -- claims -------------------------------------------------------------------------------------------------

    async def take(self, claim: AsyncClaim, handing: Handing) -> Held:
        """Claim, and keep it until it is settled or the desk is cleared. A caller that gives up holds nothing."""
        taking = asyncio.create_task(claim.acquire(self.lose))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._clean(self._undo(claim, taking))
            raise
        self.claims[claim.task] = claim
        if not claim.held.again:
            handing.claims.append(claim)
        return claim.held

    def take_back(self, handing: Handing) -> None:
        """The caller gave up before the result reached it: it must hold nothing that it does not know of."""
        for claim in handing.claims:
            self._clean(self._release_unknown(claim))

    async def _release_unknown(self, claim: AsyncClaim) -> None:
        if self.claims.get(claim.task) is claim:
            self.put_down(claim.task)
            await claim.release(GIVEN_UP)

    async def held(self, task: str) -> Held:
        """The claim on a task, taken here or by another process of the session. Raises `ClaimLost`, `NotFound`."""
        claim = self.claims.get(task)
        if claim is None:
            return await claims.hold(self.context, task)
        if claim.held.lost is not None:
            raise await claims.explained(self.context, claim.held.lost)
        return claim.held

    def is_ours(self, task: Task) -> bool:
        """Whether this agent and session holds the task, or settled it."""
        holder = self.context.holder
        return (task.record.owner, task.record.session) == (holder.agent, holder.session)

    def put_down(self, task: str) -> None:
        """The task is settled."""
        self.claims.pop(task, None)

    def lose(self, loss: ClaimLost) -> None:
        """A claim, or a reservation, was taken away."""
        self.claims.pop(loss.task, None)
        self._lost.append(loss)

    async def _undo(self, claim: AsyncClaim, taking: asyncio.Task[None]) -> None:
        """Somebody gave up while a claim was being made: let it come to its end, and give back what it got."""
        try:
            async with asyncio.timeout(GLANCE_S):
                await asyncio.shield(taking)
        except TimeoutError:
            taking.cancel()  # it waits for somebody else's task
            await asyncio.wait({taking})
        if not taking.cancelled() and taking.exception() is None:
            await claim.release(GIVEN_UP)

    def _clean(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._quietly(work))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(TracecraftError):
            await work

    # -- what the agent should know -----------------------------------------------------------------------------

    async def notices(self, *, mail: bool) -> list[str]:
        """What to say with the next result: claims that are lost, and with ``mail`` what waits unread."""
        lost, self._lost = self._lost, []
        said = [await self._explained(loss) for loss in lost]
        if mail:
            said.append(await self.letters.notice())
        return [notice for notice in said if notice]

    async def _explained(self, loss: ClaimLost) -> str | None:
        with contextlib.suppress(TracecraftError, TimeoutError):
            async with asyncio.timeout(GLANCE_S):
                now = await claims.read(self.context, loss.task)
                if now is not None and now.record.state in SETTLED and self.is_ours(now):
                    return None  # another process of this session has settled it
                if now is not None and await self._is_alive(now):
                    return None  # another process of this session has taken it again
                return str(await claims.lost(self.context, loss.task))
        return str(loss)

    async def _is_alive(self, task: Task) -> bool:
        """Whether this agent and session holds the task, with a lease."""
        lease = (await leases.read(self.context, task.id)).lease
        return lease is not None and lease.nonce == task.record.nonce and self.context.holder.holds(task.record)

    # -- the end ------------------------------------------------------------------------------------------------

    async def clear(self, *, give_back: bool) -> None:
        """Stop everything; with ``give_back`` the claims in hand are open for anyone again, else they lapse."""
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=PARTING_S)
        if give_back:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PARTING_S):
                    await asyncio.gather(*map(self._give_back, list(self.claims.values())))
                    await self._give_back_files()
        self.claims.clear()
        await self.letters.close()
        await self.tracking.close()

    async def _give_back(self, claim: AsyncClaim) -> None:
        try:
            await claims.release(self.context, claim.held, Handoff(note=PARTING))
        except TracecraftError as error:
            logger.warning("%s was not given back, its lease lapses by itself: %s", claim.task, error)

    async def _give_back_files(self) -> None:
        if "reservations" in vars(self.session):
            with contextlib.suppress(TracecraftError):
                await self.session.reservations.release(all_=True)


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of one tool."""

    desk: Desk
    handing: Handing

    @property
    def session(self) -> AsyncSession:
        """The session."""
        return self.desk.session

    @property
    def context(self) -> Context:
        """The place of the session's agent in its project."""
        return self.desk.context
