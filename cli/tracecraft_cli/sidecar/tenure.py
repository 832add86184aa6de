"""The claims of the session: whoever made them (a command in the agent's shell, its MCP server), kept while it lives.

A live board of the project shows which leases are this agent's and session's. Each is taken into care, and its lease
becomes a short one that is renewed: when the coding agent and its sidecar are killed, others need not wait long. What
the agent settles itself is let go without a word; what is taken away is told.

A lease that lapsed (a machine that slept, a sidecar that was killed) is taken again if nobody is in the way. For files
`tracecraft.lapsed` sees to it that nobody who has reserved an overlapping glob meanwhile is.
"""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from tracecraft import board as boards
from tracecraft import claims, lapsed, leases, reserving
from tracecraft.keeper import Keeper
from tracecraft.reservations import ReservationView
from tracecraft_cli.sidecar import words
from tracecraft_core import subjects
from tracecraft_core.bodies import Handoff
from tracecraft_core.errors import ClaimLost, NotFound, Refused, TracecraftError
from tracecraft_core.reservations import Reservation, is_ours, is_reservation, with_a_path_that_ends
from tracecraft_core.tasks import SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tracecraft import AsyncSession
    from tracecraft.board import Board
    from tracecraft.claims import Held, Task

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""Seconds after which the board is looked at again without a change: what failed is tried again."""

STALE_S: Final = float(leases.LIVE_TTL_S)
"""Seconds of silence of the bus after which nothing is refused any more: those leases may have lapsed unheard."""

REMEMBERED: Final = 1_000
"""Spans of time, each with a task that was held, that are remembered for the transcript."""


class Tenure:
    """What the session holds."""

    def __init__(
        self,
        session: AsyncSession,
        before: Mapping[str, int],
        on_lost: Callable[[str, str], None],
        on_change: Callable[[dict[str, int]], None],
    ) -> None:
        """``before``: tasks and fences that the session's sidecar held before this one.

        ``on_lost`` is told a task and who has it now, ``on_change`` what is held.
        """
        self._session = session
        self._holder = session.context.holder
        self._before, self._said = dict(before), dict(before)
        self._on_lost, self._on_change = on_lost, on_change
        self._keeper = Keeper(session.context, session.announcer)
        self._held: dict[str, Held] = {}
        self._missing: dict[str, int] = {}
        """Reservations that lapsed or are gone, with their fences: not held, and to be taken again or told as lost."""
        self._lost: dict[str, int] = {}
        """Reservations that were told as lost, by the revision of their record: the board may still show that one."""
        self._recovering: set[asyncio.Task[None]] = set()
        self._spans: deque[list[float | str]] = deque(maxlen=REMEMBERED)
        self._board: Board | None = None
        self.loaded = asyncio.Event()
        """Set when the board has been seen once."""

    # -- what is known ------------------------------------------------------------------------------------------

    def held(self) -> list[Task]:
        """The work that the session holds, as last heard."""
        return [task for task in self._mine() if not is_reservation(task.id)]

    def reserved(self) -> list[Reservation]:
        """The files that it holds; not what a command of the agent has claimed and not looked yet whether it may."""
        if self._board is None:
            return []
        return [one for one in self._view().all() if is_ours(one, self._holder) and one.task in self._held]

    def claimable(self) -> list[Task]:
        """What anybody may claim."""
        return self._board.claimable(">") if self._board else []

    def others_hold(self) -> bool:
        """Whether anybody else holds any file, from what is known here alone; nobody, when that is too old to say."""
        if self._board is None or self._board.silent_for() > STALE_S:
            return False
        return not all(is_ours(one, self._holder) for one in self._view().all())

    def holder(self, path: str, folder: str) -> Reservation | None:
        """Who else holds a file, from what is known here alone; nobody, when that is too old to say."""
        from pathlib import Path

        if self._board is None or self._board.silent_for() > STALE_S:
            return None
        try:
            return self._view().holder(path, folder=Path(folder))
        except (TracecraftError, OSError, ValueError):
            return None

    def holder_of_any(self, tails: Sequence[str]) -> tuple[str, Reservation] | None:
        """Who else holds a file whose path ends so, as `holder`: where the folder of an edit cannot be told."""
        if not tails or self._board is None or self._board.silent_for() > STALE_S:
            return None
        others = [one for one in self._view().all() if not is_ours(one, self._holder)]
        found = ((tail, with_a_path_that_ends(tail, others)) for tail in tails)
        return next(((tail, one) for tail, one in found if one is not None), None)

    def task_at(self, at: float) -> str | None:
        """The task that was held at a time (seconds since 1970); the one taken last, of several."""
        for task, began, ended in reversed(list(self._spans)):
            if float(began) <= at <= float(ended):
                return str(task)
        return None

    def _view(self) -> ReservationView:
        assert self._board is not None
        return ReservationView(self._session.context, self._board)

    def _mine(self) -> list[Task]:
        if self._board is None:
            return []
        return [
            task
            for task in list(self._board.tasks.values())
            if self._holder.holds(task.record) and self._has_lease(self._board, task)
        ]

    @staticmethod
    def _has_lease(board: Board, task: Task) -> bool:
        lease = board.leases.get(task.id)
        return lease is not None and lease.nonce == task.record.nonce

    # -- keeping ------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Take claims into care and notice losses, for ever. Raises what the bus raises."""
        async with boards.watch(self._session.context, [">"]) as board:
            self._board = board
            await self._take_over(board)
            while True:
                await self._look(board)
                self.loaded.set()
                await board.next_change(LOOK_S)

    async def _take_over(self, board: Board) -> None:
        """What a sidecar before this one held: told when it is lost, claimed again when nobody renewed it meanwhile."""
        for name, fence in self._before.items():
            now = board.tasks.get(name)
            ours = now is not None and self._holder.holds(now.record)
            if now is not None and ours and self._has_lease(board, now):
                continue
            if is_reservation(name):
                self._missing[name] = fence
            elif now is not None and ours:
                with contextlib.suppress(TracecraftError):
                    await self._claim(now.id)
            elif now is None or (now.revision > fence and not self._is_ours(now)):
                self._lose(name, now)
        self._before.clear()

    async def _claim(self, task: str) -> None:
        self._keep(await claims.claim(self._session.context, task, leases.LIVE_TTL_S))

    def _is_ours(self, task: Task) -> bool:
        """Whether we hold it, or settled or released it ourselves."""
        record = task.record
        own = (record.owner, record.session) == (self._holder.agent, self._holder.session)
        return record.state == "open" or (own and record.forced is None)

    async def _look(self, board: Board) -> None:
        for task in self._mine():
            known = self._held.get(task.id)
            if known is None or known.nonce != task.record.nonce:
                with contextlib.suppress(TracecraftError):
                    await self._adopt(task.id)
        for name, held in list(self._held.items()):
            now = board.tasks.get(name)
            if now is None or now.record.nonce != held.nonce or not self._holder.holds(now.record):
                if board.heard.get(subjects.TASKS, 0) < held.fence:
                    continue  # the board has not heard of it yet
                if is_reservation(name):
                    self._give_up(name, held.fence)  # released by the agent itself, or not: its record tells
                    continue
                self._let_go(name, held)
                if now is not None and not self._is_ours(now):
                    self._lose(name, now)
        await self._shorten(board)
        await self._find_lapsed(board)
        for name in list(self._missing):
            await self._take_files_again(name)
        now_held = {task: held.fence for task, held in self._held.items()} | self._missing
        if now_held != self._said:
            self._said = now_held
            self._on_change(now_held)

    async def _adopt(self, task: str) -> None:
        context = self._session.context
        if is_reservation(task):
            held = await reserving.adopt(context, task, leases.LIVE_TTL_S)
        else:
            held = await claims.hold(context, task)
            held.ttl = min(held.ttl, leases.LIVE_TTL_S)
            await claims.renew(context, held)
        if held is not None:
            self._keep(held)

    async def _shorten(self, board: Board) -> None:
        """A command of the agent has renewed with its own, longer lease: nobody shall wait for that."""
        for name, held in list(self._held.items()):
            lease = board.leases.get(name)
            if lease is not None and lease.nonce == held.nonce and lease.ttl > held.ttl:
                with contextlib.suppress(TracecraftError):  # a loss is the keeper's to tell
                    await claims.renew(self._session.context, held)

    async def _find_lapsed(self, board: Board) -> None:
        """Reservations of the session that lapsed, also before they were taken into care: nobody was awake then."""
        for task in list(board.tasks.values()):
            alive = task.id in self._missing or self._has_lease(board, task)
            if alive or not is_reservation(task.id) or not self._holder.holds(task.record):
                continue
            if self._lost.get(task.id) == task.revision:
                continue
            with contextlib.suppress(TracecraftError):
                if (await leases.read(self._session.context, task.id)).lease is None:
                    self._give_up(task.id, task.revision)

    def _give_up(self, name: str, fence: int) -> None:
        """A reservation has lapsed, or is gone: what there is to do about it, the next look does."""
        if name in self._held:
            self._let_go(name, self._held[name])
        self._missing[name] = fence

    async def _take_files_again(self, name: str) -> None:
        """Reserve it once more, by the same rule as anew, or tell that it is lost; without an answer look again."""
        if name not in self._held:
            try:
                self._keep(await lapsed.take_again(self._session.context, name, leases.LIVE_TTL_S))
            except ClaimLost as loss:
                if self._board is not None and (seen := self._board.tasks.get(name)) is not None:
                    self._lost[name] = seen.revision
                settled = loss.state in SETTLED
                self._on_lost(name, words.settled(loss.state, loss.owner) if settled else words.reserved(loss.owner))
            except NotFound:
                pass  # the agent has released it
            except TracecraftError as error:
                logger.warning("%s could not be reserved again yet: %s", name, error)
                return
        del self._missing[name]

    def _keep(self, held: Held) -> None:
        if held.task in self._held:
            self._let_go(held.task, self._held[held.task])
        self._held[held.task] = held
        self._keeper.keep(held, lambda _: self._lapsed(held))
        if not is_reservation(held.task):
            self._spans.append([held.task, time.time(), float("inf")])

    def _let_go(self, task: str, held: Held) -> None:
        held.settled = True
        held.waiting.set()
        del self._held[task]
        for span in self._spans:
            if span[0] == task and span[2] == float("inf"):
                span[2] = time.time()

    def _lapsed(self, held: Held) -> None:
        """It could not be renewed: a machine that slept, a bus that was away. Who has it now, the board tells."""
        if self._held.get(held.task) is not held:
            return
        if is_reservation(held.task):
            self._give_up(held.task, held.fence)
            if self._board is not None:
                self._board.touch()
        else:
            task = asyncio.create_task(self._take_again(held))
            self._recovering.add(task)
            task.add_done_callback(self._recovering.discard)

    async def _take_again(self, held: Held) -> None:
        """Claim it again if nobody has it: the agent works on it still."""
        while self._held.get(held.task) is held:
            try:
                now = await claims.read(self._session.context, held.task)
                if now is None or not self._holder.holds(now.record) or now.record.nonce != held.nonce:
                    return  # the board is about to tell, or has told
                await self._claim(now.id)
            except (Refused, ClaimLost, NotFound):
                return
            except TracecraftError as error:
                logger.warning("%s could not be claimed again yet: %s", held.task, error)
                await asyncio.sleep(1)

    def _lose(self, name: str, now: Task | None) -> None:
        if now is None:
            self._on_lost(name, "it is gone")
        elif now.record.state == "claimed":
            self._on_lost(name, words.owned(now.record.owner))
        else:
            forced = now.record.forced
            self._on_lost(name, words.settled(now.record.state, forced.by if forced else now.record.owner))

    # -- the end ------------------------------------------------------------------------------------------------

    async def release_all(self, note: str) -> None:
        """Give everything back. What cannot be given back lapses."""
        for task in self._mine():
            with contextlib.suppress(ClaimLost, NotFound):
                held = self._held.get(task.id) or await claims.hold(self._session.context, task.id)
                handoff = None if is_reservation(task.id) else Handoff(note=note)
                await claims.release(self._session.context, held, handoff)

    async def close(self) -> None:
        """Renew nothing any more."""
        for task in list(self._recovering):
            task.cancel()
        await self._keeper.stop()
