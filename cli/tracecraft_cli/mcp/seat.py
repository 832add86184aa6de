"""`Seat`: as whom the server acts. Asked at every call: a coding agent's session may begin, or change, after it.

Inside of a coding agent with a sidecar the server is the agent and session that the sidecar made known, so what is
claimed here, in the agent's shell and by its hooks is held by one. Elsewhere it is an agent of its own, whose claims
are given back when the client goes.
"""

# ruff: noqa: TID253 - the server imports this module when it runs

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.toolbox import Toolbox
from tracecraft.integrations.toolbox.problem import FAILED, ToolProblem, problem_of
from tracecraft_cli.current_run import CurrentRun
from tracecraft_core import coding_session, settings
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.coding_session import CodingSession
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

READY_S: Final = 5.0
"""Seconds that a call waits for a sidecar which has begun and is not on the bus yet."""
LOOK_S: Final = 0.05
"""Seconds between two looks at its state file."""
ELSEWHERE_S: Final = 10.0
"""Seconds after which a toolbox of another identity, which is being closed, is no longer waited for."""


class Seat:
    """The toolbox of whoever we are now."""

    def __init__(self, flags: Mapping[str, str | None]) -> None:
        self._flags = flags
        self._lock = asyncio.Lock()
        self._toolbox: Toolbox | None = None
        self._who: tuple[Any, ...] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def call(self, name: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
        """Call a tool as whoever we are. Raises `ToolProblem`."""
        try:
            toolbox = await self._current()
        except TracecraftError as error:
            raise problem_of(error) from error
        except OSError as error:
            raise ToolProblem(FAILED, f"the settings cannot be read: {error}", retry=False) from error
        return await toolbox.call(name, arguments)

    async def close(self) -> None:
        """Leave the seat."""
        toolbox, self._toolbox = self._toolbox, None
        if toolbox is not None:
            await toolbox.close()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=ELSEWHERE_S)

    async def _current(self) -> Toolbox:
        async with self._lock:
            session = await _ready_session()
            found = await asyncio.to_thread(settings.load, self._flags)
            who = (found.agent, found.session, found.project, found.values.get("server"), _run_of(session))
            if self._toolbox is None or who != self._who:
                self._leave()
                self._toolbox, self._who = _toolbox(found, session), who
            return self._toolbox

    def _leave(self) -> None:
        if self._toolbox is not None:
            logger.info("the identity of this server has changed")
            task = asyncio.create_task(self._toolbox.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


async def _ready_session() -> CodingSession | None:
    """The coding session around this process, once its sidecar knows as whom it is on the bus."""
    loop = asyncio.get_running_loop()
    until = loop.time() + READY_S
    while True:
        found = await asyncio.to_thread(coding_session.find)  # on some systems it asks ps
        if found is None or found.agent or loop.time() >= until or not found.sidecar_lives():
            return found
        await asyncio.sleep(LOOK_S)


def _run_of(session: CodingSession | None) -> str | None:
    return session.run or None if session is not None else None


def _toolbox(found: Settings, session: CodingSession | None) -> Toolbox:
    """A toolbox; where a sidecar keeps the session present, that is left to it."""
    shared = session is not None and found.session == session.session and session.sidecar_lives()
    return Toolbox(
        resolved=found,
        mode="oneshot" if shared else "live",
        find_run=lambda chosen: _run_of(session) or CurrentRun(chosen).get(),
    )
