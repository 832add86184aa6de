"""`Watcher`: follows sessions as they are written, each as often as something happens in it."""

from __future__ import annotations

import asyncio  # commands import this module when they run
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft.transcripts.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.transcripts.finder import Found
    from tracecraft.transcripts.mirror import Progress
    from tracecraft_core.settings import Settings

LOOK_S: Final = 3.0
"""Seconds between two looks for sessions that are new, or that go on."""
SOONEST_S, LATEST_S = 0.25, 3.0
"""Seconds between two looks into a session: soon after something happened, later and later when nothing does."""
IDLE_S: Final = 900.0
"""Seconds without anything new after which the run of a session is ended; it goes on when the session does."""
RECENT_S: Final = 120.0
"""A transcript that changed within so many seconds may be written to still."""


@dataclass(slots=True)
class _Followed:
    found: Found
    mirror: Mirror
    due: float = 0.0
    pause: float = SOONEST_S
    changed: float = 0.0
    """When it last had something new, by the monotonic clock."""
    said: str = ""


class Watcher:
    """Follows what ``find`` finds; `run` goes on until it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        find: Callable[[], list[Found]],
        told: Callable[[Found, Progress], None],
        *,
        agent: str | None = None,
    ) -> None:
        """``told`` hears of what was new in a session, and of what it waits for, once."""
        self._settings, self._find, self._told, self._agent = settings, find, told, agent
        self._followed: dict[str, _Followed] = {}
        self._ended: dict[str, float] = {}
        """Sessions that were idle, and when their transcripts had changed then."""

    async def run(self) -> None:
        """Follow until cancelled; then everything that is there is mirrored, and all is let go."""
        look = 0.0
        try:
            while True:
                now = time.monotonic()
                if now >= look:
                    await self._look()
                    look = time.monotonic() + LOOK_S
                for one in [one for one in self._followed.values() if one.due <= now]:
                    await self._advance(one)
                nearest = min((one.due for one in self._followed.values()), default=look)
                await asyncio.sleep(max(0.0, min(nearest, look) - time.monotonic()))
        finally:
            await self._let_go()

    async def _look(self) -> None:
        for found in await asyncio.to_thread(self._find):
            known = self._followed.get(found.run)
            if known is not None:
                if found.changed > known.found.changed:
                    known.found, known.due = found, 0.0
            elif found.changed > self._ended.get(found.run, -1.0):
                mirror = Mirror(self._settings, found.source, found.path, session=found.session, agent=self._agent)
                self._followed[found.run] = _Followed(found, mirror, changed=time.monotonic())

    async def _advance(self, one: _Followed) -> None:
        progress = await one.mirror.advance()
        now = time.monotonic()
        if progress.steps or progress.note or self._is_news(one, progress):
            self._told(one.found, progress)
        one.said = progress.waiting
        if progress.records:
            one.changed, one.pause = now, SOONEST_S
        else:
            one.pause = min(LATEST_S, one.pause * 1.5)
        one.due = now if progress.more and not progress.waiting else now + one.pause
        if now - one.changed > IDLE_S and not progress.waiting:
            await self._finish(one)

    def _is_news(self, one: _Followed, progress: Progress) -> bool:
        """Whether nobody was told yet what is waited for; of the bus, one session tells for all."""
        tellers = self._followed.values() if progress.away else (one,)
        return bool(progress.waiting) and all(other.said != progress.waiting for other in tellers)

    async def _finish(self, one: _Followed) -> None:
        self._ended[one.found.run] = one.found.changed
        del self._followed[one.found.run]
        await one.mirror.end()

    async def _let_go(self) -> None:
        for one in list(self._followed.values()):
            progress = await finish(one.mirror, one.found.changed)
            if progress.steps:
                self._told(one.found, progress)


async def finish(mirror: Mirror, changed: float) -> Progress:
    """Mirror the rest; a session that may go on stays open."""
    if time.time() - changed < RECENT_S:
        return await mirror.leave()
    return await mirror.end()
