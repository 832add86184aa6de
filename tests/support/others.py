"""What other agents do while a command is tested: by the SDK in this process, which costs no start of a program."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tracecraft import AsyncSession, claims, leases
from tracecraft_core.bodies import Handoff, Settlement

if TYPE_CHECKING:
    from tests.support.cli import CommandLine


def settle(cli: CommandLine, task: str, agent: str, state: Settlement = "done", handoff: Handoff | None = None) -> None:
    """``agent`` claims the task and settles it."""

    async def work() -> None:
        async with AsyncSession(server=cli.server, project=cli.project, agent=agent, mode="oneshot") as session:
            held = await claims.claim(session.context, task, leases.LIVE_TTL_S)
            await claims.settle(session.context, held, state, handoff or Handoff())

    asyncio.run(work())
