"""`serve`: the relay, outside of the sandbox. Takes requests from a workspace's folder, one agent's in their order."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_cli.relay import errand, papers
from tracecraft_cli.relay.debt import Debt
from tracecraft_cli.relay.drain import Drain
from tracecraft_cli.relay.errand import Errand, Means
from tracecraft_cli.relay.folder import Suspicious
from tracecraft_cli.relay.ledger import Ledger
from tracecraft_cli.relay.papers import Answer, Beat
from tracecraft_cli.relay.spot import Spot
from tracecraft_core import contexts, sandbox, settings
from tracecraft_core.errors import TracecraftError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.05
"""Seconds between two looks for requests."""
PATIENCE_S: Final = 5.0
"""Seconds that the end of a relay waits for a delivery that is under way."""
MOST: Final = 256
"""Most requests that are taken at a time; the others wait where they are."""


async def serve(
    workspace: Path,
    resolved: Settings,
    *,
    agent: str | None = None,
    once: bool = False,
    told: Callable[[str], None] | None = None,
) -> None:
    """Do what a sandbox asks for in ``workspace``, until cancelled.

    Args:
        workspace: the folder that the sandbox may write; the relay's own is ``.tracecraft/relay`` in it.
        resolved: how the bus is reached, and the project that every request is for.
        agent: whom every request counts for; ``None``: whom it names.
        once: end when nothing waits.
        told: told in words of what happens.

    Raises `Refused` when another relay serves the folder, `UsageError` when it cannot be one.
    """
    if sandbox.blocked():
        raise UsageError("a relay needs the network, which this sandbox blocks: start it outside")
    ledger: Ledger | None = None
    try:
        ledger = Ledger.open(workspace)
        spot = Spot(workspace)
    except (OSError, Suspicious) as error:
        if ledger is not None:
            ledger.close()
        raise UsageError(f"{workspace} cannot have a relay: {error}") from None
    with contextlib.closing(ledger), contextlib.closing(spot), ThreadPoolExecutor(2 * errand.AT_ONCE) as threads:
        slots = asyncio.Semaphore(errand.AT_ONCE)
        means = Means(spot, ledger, resolved.project, agent, _environment(resolved), threads, slots)
        await _Relay(means, resolved, told or logger.info).run(once=once)


class _Relay:
    """Its errands under way."""

    def __init__(self, means: Means, resolved: Settings, told: Callable[[str], None]) -> None:
        self._means, self._told, self._server = means, told, resolved.server
        self._spot, self._ledger = means.spot, means.ledger
        self._drain = Drain(means.spot, means.ledger.place, resolved, told)
        self._errands: dict[asyncio.Task[None], Errand] = {}
        self._debts: list[Debt] = []
        self._last: dict[str, asyncio.Task[None]] = {}
        """By agent, the errand that the next one waits for."""
        self._trouble = ""

    async def run(self, *, once: bool) -> None:
        self._recover()
        beating = asyncio.create_task(self._beat())
        draining = asyncio.create_task(_nothing() if once else self._drain.run())
        try:
            while self._look() or self._moves() or not once:  # noqa: ASYNC110  # nobody wakes us: it is a folder
                await asyncio.sleep(LOOK_S)
            await self._drain.once()
        finally:
            self._drain.stop()
            for task in [beating, *self._errands]:
                task.cancel()
            await asyncio.gather(beating, *self._errands, return_exceptions=True)
            self._pay()
            await asyncio.wait({draining}, timeout=PATIENCE_S)
            draining.cancel()
            with contextlib.suppress(OSError):
                self._spot.silence()

    async def _beat(self) -> None:
        project, agent = self._means.project, self._means.agent
        host, server = socket.gethostname(), self._server
        beat = Beat(pid=os.getpid(), host=host, project=project, agent=agent, started=time.time(), server=server)
        while True:
            with self._in_words("the workspace's folder"):
                self._spot.renew()
                self._spot.beat(beat)
                self._spot.prune()
            self._pay()
            await asyncio.sleep(papers.BEAT_S)

    def _moves(self) -> bool:
        """Whether something is under way that does not wait for room, nor behind what does."""
        starved = {one.agent for one in self._errands.values() if one.starved}
        return any(one.agent not in starved for one in self._errands.values())

    @contextlib.contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        """Say what is wrong, once."""
        try:
            yield
        except (OSError, Suspicious) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._told(f"{what} cannot be used: {error}")
        else:
            self._trouble = ""

    # -- what a relay before us has left ------------------------------------------------------------------------

    def _recover(self) -> None:
        """Answer for what was under way when a relay was killed; what it had not begun waits again."""
        for entry in self._ledger.begun():
            with self._in_words("what this relay remembers"):
                self._ledger.enter(msgspec.structs.replace(entry, state="unknown", exit_code=69, time=time.time()))
        for id_ in [*self._spot.taken(), *self._spot.owed()]:
            with self._in_words(id_):
                self._recover_one(id_)
        shutil.rmtree(self._ledger.place / "work", ignore_errors=True)

    def _recover_one(self, id_: str) -> None:
        entry = self._ledger.known(id_)
        if entry is None:
            self._spot.put_back(id_)
        elif self._spot.answered(id_):
            self._spot.forget(id_)
        else:
            unknown = entry.state in ("unknown", "running")
            message = f"{errand.UNKNOWN}: it may or may not have been done" if unknown else None
            answer = Answer(
                id=id_,
                state="unknown" if unknown else entry.state,
                exit_code=69 if unknown else entry.exit_code,
                command=entry.command,
                agent=entry.agent,
                message=message,
                ended_at=time.time(),
            )
            self._owe(Debt(self._spot, self._ledger, answer))
            self._told(f"{id_}  {entry.command}: {message or entry.state}")

    # -- receipts that had no room -------------------------------------------------------------------------------

    def _owe(self, debt: Debt) -> None:
        if not debt.pay():
            self._debts.append(debt)
            self._told(f"{debt.answer.id}: its receipt waits until there is room: {debt.trouble}")

    def _pay(self) -> None:
        """Give the receipts for which there is room by now."""
        paid = [debt for debt in self._debts if debt.pay()]
        for debt in paid:
            self._debts.remove(debt)
            self._told(f"{debt.answer.id}: has its receipt now")

    # -- requests ------------------------------------------------------------------------------------------------

    def _look(self) -> int:
        """Take what waits; returns how much that was."""
        taken = 0
        with self._in_words("the requests"):
            for id_ in self._spot.waiting()[: max(0, MOST - len(self._errands))]:
                if self._spot.take(id_):
                    self._begin(id_)
                    taken += 1
        return taken

    def _begin(self, id_: str) -> None:
        known = self._ledger.known(id_)
        if known is not None:
            self._spot.forget(id_)
            self._told(f"{id_}: refused, a request of this id is {known.state} already")
            return
        try:
            one = Errand(self._means, id_)
        except (OSError, Suspicious, TracecraftError) as error:
            self._refuse(id_, str(error))
            return
        task = asyncio.create_task(one.run(self._last.get(one.agent)))
        self._errands[task] = one
        if not one.blocks:
            self._last[one.agent] = task
        task.add_done_callback(lambda task: self._done(task, one))

    def _done(self, task: asyncio.Task[None], one: Errand) -> None:
        del self._errands[task]
        if self._last.get(one.agent) is task:
            del self._last[one.agent]
        if not task.cancelled() and task.exception():
            logger.error("the request %s failed", one.request.id, exc_info=task.exception())
        elif one.debt is not None:
            answer = one.debt.answer
            self._told(f"{answer.id}  {answer.agent}  {answer.command}: {answer.state}, exit code {answer.exit_code}")
            if not one.debt.paid:
                self._owe(one.debt)
        elif one.starved:
            self._told(f"{one.request.id} stays queued: there is no room to do it in")

    def _refuse(self, id_: str, reason: str) -> None:
        now = time.time()
        answer = Answer(id=id_, state="refused", exit_code=1, command="", message=reason, ended_at=now)
        self._owe(Debt(self._spot, self._ledger, answer))
        self._told(f"{id_}: refused, {reason}")


async def _nothing() -> None:
    """What a relay delivers meanwhile that ends by itself: it does so at its end."""


def _environment(resolved: Settings) -> dict[str, str]:
    """The environment of commands: ours, with the settings that this relay has found and no other of tracecraft's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TRACECRAFT_") and name not in (sandbox.CODEX, "TRACEPARENT", "COLUMNS")
    }
    found = {
        f"TRACECRAFT_{name.upper()}": resolved.values[name] for name in settings.DESCRIPTIONS if name in resolved.values
    }
    for name in ("TRACECRAFT_AGENT", "TRACECRAFT_SESSION", "TRACECRAFT_PROJECT"):
        found.pop(name, None)
    if "NATS context" in resolved.origin.get("server", ""):  # it says more than variables can
        context = resolved.values.get("context") or contexts.selected()
        found = {"TRACECRAFT_CONTEXT": context} if context else found
    for name in ("TRACECRAFT_SPOOL", "TRACECRAFT_SPOOL_LIMIT", "TRACECRAFT_DATA"):
        if name in os.environ:
            found[name] = os.environ[name]
    return kept | found
