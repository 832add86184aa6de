"""`Errand`: one request on its way outside: checked, run as a child, entered before and after, answered."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_cli.relay import papers, policy
from tracecraft_cli.relay.child import MAX_REST, Child
from tracecraft_cli.relay.debt import Debt
from tracecraft_cli.relay.folder import NO_ROOM, Suspicious
from tracecraft_cli.relay.ledger import Entry
from tracecraft_cli.relay.papers import Answer
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import ThreadPoolExecutor

    from tracecraft_cli.relay.ledger import Ledger
    from tracecraft_cli.relay.papers import Request, State
    from tracecraft_cli.relay.spot import Spot

logger = logging.getLogger(__name__)

LONGEST_S: Final = 120.0
"""Seconds that a command may take which waits for nobody."""
LONGEST_WAIT_S: Final = 24 * 3600.0
"""The same for one that waits for others."""
LOOK_S: Final = 0.1
"""Seconds between two looks whether somebody still wants it."""
ROOM_S: Final = 1.0
"""Seconds between two looks whether the disks have room again."""
AT_ONCE: Final = 64
"""Commands that run together; those that wait for others count too."""
UNKNOWN: Final = "the relay was killed while it ran this"


@dataclass(frozen=True, slots=True)
class Means:
    """What every errand of a relay has."""

    spot: Spot
    ledger: Ledger
    project: str
    agent: str | None
    environment: Mapping[str, str]
    """How the bus is reached, and nothing of tracecraft's besides."""
    threads: ThreadPoolExecutor
    slots: asyncio.Semaphore


class Errand:
    """Raises `Suspicious`, ``OSError`` and what `policy` raises when the request cannot be run."""

    def __init__(self, means: Means, id_: str) -> None:
        self._means = means
        self.request: Request = means.spot.request(id_)
        rule = policy.rule_of(self.request)
        self.blocks = policy.blocks(rule, self.request.options)
        """Whether those behind it go on meanwhile."""
        who = policy.environment(self.request, project=means.project, agent=means.agent)
        self.agent = who["TRACECRAFT_AGENT"]
        self._env = {**means.environment, **who}
        self._begun = False
        self.starved = False
        """It waits for room to begin in; what is queued may."""
        self.debt: Debt | None = None
        """How it ended, and what it still has to get."""

    async def run(self, before: asyncio.Task[None] | None) -> None:
        """Do it, when ``before`` is over; whatever happens, there is an answer."""
        try:
            if before is not None:
                await asyncio.wait({before})
            while not await self._try():  # noqa: ASYNC110  # nobody tells us when a disk has room again
                await asyncio.sleep(ROOM_S)
        except (OSError, Suspicious, TracecraftError) as error:
            self._end("refused", 1, str(error))
        except asyncio.CancelledError:
            if not self._begun:
                self._means.spot.put_back(self.request.id)  # the next relay does it
            raise

    async def _try(self) -> bool:
        """Do it; ``False`` when a disk is full and nobody waits for it: what cannot be remembered is not begun."""
        try:
            async with self._means.slots:
                await self._answer()
        except OSError as error:
            if self._begun or self.request.wait or error.errno not in NO_ROOM:
                raise
            self.starved = True
            return False
        return True

    async def _answer(self) -> None:
        if self.request.wait and self._means.spot.deserted(self.request.id):
            self._end("cancelled", 130, "its client had gone before it was begun")
            return
        child = self._start()
        loop = asyncio.get_running_loop()
        over = loop.run_in_executor(self._means.threads, child.wait)
        try:
            why = await self._attend(over, child)
            code = await over
        except asyncio.CancelledError:
            await loop.run_in_executor(self._means.threads, child.stop)
            code = await over
            self._end("cancelled", code, "the relay was stopped while it ran this", child)
            raise
        self._end("cancelled" if why else "acked", code, why, child)

    async def _attend(self, over: asyncio.Future[int], child: Child) -> str | None:
        """Until it has ended; why it was ended, if it was."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (LONGEST_WAIT_S if self.blocks else LONGEST_S)
        while not over.done():
            await asyncio.wait({over}, timeout=LOOK_S)
            why = None
            if self.request.wait and self._means.spot.deserted(self.request.id):
                why = "its client has gone"
            elif loop.time() > until:
                why = f"it took over {LONGEST_WAIT_S if self.blocks else LONGEST_S:.0f} s"
            if why is not None and not over.done():
                await loop.run_in_executor(self._means.threads, child.stop)
                return f"{why}: it was ended, and may or may not have been done"
        return None

    def _start(self) -> Child:
        """Enter it, and begin."""
        means, id_ = self._means, self.request.id
        work = means.ledger.work(id_)
        stdin = attached = None
        if self.request.stdin:
            stdin = work / papers.STDIN
            means.spot.copy(id_, papers.STDIN, stdin, papers.MAX_STDIN)
        if self.request.attached is not None:
            attached = work / _file_name(self.request.attached)
            means.spot.copy(id_, papers.ATTACHED, attached, papers.MAX_ATTACHED)
        argv = policy.argv(self.request, str(attached) if attached else None)
        out, err = means.spot.outputs(id_)
        try:
            means.ledger.enter(self._entry())
            self._begun = True
            most_rest = 0 if self.request.wait else MAX_REST  # who waits is told now
            return Child(argv, self._env, means.ledger.cwd(), stdin, out, err, most_rest)
        except BaseException:
            os.close(out)
            os.close(err)
            raise

    def _end(self, state: State, code: int, message: str | None, child: Child | None = None) -> None:
        """Enter how it ended, and answer; what there is no room for now is owed."""
        answer = Answer(
            id=self.request.id,
            state=state,
            exit_code=code,
            command=" ".join(self.request.command),
            agent=self.agent,
            message=message,
            queued_at=self.request.time,
            ended_at=time.time(),
            truncated=child is not None and child.truncated,
        )
        rest = {} if child is None else dict(zip((papers.OUT, papers.ERR), child.rest(), strict=True))
        shutil.rmtree(self._means.ledger.place / "work" / self.request.id, ignore_errors=True)
        self.debt = Debt(self._means.spot, self._means.ledger, answer, rest)
        self.debt.pay()

    def _entry(self) -> Entry:
        command = " ".join(self.request.command)
        return Entry(id=self.request.id, state="running", command=command, agent=self.agent, time=time.time())


def _file_name(name: str) -> str:
    """What a file is called for the command, which may go by its end; nothing but a name."""
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)[-100:]
    return f"{papers.ATTACHED}-{kept}"
