"""The session's place on the bus: presence under a name of its own, claims, mail and transcript, and what to say of it.

Everything that a hook is answered comes from what is known here; no answer waits for the bus.
"""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Final

from tracecraft import AsyncSession
from tracecraft_cli.sidecar import answer, words
from tracecraft_cli.sidecar.door import Reply
from tracecraft_cli.sidecar.edits import edited
from tracecraft_cli.sidecar.identity import take_name
from tracecraft_cli.sidecar.lifeline import Lifeline
from tracecraft_cli.sidecar.scribe import Scribe
from tracecraft_cli.sidecar.tenure import Tenure
from tracecraft_cli.sidecar.unread import Unread
from tracecraft_core.errors import TracecraftError
from tracecraft_core.reservations import is_reservation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tracecraft_cli.sidecar.event import Event
    from tracecraft_cli.sidecar.scribe import EndStatus
    from tracecraft_cli.sidecar.shown import Shown
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""Seconds after which work that the bus broke off begins again."""

LEAVE_S: Final = 3.0
"""Seconds that giving claims back may take; without it they lapse."""

SETTLE_S: Final = 2.0
"""Seconds that the last acknowledgements of mail may take."""


class Member:
    """Make it with `join`."""

    def __init__(
        self,
        session: AsyncSession,
        wish: str,
        run: str,
        shown: Shown,
        before: Mapping[str, int],
        on_held: Callable[[dict[str, int]], None],
    ) -> None:
        self.session, self._wish, self.run = session, wish, run
        self.tenure = Tenure(session, before, self._lost, on_held)
        self.unread = Unread(session, shown)
        self.scribe = Scribe(session.settings, self.tenure.task_at)
        self.lifeline = Lifeline(session.settings)
        self._losses: list[str] = []
        self._asked: set[int] = set()
        """Messages that the agent was asked to read before it stops: once is enough."""
        self._online: list[tuple[str, tuple[str, ...]]] = []
        self._introduced = self._introducing = False
        self._work: set[asyncio.Task[None]] = set()

    @classmethod
    async def join(
        cls,
        settings: Settings,
        session: str,
        run: str,
        shown: Shown,
        *,
        earlier: str = "",
        before: Mapping[str, int],
        on_held: Callable[[dict[str, int]], None],
    ) -> Member:
        """Take a name, be online, load what there is. Raises what the bus raises."""
        wish = settings.agent
        settings = dataclasses.replace(settings, session=session)
        async with AsyncSession(resolved=settings, mode="oneshot") as asking:
            name = await take_name(asking.context, wish, session, earlier)
        resolved = dataclasses.replace(settings, agent=name)
        member = cls(AsyncSession(resolved=resolved), wish, run, shown, before, on_held)
        member.session.context.bus.run = run
        await member._start()
        return member

    async def _start(self) -> None:
        await self.session.open()
        jobs = (self.tenure.watch, self.unread.watch, self.unread.settle, self.scribe.work, self.lifeline.work)
        for job in jobs:
            task = asyncio.create_task(_for_ever(job))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        await asyncio.gather(self.tenure.loaded.wait(), self.unread.loaded.wait(), self.look_around())

    async def look_around(self) -> None:
        """See who is online."""
        with contextlib.suppress(TracecraftError):
            found = await self.session.agents()
            self._online = [
                (one.name, tuple(task for task in one.tasks if not is_reservation(task)))
                for one in found
                if one.online and one.name != self.session.agent
            ]

    async def follow(self, event: Event) -> None:
        """This is the conversation from now on."""
        self.lifeline.follow(event)
        await self.scribe.follow(event)

    def introduce_again(self) -> None:
        """The model has forgotten who it is: its context is new, or was made shorter."""
        self._introduced = False

    # -- answers ------------------------------------------------------------------------------------------------

    def news(self, event: Event) -> Reply:
        """What the model has not been told yet: who it is, what it lost, what others wrote; each once."""
        losses, self._losses = self._losses, []
        greets = not self._introduced and not self._introducing
        others, shown, announced = self._mail(event)
        said = answer.context(event.event, [self._welcome() if greets else "", *losses, others])
        if said == answer.NOTHING:
            return Reply(said)
        self._introducing = self._introducing or greets
        self.unread.offer(shown)

        def concluded(handed_over: bool) -> None:
            if greets:
                self._introducing, self._introduced = False, handed_over
            if handed_over:
                self.unread.announced(announced)
            else:
                self._losses = losses + self._losses
            self.unread.concluded(shown, handed_over=handed_over)

        return Reply(said, concluded)

    def _mail(self, event: Event) -> tuple[str, list[int], list[int]]:
        """What to say of the mail that waits, which of it is shown with that, and which is only announced."""
        if answer.holds_others_words(event.kind, event.event):
            text, ids = words.delivery(self.unread.waiting(), self.unread.maybe_shown())
            return text, ids, []
        fresh = self.unread.unannounced()
        return words.announcement(fresh), [], [message.id for message in fresh]

    def verdict(self, event: Event) -> str:
        """Whether a tool call may change the files that it names."""
        for path in edited(event):
            found = self.tenure.holder(path, event.cwd)
            if found is not None:
                return answer.deny(words.refusal(path, found.glob, found.owner, found.since))
        return answer.NOTHING

    def before_stopping(self) -> Reply:
        """Ask to settle what is open; in our own words only."""
        held = [task.id for task in self.tenure.held()]
        reserved = [one.glob for one in self.tenure.reserved()]
        losses, self._losses = self._losses, []
        waiting = {message.id for message in self.unread.waiting()}
        asks = words.before_stopping(held, reserved, len(waiting - self._asked))
        said = answer.go_on("\n\n".join([*losses, *([asks] if asks else [])]))

        def concluded(handed_over: bool) -> None:
            if handed_over:
                self._asked |= waiting
                self.unread.announced(list(waiting))
            else:
                self._losses = losses + self._losses

        return Reply(said, concluded)

    def _welcome(self) -> str:
        held, claimable = self.tenure.held(), self.tenure.claimable()
        return words.welcome(
            words.Situation(
                agent=self.session.agent,
                wish=self._wish,
                project=self.session.project,
                run=self.run,
                held=[task.id for task in held],
                claimable=[task.id for task in claimable],
                reserved=[one.glob for one in self.tenure.reserved()],
                online=self._online,
            )
        )

    def _lost(self, task: str, now: str) -> None:
        self._losses.append(words.lost(task, now))

    # -- the end ------------------------------------------------------------------------------------------------

    async def leave(self, note: str) -> None:
        """Give the claims back and go offline; without the bus they lapse by themselves."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.tenure.release_all(note)
        except (TracecraftError, TimeoutError) as error:
            logger.warning("claims could not be given back, and lapse: %s", error)
        with contextlib.suppress(TracecraftError, TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self.unread.settle_now()
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.tenure.close()
        await self.session.close()

    async def end_run(self, status: EndStatus) -> None:
        """Mirror what is left of the transcript, and end the run."""
        await self.scribe.end(status)


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except TracecraftError as error:
            logger.warning("%s begins again in %.0f s: %s", getattr(work, "__qualname__", work), RETRY_S, error)
        except Exception:
            logger.exception("%s begins again in %.0f s", getattr(work, "__qualname__", work), RETRY_S)
        await asyncio.sleep(RETRY_S)
