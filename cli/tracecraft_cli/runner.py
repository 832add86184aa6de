"""Runs a command's coroutine: opens the session, keeps the agent's claims alive, turns errors into exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tracecraft_cli import output
from tracecraft_core import sandbox
from tracecraft_core.errors import BusUnreachable, ClaimLost, NotFound, TracecraftError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection

    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.options import Common
    from tracecraft_core.settings import Settings


KEEP_S: Final = 20.0
"""Seconds between two renewals while a command blocks, unless a lease is so short that it needs them sooner."""

SANDBOX: Final = sandbox.CODEX
"""Set to 1 by Codex in a sandbox that blocks every connection, also to this machine."""

SANDBOX_FIX: Final = (
    "a sandbox blocks the network: start 'codex -c sandbox_workspace_write.network_access=true', "
    "or 'tracecraft relay' outside of it"
)
"""What helps, in one line."""


def run(
    common: Common,
    work: Callable[[AsyncSession, Memo], Awaitable[None]],
    *,
    acts: bool = True,
    touches: Collection[str] | None = (),
    away: Callable[[Settings, BusUnreachable], Awaitable[None]] | None = None,
) -> None:
    """Run ``work`` as this agent and exit with the code of its error, if any.

    A command that ``acts`` makes the agent known (present, with a mailbox); every command renews the claims that the
    agent holds from earlier commands, for as long as it runs, except those in ``touches`` (``None``: all of them),
    which it renews or settles itself. ``away`` is done instead when no bus can be reached.
    """
    guard(common.as_json, lambda: in_session(common, work, acts=acts, touches=touches, away=away))


def in_session(
    common: Common,
    work: Callable[[AsyncSession, Memo], Awaitable[None]],
    *,
    acts: bool = True,
    touches: Collection[str] | None = (),
    away: Callable[[Settings, BusUnreachable], Awaitable[None]] | None = None,
) -> None:
    """The same, for somebody who knows what to do about errors: they are raised."""
    import asyncio

    asyncio.run(_session(common, work, acts=acts, touches=touches, away=away))


def guard(as_json: bool, work: Callable[[], None]) -> None:
    """Run ``work``; errors become a message and an exit code (docs/reference/cli.md)."""
    try:
        work()
    except TracecraftError as error:
        output.fail(as_json, error)
        if isinstance(error, BusUnreachable) and (sandbox.announced() or sandbox.blocked()):
            output.note(f"tracecraft: {SANDBOX_FIX}")
        _exit(error.exit_code)
    except KeyboardInterrupt:
        _exit(130)
    except BrokenPipeError:
        output.give_up()
        _exit(0)
    except output.Unwritable as error:
        output.give_up()
        output.note(f"tracecraft: {error}")
        _exit(1)


def _exit(code: int) -> NoReturn:
    sys.exit(code)


async def _session(
    common: Common,
    work: Callable[[AsyncSession, Memo], Awaitable[None]],
    *,
    acts: bool,
    touches: Collection[str] | None,
    away: Callable[[Settings, BusUnreachable], Awaitable[None]] | None,
) -> None:
    import asyncio

    from tracecraft.async_session import AsyncSession
    from tracecraft_cli import current_run
    from tracecraft_cli.held import Memo
    from tracecraft_core import inside, settings

    resolved = settings.load(common.flags)
    memo = Memo(resolved)
    inside.RUN.set(current_run.CurrentRun(resolved).place())
    inside.TRACE.set(current_run.outer_trace())
    if resolved.session is None:
        resolved = dataclasses.replace(resolved, session=memo.session())
    session = AsyncSession(resolved=resolved, mode="oneshot")
    try:
        await session.open()
    except BusUnreachable as error:
        if away is None:
            raise
        return await away(resolved, error)
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(session.close)
        held = [task for task in memo.tasks() if touches is not None and task not in touches]
        renewals = [asyncio.create_task(_renew(session, memo, task)) for task in held]
        duties: list[asyncio.Task[Any]] = [*renewals]
        if acts:
            duties.append(asyncio.create_task(session.announcer.announce(tuple(memo.tasks()))))
        keeping = asyncio.create_task(_keep(session, memo, renewals, acts, touches))
        try:
            await work(session, memo)
        finally:
            keeping.cancel()
            for outcome in await asyncio.gather(*duties, return_exceptions=True):
                if isinstance(outcome, TracecraftError):
                    output.note(f"tracecraft: {outcome}")


async def _keep(
    session: AsyncSession,
    memo: Memo,
    renewals: list[asyncio.Task[int]],
    acts: bool,
    touches: Collection[str] | None,
) -> None:
    """While a command blocks, its agent stays present and keeps its claims: go on after the first ``renewals``."""
    import asyncio

    outcomes = await asyncio.gather(*map(asyncio.shield, renewals), return_exceptions=True)
    while True:
        await asyncio.sleep(min([KEEP_S, *(ttl / 3 for ttl in outcomes if isinstance(ttl, int))]))
        held = [task for task in memo.tasks() if touches is not None and task not in touches]
        outcomes = await asyncio.gather(*(_renew(session, memo, task) for task in held), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, ClaimLost):
                output.note(f"tracecraft: {outcome}")
        if acts:
            with contextlib.suppress(TracecraftError):
                await session.announcer.announce(tuple(held))


async def _renew(session: AsyncSession, memo: Memo, task: str) -> int:
    """Renew a claim of an earlier command, and tell the agent when it has lost it; returns the lease in seconds."""
    from tracecraft import lapsed

    try:
        held = await lapsed.renew(session.context, task)
    except (ClaimLost, NotFound):
        memo.forget(task)
        raise
    return held.ttl
