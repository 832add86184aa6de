"""How far the mirror is, for the duties: that the table has what the stream had at a moment, and that the log grew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tracecraft_bridge.continuity import Position
from tracecraft_core import subjects
from tracecraft_core.errors import WaitTimeout

if TYPE_CHECKING:
    from tracecraft_core.bus import Bus


class Progress:
    """The newest committed position, and the end of the log behind it; the mirror moves it, the duties wait for it."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._end: Position | None = None
        self._moved = asyncio.Event()

    def move(self, position: Position | None, waiting: int = 0) -> None:
        """Note the committed position and how many messages wait behind it; ``None`` when nothing is known."""
        self._position = position
        self._end = None if position is None else Position(position.epoch, position.seq + waiting)
        self._moved.set()
        self._moved = asyncio.Event()

    async def caught_up(self, bus: Bus, timeout: float = 60.0) -> None:
        """Wait until everything that is in the log now is mirrored. Raises `WaitTimeout`."""
        newest = await bus.leader_get(subjects.LOG, ">")
        seq = newest.seq if newest is not None else 0
        try:
            async with asyncio.timeout(timeout):
                while self._position is None or self._position.seq < seq:
                    await self._moved.wait()
        except TimeoutError:
            raise WaitTimeout(f"the mirror to reach sequence {seq}", timeout) from None

    async def end_beyond(self, seen: Position | None) -> Position:
        """The end of the log, mirrored or not, as soon as it is known to be another than the one seen last."""
        while self._end is None or self._end == seen:
            await self._moved.wait()
        return self._end
