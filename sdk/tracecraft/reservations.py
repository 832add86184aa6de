"""File reservations: an agent that holds a glob is the only one that should edit what it matches."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tracecraft import board as boards
from tracecraft import claims, lapsed, leases, repository, reserving
from tracecraft_core import globs as patterns
from tracecraft_core import reservations
from tracecraft_core.errors import NotFound
from tracecraft_core.reservations import Reservation, is_ours

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tracecraft.board import Board
    from tracecraft.claims import Held
    from tracecraft.context import Context
    from tracecraft.keeper import Keeper
    from tracecraft.shared_board import SharedBoard
    from tracecraft_core.errors import ClaimLost

__all__ = ["AsyncReservations", "Reservation", "ReservationView"]


class AsyncReservations:
    """The files of a repository that agents of the project hold.

    A path or glob is relative to ``folder`` (default: the working folder) and means the same file in every worktree of
    the repository; `tracecraft_core.globs` says what a glob matches. Reservations are exclusive, there are none for
    readers.
    """

    def __init__(self, context: Context, keeper: Callable[[], Keeper], board: Callable[[], SharedBoard]) -> None:
        self._context, self._keeper, self._board = context, keeper, board
        self._kept: dict[str, Held] = {}

    async def reserve(
        self,
        *globs: str,
        lease: float = leases.LIVE_TTL_S,
        wait: float | None = None,
        folder: Path | None = None,
        on_lost: Callable[[ClaimLost], None] | None = None,
    ) -> builtins.list[Reservation]:
        """Reserve all of these paths and globs, or none, and keep them until they are released.

        ``lease`` is in seconds, renewed at a third of it while the session is open; ``wait`` is how many seconds to
        wait while others hold some of it. What this session holds already, or lies within it, succeeds again.
        ``on_lost`` is called, on the session's loop, when one was taken away. Raises `FileReserved`, `WaitTimeout`,
        `UsageError` for a path outside of the repository.
        """
        wanted, ttl = [repository.glob_of(glob, folder) for glob in globs], leases.check_ttl(lease)
        if not wait:
            taken = await reserving.take(self._context, wanted, ttl)
        else:
            taken = await reserving.take_when_free(self._context, wanted, ttl, wait, self._board())
        for held in taken:
            self._keep(held, on_lost)
        return await reserving.read(self._context, {held.task for held in taken})

    def _keep(self, held: Held, on_lost: Callable[[ClaimLost], None] | None) -> None:
        before = self._kept.get(held.task)
        if before is not None and before.nonce == held.nonce and not before.waiting.is_set():
            before.ttl = max(before.ttl, held.ttl)
            return
        self._kept[held.task] = held
        self._keeper().keep(held, on_lost)

    async def release(self, *globs: str, all_: bool = False, folder: Path | None = None) -> builtins.list[Reservation]:
        """Release what this session holds within these globs (with ``all_``: everything); what was released.

        Raises `NotFound` for a glob within which it holds nothing.
        """
        own = [one for one in await reserving.everything(self._context) if is_ours(one, self._context.holder)]
        wanted = [repository.glob_of(glob, folder) for glob in globs]
        for glob in wanted:
            if not reservations.chosen(glob, own):
                raise NotFound("reservation", glob, f"{self._context.agent} holds nothing within it")
        within = {one.task for glob in wanted for one in reservations.chosen(glob, own)}
        released = [one for one in own if all_ or one.task in within]
        for one in released:
            held = self._kept.pop(one.task, None)
            if held is None or held.waiting.is_set():
                held = await claims.hold(self._context, one.task)
            await claims.release(self._context, held)
        return released

    async def list(self, *globs: str, folder: Path | None = None) -> builtins.list[Reservation]:
        """What anybody holds, this session too, oldest first; with ``globs`` only what overlaps one of them.

        Without, the records of dead holders are cleared away too.
        """
        found = await reserving.everything(self._context)
        if not globs:
            await lapsed.sweep(self._context)
        wanted = [repository.glob_of(glob, folder) for glob in globs]
        return [one for one in found if not wanted or any(_meet(one.glob, glob) for glob in wanted)]

    async def holder(self, path: str, *, folder: Path | None = None) -> Reservation | None:
        """Who else holds a file: asked at the leader, two round trips. ``None``: nobody, or it is in no repository."""
        for place in repository.paths_of(path, folder):
            for one in await reserving.holders(self._context, place):
                if not is_ours(one, self._context.holder):
                    return one
        return None

    def watch(self) -> AbstractAsyncContextManager[ReservationView]:
        """A view of all reservations, kept up to date while the block runs, that answers without asking the bus."""
        return self._watch()

    @contextlib.asynccontextmanager
    async def _watch(self) -> AsyncIterator[ReservationView]:
        async with boards.watch(self._context, [reservations.ALL]) as board:
            yield ReservationView(self._context, board)


class ReservationView:
    """What is reserved, as last heard: usually a few milliseconds old, and `silent_for` says how old at most.

    It is there to warn before an edit; who has a file is decided by `AsyncReservations.reserve` alone.
    """

    def __init__(self, context: Context, board: Board) -> None:
        self._context, self._board = context, board

    @property
    def silent_for(self) -> float:
        """Seconds since the server was last heard: it speaks every second, so more than a few mean that it is away.

        What was reserved or released meanwhile is not known here.
        """
        return self._board.silent_for()

    def all(self) -> builtins.list[Reservation]:
        """What anybody holds, this session too, oldest first."""
        return reserving.on_board(self._board)

    def holder(self, path: str, *, folder: Path | None = None) -> Reservation | None:
        """Who else holds a file, as far as is known here. Raises what the server said when it lets us watch no more."""
        if self._board.failure is not None:
            raise self._board.failure
        places = repository.paths_of(path, folder)
        others = [one for one in self.all() if places and not is_ours(one, self._context.holder)]
        return next((one for place in places for one in others if one.matches(place)), None)


def _meet(one: str, other: str) -> bool:
    return patterns.meeting(patterns.parse(one), patterns.parse(other)) is not None
