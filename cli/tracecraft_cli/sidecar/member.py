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
from tracecraft.unread import Unread
from tracecraft_cli.sidecar import answer, words
from tracecraft_cli.sidecar.announcements import Announcements
from tracecraft_cli.sidecar.door import Reply
from tracecraft_cli.sidecar.edits import MAX_FILES, MAX_TAILS, edited
from tracecraft_cli.sidecar.identity import take_name
from tracecraft_cli.sidecar.lifeline import Lifeline
from tracecraft_cli.sidecar.mirroring import Mirroring
from tracecraft_cli.sidecar.tenure import Tenure
from tracecraft_core.errors import TracecraftError
from tracecraft_core.reservations import is_reservation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tracecraft import Agent
    from tracecraft_cli.sidecar.event import Event
    from tracecraft_cli.sidecar.mirroring import EndStatus
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""Seconds after which work that the bus broke off begins again."""

LEAVE_S: Final = 3.0
"""Seconds that giving claims back may take; without it they lapse."""


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """What the session's sidecar before this one had; of a new session, nothing."""

    name: str
    held: Mapping[str, int]
    """Tasks, with their fences."""
    announced: int
    """The highest id of a message of which the model was told."""


class Member:
    """Make it with `join`."""

    def __init__(
        self,
        session: AsyncSession,
        wish: str,
        run: str,
        program: str,
        before: Before,
        on_held: Callable[[dict[str, int]], None],
        on_announced: Callable[[int], None],
    ) -> None:
        self.session, self._wish, self.run = session, wish, run
        self._program = program
        self.tenure = Tenure(session, before.held, self._lost, on_held)
        self.unread = Unread(session.context)
        self.announcements = Announcements(self.unread, before.announced, on_announced)
        self.mirroring = Mirroring(session.settings, self.tenure.task_at)
        self.lifeline = Lifeline(session.settings)
        self._losses: list[str] = []
        self._asked: set[int] = set()
        """Messages that the agent was asked to read before it stops: once is enough."""
        self._online: list[tuple[str, tuple[str, ...]]] = []
        self._lately: list[tuple[str, tuple[str, ...]]] = []
        self._introduced = self._introducing = False
        self._work: set[asyncio.Task[None]] = set()

    @classmethod
    async def join(
        cls,
        settings: Settings,
        session: str,
        run: str,
        *,
        program: str,
        before: Before,
        on_held: Callable[[dict[str, int]], None],
        on_announced: Callable[[int], None],
    ) -> Member:
        """Take a name, be online, load what there is; ``program`` is what the agent's shell calls tracecraft.

        Raises what the bus raises.
        """
        wish = settings.agent
        settings = dataclasses.replace(settings, session=session)
        async with AsyncSession(resolved=settings, mode="oneshot") as asking:
            name = await take_name(asking.context, wish, session, before.name)
        resolved = dataclasses.replace(settings, agent=name)
        member = cls(AsyncSession(resolved=resolved), wish, run, program, before, on_held, on_announced)
        member.session.context.bus.run = run
        await member._start()
        return member

    async def _start(self) -> None:
        await self.session.open()
        jobs = (self.tenure.watch, self.unread.watch, self.mirroring.work, self.lifeline.work)
        for job in jobs:
            task = asyncio.create_task(_for_ever(job))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        await asyncio.gather(self.tenure.loaded.wait(), self.unread.loaded.wait(), self.look_around())

    async def look_around(self) -> None:
        """See who is online, as 'tracecraft agents' has it, and who works by single commands."""
        with contextlib.suppress(TracecraftError):
            found = [one for one in await self.session.agents() if one.online and one.name != self.session.agent]
            self._online = [_at_work(one) for one in found if one.mode == "live"]
            self._lately = [_at_work(one) for one in found if one.mode != "live"]

    async def follow(self, event: Event) -> None:
        """This is the conversation from now on."""
        self.lifeline.follow(event)
        await self.mirroring.follow(event)

    def introduce_again(self) -> None:
        """The model has forgotten who it is: its context is new, or was made shorter."""
        self._introduced = False
        self.announcements.begin_anew()

    # -- answers ------------------------------------------------------------------------------------------------

    def news(self, event: Event) -> Reply:
        """What the model has not been told yet: who it is, what it lost, that others wrote; each once."""
        losses, self._losses = self._losses, []
        greets = not self._introduced and not self._introducing
        fresh = self.announcements.due()
        said = answer.context(
            event.event, [self._welcome() if greets else "", *losses, words.announcement(fresh, self._program)]
        )
        if said == answer.NOTHING:
            return Reply(said)
        self._introducing = self._introducing or greets
        if fresh:
            self.announcements.begin()

        def concluded(printed: bool) -> None:
            if greets:
                self._introducing, self._introduced = False, printed
            if fresh:
                self.announcements.end(fresh, printed=printed)
            if not printed:
                self._losses = losses + self._losses

        return Reply(said, concluded)

    def verdict(self, event: Event) -> str:
        """Whether a tool call may change the files that it names."""
        if not self.tenure.others_hold():
            return answer.NOTHING
        edits = edited(event)
        for edit in edits[:MAX_FILES]:
            found = self.tenure.holder(edit.path, event.cwd)
            if found is not None:
                return answer.deny(words.refusal(edit.path, found.glob, found.owner, found.since, self._program))
        tails = list(dict.fromkeys(edit.tail for edit in edits if edit.tail is not None))
        anywhere = self.tenure.holder_of_any(tails[:MAX_TAILS])
        if anywhere is not None:
            tail, found = anywhere
            return answer.deny(words.no_folder(tail, found.glob, found.owner, self._program))
        more = event.more or len(edits) > MAX_FILES or len(tails) > MAX_TAILS
        return answer.deny(words.too_many(self._program)) if more else answer.NOTHING

    def before_stopping(self) -> Reply:
        """Ask to settle what is open."""
        held = [task.id for task in self.tenure.held()]
        reserved = [one.glob for one in self.tenure.reserved()]
        losses, self._losses = self._losses, []
        waiting = self.unread.waiting()
        self._asked &= {envelope.id for envelope in waiting}
        fresh = [envelope for envelope in waiting if envelope.id not in self._asked]
        asks = words.before_stopping(held, reserved, fresh, self._program)
        said = answer.go_on("\n\n".join([*losses, *([asks] if asks else [])]))

        def concluded(printed: bool) -> None:
            if printed:
                self._asked |= {envelope.id for envelope in fresh}
                self.announcements.end(fresh, printed=True)
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
                lately=self._lately,
                program=self._program,
            )
        )

    def _lost(self, task: str, now: str) -> None:
        self._losses.append(words.lost(task, now, self._program))

    # -- the end ------------------------------------------------------------------------------------------------

    async def leave(self, note: str) -> None:
        """Give the claims back and go offline; without the bus they lapse by themselves."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.tenure.release_all(note)
        except (TracecraftError, TimeoutError) as error:
            logger.warning("claims could not be given back, and lapse: %s", error)
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.tenure.close()
        await self.session.close()

    async def end_run(self, status: EndStatus) -> None:
        """Mirror what is left of the transcript, and end the run."""
        await self.mirroring.end(status)


def _at_work(agent: Agent) -> tuple[str, tuple[str, ...]]:
    return agent.name, tuple(task for task in agent.tasks if not is_reservation(task))


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except TracecraftError as error:
            logger.warning("%s begins again in %.0f s: %s", getattr(work, "__qualname__", work), RETRY_S, error)
        except Exception:
            logger.exception("%s begins again in %.0f s", getattr(work, "__qualname__", work), RETRY_S)
        await asyncio.sleep(RETRY_S)
