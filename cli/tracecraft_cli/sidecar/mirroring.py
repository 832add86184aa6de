"""The transcript of the conversation, mirrored into its run: poked by hooks, looked at every second otherwise.

The transcript is the one source of the run's steps. Where there is none, nothing is recorded, and nothing is invented.
"""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.transcripts.mirror import Mirror
    from tracecraft_cli.sidecar.event import Event
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Seconds between two looks at a transcript that nobody poked at."""

END_S: Final = 30.0
"""Seconds that the rest of a transcript may take; what is left is mirrored by 'tracecraft session mirror'."""

EndStatus = Literal["finished", "failed", "killed"]


class Mirroring:
    """Mirrors one conversation at a time."""

    def __init__(self, settings: Settings, task_at: Callable[[float], str | None]) -> None:
        self._settings, self._task_at = settings, task_at
        self._mirror: Mirror | None = None
        self._id = ""
        self._poked = asyncio.Event()
        self._lock = asyncio.Lock()

    async def follow(self, event: Event) -> None:
        """Mirror the conversation of this event from now on; one that was mirrored before has finished."""
        if event.id == self._id or not event.transcript:
            return
        from tracecraft.transcripts.mirror import Mirror

        await self.end("finished")
        self._id = event.id
        self._mirror = Mirror(
            self._settings,
            "claude" if event.kind == "claude" else "codex",
            Path(event.transcript),
            session=event.id,
            agent=self._settings.agent,
            task=self._task_at,
        )

    def poke(self) -> None:
        """There is something new."""
        self._poked.set()

    async def work(self) -> None:
        """Mirror for ever."""
        while True:
            self._poked.clear()
            if not await self._advance():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._poked.wait(), LOOK_S)

    async def _advance(self) -> bool:
        """One bounded piece; whether there is more."""
        async with self._lock:
            if self._mirror is None:
                return False
            progress = await self._mirror.advance()
        if progress.waiting:
            logger.info("the transcript is not mirrored just now: %s", progress.waiting)
        return progress.more

    async def end(self, status: EndStatus) -> None:
        """Mirror what is left and end the run."""
        async with self._lock:
            mirror, self._mirror, self._id = self._mirror, None, ""
            if mirror is None:
                return
            try:
                async with asyncio.timeout(END_S):
                    await mirror.end(status)
            except TimeoutError:
                logger.warning("the end of the transcript could not be mirrored within %.0f s", END_S)
                await mirror.leave()
