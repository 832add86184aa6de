"""`Tracking`: the run into which a toolbox logs: the one it is told, the one around the call, or one that it begins."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.toolbox import parting
from tracecraft.integrations.toolbox.problem import NOT_FOUND, REFUSED, ToolProblem
from tracecraft.loop import in_thread
from tracecraft.recording import spool
from tracecraft.recording.plan import PROJECT_VARIABLE, RUN_VARIABLE
from tracecraft.recording.run import AsyncRun, Run, current_run, end_within
from tracecraft.recording.scope import flush_async
from tracecraft_core import names, subjects
from tracecraft_core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracecraft.async_session import AsyncSession
    from tracecraft.recording.scope import Scope
    from tracecraft_core.run_events import EndStatus
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

FLUSH_S: Final = 2.0
"""Seconds that `log` waits for the bus, and leaving a run too; what is not there by then is safe on disk."""


def from_environment(settings: Settings) -> str | None:
    """The run that TRACECRAFT_RUN names, if it is of this project."""
    if os.environ.get(PROJECT_VARIABLE, settings.project) != settings.project:
        return None
    return os.environ.get(RUN_VARIABLE) or None


class Tracking:
    """The runs that a toolbox writes into."""

    def __init__(
        self, session: AsyncSession, given: Run | AsyncRun | str | None, find: Callable[[Settings], str | None]
    ) -> None:
        self._session, self._find = session, find
        self._given = given if isinstance(given, (Run, AsyncRun)) else None
        self._told = given if isinstance(given, str) else None
        self._open: dict[str, AsyncRun] = {}
        """Runs that were joined or begun here, by id."""
        self._begun: list[str] = []
        self._outside: str | None = None
        """The run in which the session writes when none was begun here."""
        self._lock = asyncio.Lock()

    def current(self) -> str | None:
        """Id of the run into which `log` writes when it is not told."""
        around = self._given or current_run()
        if self._begun:
            return self._begun[-1]
        return around.id if around is not None else self._told or self._find(self._session.settings)

    def mark(self) -> None:
        """Have what the session writes bear the run that is current now."""
        bus = self._session.context.bus
        self._outside = bus.run = bus.run or self.current()

    async def begin(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> AsyncRun:
        """Begin a run, inside of the one that is current."""
        run = self._session.run(name, params=params, tags=tags, parent=self.current())
        await in_thread(run.start)
        parting.come_first()
        self._open[run.id] = run
        self._begun.append(run.id)
        self._session.context.bus.run = run.id
        return run

    async def scope(self, wanted: str | None) -> Scope:
        """Where to log: the run ``wanted``, or the current one. Raises `ToolProblem` when there is none,
        and `InvalidName`."""
        id_ = wanted or self.current()
        if id_ is None:
            raise ToolProblem(
                NOT_FOUND,
                "no run is current: begin one with log(start='a name for it'), or name one with run='its id'",
                retry=True,
            )
        around = self._given or current_run()
        if around is not None and around.id == id_:
            mine = around.agent_name == self._session.agent
            return around if mine else around.agent(self._session.agent)
        async with self._lock:
            if id_ not in self._open:
                if id_ != self.current():
                    await self._must_exist(id_)
                run = self._session.run(run_id=id_, patience=FLUSH_S)
                await in_thread(run.start)
                parting.come_first()
                self._open[id_] = run
            return self._open[id_]

    async def _must_exist(self, id_: str) -> None:
        """A run that a model names may be a slip of the pen: one that nobody has begun is not begun by it."""
        names.run(id_)
        context, project = self._session.context, self._session.project
        if await context.bus.leader_get(subjects.LOG, f"{subjects.ROOT}.{project}.run.{id_}.>") is not None:
            return
        if any(spool.folders(None, project, id_)):  # it was begun on this machine, and is not delivered yet
            return
        if await self._is_past(id_):
            return
        raise ToolProblem(
            NOT_FOUND,
            f"there is no run {id_!r} in project {project}: runs shows those that there are, and "
            "log(start='a name for it') begins one",
            retry=False,
            facts={"run": id_},
        )

    async def _is_past(self, id_: str) -> bool:
        """Whether only the bridge remembers it, where the log does not have everything any more."""
        info = await self._session.context.bus.api(f"STREAM.INFO.{subjects.LOG}")
        if int(info["state"]["first_seq"]) <= 1:
            return False
        try:
            return (await self._session.runs.get(id_)).row.run == id_
        except NotFound:
            return False

    async def flush(self, scope: Scope) -> int:
        """How many events are not delivered after a moment."""
        return (await flush_async(scope, FLUSH_S)).spooled

    async def end(self, id_: str, status: EndStatus) -> int:
        """End a run that was begun here; how many of its events are not delivered yet. Raises `ToolProblem`."""
        if id_ not in self._begun:
            raise ToolProblem(
                REFUSED,
                f"run {id_} was not begun here with log(start=…): who began it ends it",
                retry=False,
                facts={"run": id_},
            )
        self._begun.remove(id_)
        self._session.context.bus.run = self._begun[-1] if self._begun else self._outside
        return (await self._open.pop(id_).end(status)).spooled

    async def close(self) -> None:
        """Leave the runs that were joined; end those that were begun here as killed, for nobody said how they went."""
        for id_, run in list(self._open.items()):
            try:
                await run.end(self._parting_status(id_))
            except Exception:
                logger.warning("run %s was not left well", id_, exc_info=True)
        self._open.clear()
        self._begun.clear()

    def leave(self, until: float) -> None:
        """`close` at the end of the program, from a thread that may wait, until this time of the monotonic clock."""
        for id_, run in list(self._open.items()):
            end_within(run, self._parting_status(id_), max(0.0, until - time.monotonic()))
        self._open.clear()

    def _parting_status(self, id_: str) -> EndStatus | None:
        return "killed" if id_ in self._begun else None


def below_here(path: str) -> Path:
    """The file or folder, if it lies below the working folder: a model may not send others what lies elsewhere.

    Raises `UsageError`.
    """
    here = Path.cwd().resolve()
    try:
        found = (here / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"artifact {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not found.is_relative_to(here) or found == here:
        raise UsageError(f"artifact {path!r} does not lie below the working folder: copy it there first")
    return found
