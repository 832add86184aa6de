"""``claim --exec``: a program runs under a claim, and its exit code settles the task.

The lease is renewed while it runs. It is stopped when the claim is lost; when we are told to stop, so is it, and the
task is given back.
"""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import dataclasses
import os
import shlex
import shutil
import signal
from typing import TYPE_CHECKING, Final

from tracecraft import claims
from tracecraft.async_session import AsyncSession
from tracecraft.keeper import Keeper
from tracecraft_cli import taking, task_view
from tracecraft_cli.output import emit, note
from tracecraft_cli.process import Program
from tracecraft_core import bodies, ids, reservations, settings, subjects, tasks
from tracecraft_core.bodies import Handoff, TaskRecord
from tracecraft_core.errors import ClaimLost, TracecraftError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from tracecraft.claims import Held
    from tracecraft.context import Context
    from tracecraft_cli.options import Common
    from tracecraft_cli.taking import Wish
    from tracecraft_core.bodies import Settlement
    from tracecraft_core.settings import Settings

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Passed on to the program, unless we were started with the signal ignored."""


def execute(common: Common, wish: Wish, argv: tuple[str, ...], grace: float) -> int:
    """Claim, run ``argv``, settle; returns the program's exit code.

    ``grace`` is how many seconds it has between a signal that stops it and SIGKILL. Raises `ClaimLost`, and what
    `taking.take` does.
    """
    if shutil.which(argv[0]) is None:
        raise UsageError(f"{argv[0]!r} is not a program that can be run; for a shell line: --exec -- sh -c '...'")
    resolved = settings.load(common.flags)
    if resolved.session is None:  # two processes of one agent must never both hold a task
        resolved = dataclasses.replace(resolved, session=ids.fresh())
    return asyncio.run(_Execution(resolved, argv, common.as_json, grace).run(wish))


class _Execution:
    """One program under one or more claims."""

    def __init__(self, resolved: Settings, argv: tuple[str, ...], as_json: bool, grace: float) -> None:
        self._settings, self._argv, self._as_json, self._grace = resolved, argv, as_json, grace
        self._program: Program | None = None
        self._signal: int | None = None
        self._kill: asyncio.TimerHandle | None = None
        self._losses: asyncio.Queue[ClaimLost] = asyncio.Queue()

    async def run(self, wish: Wish) -> int:
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number, this)
        try:
            async with AsyncSession(resolved=self._settings, mode="live") as session:
                return await self._work(session, await taking.take(session, wish))
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            return 128 + self._signal

    def _on_signal(self, number: int, this: asyncio.Task[int]) -> None:
        if self._program is None:
            this.cancel()
        else:
            self._program.signal(number if self._signal is None else signal.SIGKILL)
            if self._kill is None:
                loop = asyncio.get_running_loop()
                self._kill = loop.call_later(self._grace, self._program.signal, signal.SIGKILL)
        self._signal = number

    async def _work(self, session: AsyncSession, held: list[Held]) -> int:
        for claim in held:
            is_file = reservations.is_reservation(claim.task)
            note(task_view.reservation_text(claim) if is_file else task_view.claim_text(claim))
        try:
            self._program = Program(self._argv, environment(self._settings, held))
        except OSError as error:
            await taking.give_back(session.context, held)
            raise UsageError(f"{self._argv[0]!r} cannot be run: {error.strerror}") from None
        keeper = Keeper(session.context, session.announcer)
        for claim in held:
            keeper.keep(claim, self._losses.put_nowait)
        try:
            code = await self._await_end(session.context, held, self._program)
        finally:
            await keeper.stop()
        await self._settle_all(session.context, held, code)
        return code if self._signal is None else 128 + self._signal

    async def _await_end(self, context: Context, held: list[Held], program: Program) -> int:
        """The exit code of the program. Raises `ClaimLost`, and then the program is gone."""
        ended = asyncio.get_running_loop().run_in_executor(None, program.wait)
        while True:
            losing = asyncio.create_task(self._losses.get())
            await asyncio.wait((ended, losing), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                losing.cancel()
                if self._kill is not None:  # what it has left running must not go on without the claim
                    self._kill.cancel()
                    rest = self._kill.when() - asyncio.get_running_loop().time()
                    await asyncio.to_thread(program.stop, max(0.0, rest))
                return ended.result()
            loss = losing.result()
            claim = next(claim for claim in held if claim.task == loss.task)
            if await _soon(_own_doing(context, claim)):
                continue
            await asyncio.to_thread(program.stop, self._grace)
            await ended
            others = [other for other in held if other is not claim and other.lost is None]
            await taking.give_back(context, others, f"{claim.task}, claimed together with it, was lost")
            raise await claims.explained(context, loss)

    async def _settle_all(self, context: Context, held: list[Held], code: int) -> None:
        loss: ClaimLost | None = None
        for claim in held:
            try:
                state = await self._settle(context, claim, code)
            except ClaimLost as error:
                if not await _own_doing(context, claim):
                    loss = loss or error
                    continue
                state = "settled by the program"
            result = {"task": claim.task, "fence": claim.fence, "state": state, "exit_code": code}
            note(f"{task_view.called(claim)} {state}")
            emit(self._as_json, result, None)
        if loss is not None:
            raise loss

    async def _settle(self, context: Context, claim: Held, code: int) -> str:
        if self._signal is not None:
            handoff = Handoff(note=f"interrupted by {signal.Signals(self._signal).name}")
            return (await claims.release(context, claim, handoff)).record.state
        tail = self._program.tail if self._program is not None else ""
        failure = f"{shlex.join(self._argv)[:200]} exited with {code}{': ' + tail if tail else ''}"
        state: Settlement = "done" if code == 0 else "failed"
        handoff = Handoff() if code == 0 else Handoff(note=failure)
        return (await claims.settle(context, claim, state, handoff)).record.state


async def _own_doing(context: Context, claim: Held) -> bool:
    """Whether the program itself settled or released the task: the first write behind our claim tells."""
    stream, subject = context.kv(subjects.TASKS, claim.task)
    written = await context.bus.next_after(stream, subject, claim.fence)
    if written is None or not written.data:  # a reservation leaves its last record in its deletion
        return False
    record = bodies.decode(TaskRecord, written.data, subject)
    if record.state == "open":
        return True  # only its holder can release a task
    ours = (record.owner, record.session) == (context.holder.agent, context.holder.session)
    return record.state in tasks.SETTLED and ours and record.forced is None


async def _soon(question: Awaitable[bool]) -> bool:
    """The answer within a second, else no: past the end of a lease nobody may be asked for long."""
    try:
        async with asyncio.timeout(1):
            return await question
    except (TimeoutError, TracecraftError):
        return False


def environment(resolved: Settings, held: Sequence[Held]) -> Mapping[str, str]:
    """The environment of the program: tracecraft commands in it act as the same owner, on the same bus.

    Secrets are passed here and never in arguments, which every user of the machine can read.
    """
    known = {"task": " ".join(claim.task for claim in held), "fence": " ".join(str(claim.fence) for claim in held)}
    return identity(resolved) | {f"TRACECRAFT_{name.upper()}": value for name, value in known.items()}


def identity(resolved: Settings) -> dict[str, str]:
    """Our environment, with the settings of the owner in it."""
    known = {name: value for name, value in resolved.values.items() if name in settings.DESCRIPTIONS}
    if resolved.origin.get("server", "").endswith(f"NATS context {known.get('context')}"):
        known.pop("server")  # the context says more than its URL
    known |= {"agent": resolved.agent, "project": resolved.project, "session": resolved.session or ""}
    return {**os.environ, **{f"TRACECRAFT_{name.upper()}": value for name, value in known.items()}}
