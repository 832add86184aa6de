"""`Reservations`: the blocking face of `AsyncReservations`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tracecraft import leases

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tracecraft.portal import Portal
    from tracecraft.reservations import AsyncReservations, Reservation, ReservationView
    from tracecraft_core.errors import ClaimLost


class Reservations:
    """The files that agents of the project hold; see `AsyncReservations`."""

    def __init__(self, portal: Portal, inner: AsyncReservations) -> None:
        self._portal, self._inner = portal, inner

    def reserve(
        self,
        *globs: str,
        lease: float = leases.LIVE_TTL_S,
        wait: float | None = None,
        folder: Path | None = None,
        on_lost: Callable[[ClaimLost], None] | None = None,
    ) -> builtins.list[Reservation]:
        """Reserve all of these paths and globs, or none; see `AsyncReservations.reserve`."""
        work = self._inner.reserve(*globs, lease=lease, wait=wait, folder=folder, on_lost=on_lost)
        return self._portal.run(work)

    def release(self, *globs: str, all_: bool = False, folder: Path | None = None) -> builtins.list[Reservation]:
        """Release what this session holds within these globs; with ``all_`` everything."""
        return self._portal.run(self._inner.release(*globs, all_=all_, folder=folder))

    def list(self, *globs: str, folder: Path | None = None) -> builtins.list[Reservation]:
        """What anybody holds; with ``globs`` only what overlaps one of them."""
        return self._portal.run(self._inner.list(*globs, folder=folder))

    def holder(self, path: str, *, folder: Path | None = None) -> Reservation | None:
        """Who else holds a file."""
        return self._portal.run(self._inner.holder(path, folder=folder))

    def watch(self) -> AbstractContextManager[ReservationView]:
        """A view of all reservations, kept up to date while the block runs; it may be asked from any thread."""
        return self._watch()

    @contextlib.contextmanager
    def _watch(self) -> Iterator[ReservationView]:
        watching = self._inner.watch()
        view = self._portal.run(_enter(watching))
        try:
            yield view
        finally:
            self._portal.run(_leave(watching))


async def _enter(watching: contextlib.AbstractAsyncContextManager[ReservationView]) -> ReservationView:
    return await watching.__aenter__()


async def _leave(watching: contextlib.AbstractAsyncContextManager[ReservationView]) -> None:
    await watching.__aexit__(None, None, None)
