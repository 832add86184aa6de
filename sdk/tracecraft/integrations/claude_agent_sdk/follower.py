"""`Follower`: follows the transcripts of this process's sessions into their runs, woken by hooks.

Hooks carry no tokens, and the messages' own numbers are those of their first block. The transcript has everything,
once, so it is the one source of a run; a hook only says that there is something new, which costs some microseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from tracecraft.integrations import closing
from tracecraft.loop import background
from tracecraft.transcripts.mirror import Mirror

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_core.run_events import EndStatus
    from tracecraft_core.settings import Settings

IDLE_S: Final = 1.0
"""Seconds after which the transcript is looked at though no hook came."""
QUIET_S: Final = 0.4
"""Seconds for which a transcript must not grow before a turn that has stopped is over: its last lines come late."""
LAST_LINES_S: Final = 5.0
"""Most seconds to wait for that."""


class Follower:
    """One session, from its first hook of a turn to the end of the turn."""

    def __init__(self, settings: Settings, session: str, path: Path, *, agent: str | None, inside: str | None) -> None:
        """``agent`` is its name on the bus; ``inside`` the run around it."""
        fresh = not path.exists()
        self._path = path
        self._mirror = Mirror(settings, "claude", path, session=session, agent=agent, inside=inside, fresh=fresh)
        self._status: EndStatus | None = None
        self._done: Future[None] = Future()
        self._poked: asyncio.Event | None = None
        background().start(self._follow())

    @property
    def done(self) -> bool:
        """Whether the turn is over and recorded."""
        return self._done.done()

    def poke(self) -> None:
        """There is something new."""
        background().soon(self._wake)

    def stop(self, status: EndStatus) -> None:
        """The turn is over: record the rest, and end the run. Waits for nothing; the end of the program does."""
        if self._status is None:
            self._status = status
            closing.later(lambda: self._done.result(closing.PATIENCE_S), f"claude {self._mirror.session}")
        self.poke()

    def _wake(self) -> None:
        if self._poked is not None:
            self._poked.set()

    async def _follow(self) -> None:
        try:
            await self._following()
        except Exception as error:
            self._done.set_exception(error)  # told by whoever waits for the end
        else:
            self._done.set_result(None)

    async def _following(self) -> None:
        self._poked = asyncio.Event()
        while self._status is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), IDLE_S)
            self._poked.clear()
            while (await self._mirror.advance()).more:
                pass
        await self._last_lines()
        await self._mirror.end(self._status)

    async def _last_lines(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST_LINES_S
        size, since = self._size(), loop.time()
        while loop.time() < until and loop.time() - since < QUIET_S:
            await asyncio.sleep(QUIET_S / 4)
            if (now := self._size()) != size:
                size, since = now, loop.time()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


class Followers:
    """The sessions of this process that are being followed."""

    def __init__(self) -> None:
        self._open: dict[str, Follower] = {}
        self._lock = threading.Lock()

    def follow(
        self, settings: Settings, session: str, path: Path, *, agent: str | None, inside: str | None
    ) -> Follower:
        """The follower of a session; a turn after one that is over has another."""
        with self._lock:
            found = self._open.get(session)
            if found is None or found.done:
                found = self._open[session] = Follower(settings, session, path, agent=agent, inside=inside)
            return found

    def end_all(self, status: EndStatus) -> None:
        """The turns that nobody has ended are over."""
        with self._lock:
            waiting = list(self._open.values())
        for follower in waiting:
            if not follower.done:
                follower.stop(status)


FOLLOWERS: Final = Followers()
