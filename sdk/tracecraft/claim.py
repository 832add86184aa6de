"""A claim as a context manager: renewed while the block runs, settled when it ends."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

from tracecraft import claims
from tracecraft_core import tasks
from tracecraft_core.bodies import Handoff, Settlement
from tracecraft_core.errors import ClaimLost, TracecraftError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from tracecraft.claims import Held
    from tracecraft.context import Context
    from tracecraft.keeper import Keeper
    from tracecraft_core.bodies import TaskRecord


class AsyncClaim:
    """A task that is yours while the block runs.

    Entering claims it. A block that ends completes it, one that raises fails it with the traceback's summary, one that
    is cancelled releases it. When the claim is lost the block is cancelled and `ClaimLost` raised in its place.
    """

    def __init__(self, context: Context, keeper: Keeper, take: Callable[[], Awaitable[Held]]) -> None:
        self._context, self._keeper, self._take = context, keeper, take
        self._held: Held | None = None
        self._body: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._handoff = Handoff()

    async def __aenter__(self) -> AsyncClaim:
        self._body = asyncio.current_task()
        await self.acquire(self._interrupt)
        return self

    async def acquire(self, on_lost: Callable[[ClaimLost], None] | None = None) -> None:
        """Claim the task and keep it alive; ``on_lost`` is called once if it is taken away."""
        self._held = await self._take()
        self._keeper.keep(self._held, on_lost)

    def _interrupt(self, _: ClaimLost) -> None:
        if self._body is not None and not self._body.done():
            self._cancelled = True
            self._body.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._body = None
        if self._cancelled and (task := asyncio.current_task()):
            task.uncancel()  # also when the block made another exception of it, or none
        await self.finish(error)

    async def finish(self, error: BaseException | None) -> None:
        """Settle as the end of the block demands. Raises `ClaimLost` when the claim was lost on the way."""
        held = self.held
        if held.lost is not None and not held.settled:
            held.lost = await claims.explained(self._context, held.lost)
            raise held.lost from (None if isinstance(error, asyncio.CancelledError) else error)
        if held.settled:
            return
        if error is None:
            await claims.settle(self._context, held, "done", self._handoff)
        elif isinstance(error, Exception):
            await claims.settle(self._context, held, "failed", _failure(error))
        else:
            await self._give_back(held, error)

    async def _give_back(self, held: Held, error: BaseException) -> None:
        try:
            await claims.release(self._context, held, Handoff(note=f"interrupted: {type(error).__name__}"))
        except TracecraftError:
            if not self._context.bus.transport.closed:
                raise  # a session that was closed before lets its claims lapse, and the interruption goes on

    @property
    def held(self) -> Held:
        """The claim's bookkeeping. Raises `UsageError` outside the block."""
        if self._held is None:
            raise UsageError("the task is not claimed yet: use 'async with session.claim(...) as claim'")
        return self._held

    @property
    def task(self) -> str:
        """Id of the task."""
        return self.held.task

    @property
    def fence(self) -> int:
        """The fencing token: larger for every later claim of the task."""
        return self.held.fence

    @property
    def record(self) -> TaskRecord:
        """The task's record: title, data, the handoff of an earlier attempt, whom it was taken over from."""
        return self.held.record

    def check(self) -> None:
        """Raise `ClaimLost` if the claim is known to be lost; call it before a side effect."""
        if self.held.lost is not None:
            raise self.held.lost

    async def _check(self) -> None:
        held = self.held
        if held.lost is not None:
            held.lost = await claims.explained(self._context, held.lost)
            raise held.lost

    def hand_off(
        self, note: str | None = None, *, to: str | None = None, next_action: str | None = None, result: Any = None
    ) -> None:
        """Say what the next agent should know; written when the block ends well.

        Raises `BodyTooLarge` for a note or result that does not fit beside the task's definition.
        """
        handoff = Handoff(note=note, to=to, next_action=next_action, result=result)
        if self._held is not None:
            tasks.check_handoff(self._held.task, self._held.record, handoff)
        self._handoff = handoff

    async def complete(
        self,
        note: str | None = None,
        *,
        state: Settlement = "done",
        to: str | None = None,
        next_action: str | None = None,
        result: Any = None,
    ) -> None:
        """Settle now, before the block ends. Raises `ClaimLost`."""
        await self._check()
        handoff = Handoff(note=note, to=to, next_action=next_action, result=result)
        await claims.settle(self._context, self.held, state, handoff)

    async def release(self, note: str | None = None) -> None:
        """Give the task back now, open for anyone. Raises `ClaimLost`."""
        await self._check()
        await claims.release(self._context, self.held, Handoff(note=note) if note else None)


def _failure(error: Exception) -> Handoff:
    summary = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return Handoff(note=f"{summary}{where}"[:2_000])
