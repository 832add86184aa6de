"""Runs a command's coroutine: opens the session, keeps the agent's claims alive, turns errors into exit codes."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from tracecraft_cli import output
from tracecraft_core.errors import ClaimLost, NotFound, TracecraftError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection

    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.options import Common


def run(
    common: Common,
    work: Callable[[AsyncSession, Memo], Awaitable[None]],
    *,
    acts: bool = True,
    touches: Collection[str] = (),
) -> None:
    """Run ``work`` as this agent and exit with the code of its error, if any.

    A command that ``acts`` makes the agent known (present, with a mailbox); every command renews the claims that the
    agent holds from earlier commands, except those in ``touches``, which it settles itself.
    """
    import asyncio

    guard(common.as_json, lambda: asyncio.run(_session(common, work, acts=acts, touches=touches)))


def guard(as_json: bool, work: Callable[[], None]) -> None:
    """Run ``work``; errors become a message and an exit code (docs/reference/cli.md)."""
    try:
        work()
    except TracecraftError as error:
        output.fail(as_json, error)
        _exit(error.exit_code)
    except KeyboardInterrupt:
        _exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(0)


def _exit(code: int) -> NoReturn:
    sys.exit(code)


async def _session(
    common: Common,
    work: Callable[[AsyncSession, Memo], Awaitable[None]],
    *,
    acts: bool,
    touches: Collection[str],
) -> None:
    import asyncio

    from tracecraft.async_session import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core import settings

    resolved = settings.load(common.flags)
    memo = Memo(resolved)
    if resolved.session is None:
        resolved = dataclasses.replace(resolved, session=memo.session())
    async with AsyncSession(resolved=resolved, mode="oneshot") as session:
        duties: list[asyncio.Task[None]] = []
        if acts:
            duties.append(asyncio.create_task(session.announcer.announce(tuple(memo.tasks()))))
        duties += [asyncio.create_task(_renew(session, memo, task)) for task in memo.tasks() if task not in touches]
        try:
            await work(session, memo)
        finally:
            for outcome in await asyncio.gather(*duties, return_exceptions=True):
                if isinstance(outcome, TracecraftError):
                    output.note(f"tracecraft: {outcome}")


async def _renew(session: AsyncSession, memo: Memo, task: str) -> None:
    """Renew a claim of an earlier command, and tell the agent when it has lost it."""
    from tracecraft import claims

    try:
        await claims.renew(session.context, await claims.hold(session.context, task))
    except (ClaimLost, NotFound):
        memo.forget(task)
        raise
