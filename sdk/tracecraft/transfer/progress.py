"""How far a transfer is, whether it is still wanted, and how long it may stand still."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from tracecraft_core.errors import BridgeAway, BusUnreachable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

_R = TypeVar("_R")

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all, from a worker thread."""

PAUSE_S: Final = (0.1, 3.0)
"""Shortest and longest pause between two attempts."""


class StoreUnreachable(Exception):
    """The store did not take or give all bytes; trying again may help."""


class Cancelled(Exception):
    """Nobody waits for this transfer any more."""


class Meter:
    """Counts bytes, for the progress and for the patience; threads of one transfer share it."""

    def __init__(self, total: int, told: Progress | None, patience: float) -> None:
        self.total, self._told, self._patience = total, told, patience
        self._done = 0
        self._lock = threading.Lock()
        self._moved = time.monotonic()
        self._pause = PAUSE_S[0]

    def set(self, done: int) -> None:
        """Begin from here, with bytes that need no transfer."""
        with self._lock:
            self._done = done
        self._tell()

    def moved(self, count: int) -> None:
        """Note that so many bytes went through."""
        with self._lock:
            self._done += count
            self._moved, self._pause = time.monotonic(), PAUSE_S[0]
        self._tell()

    async def pause(self, error: Exception) -> None:
        """Wait a little before the next attempt. Raises `BridgeAway` when nothing has moved for the patience."""
        if time.monotonic() - self._moved >= self._patience:
            if isinstance(error, StoreUnreachable):
                raise BridgeAway(
                    f"the artifact store: {error}",
                    f"the artifact store cannot be used ({error}): is it running? 'tracecraft doctor' looks into it",
                ) from error
            raise error
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, PAUSE_S[1])

    def _tell(self) -> None:
        if self._told is not None:
            self._told(self._done, self.total)


PASSING: Final = (StoreUnreachable, BridgeAway, BusUnreachable, OutcomeUnknown)
"""What may be over soon."""


async def persist(meter: Meter, attempt: Callable[[], Awaitable[_R | None]]) -> _R:
    """Attempt until it returns something; ``None`` means begin again at once."""
    while True:
        try:
            result = await attempt()
        except PASSING as error:
            await meter.pause(error)
        else:
            if result is not None:
                return result


def while_wanted(blocks: Iterable[_R], ended: threading.Event) -> Iterator[_R]:
    """The blocks, until nobody waits for them any more. Raises `Cancelled`."""
    for block in blocks:
        if ended.is_set():
            raise Cancelled
        yield block


async def in_thread(work: Callable[[threading.Event], _R]) -> _R:
    """Run blocking work; when the caller is cancelled, the event is set and the work's end is waited for."""
    ended = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, ended))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        ended.set()
        await asyncio.wait({task})
        task.exception()
        raise
