"""`Toolbox`: the verbs of one agent as plain calls, by name, with JSON in and JSON out."""

from __future__ import annotations

import functools
import json
import logging
import os
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tracecraft.integrations.toolbox import parting, problem
from tracecraft.integrations.toolbox.catalog import ARGUMENTS, NAMES, TOOLS
from tracecraft.integrations.toolbox.handing import Handing
from tracecraft.integrations.toolbox.problem import ToolProblem, problem_of
from tracecraft.integrations.toolbox.refusal import told_to_step
from tracecraft.integrations.toolbox.tool import PREFIX, decode
from tracecraft.loop import in_thread, result_of
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Self, TypeGuard

    from tracecraft.async_session import AsyncSession
    from tracecraft.integrations.toolbox.arguments import Arguments
    from tracecraft.integrations.toolbox.desk import Desk
    from tracecraft.loop import BackgroundLoop
    from tracecraft.recording.run import AsyncRun, Run
    from tracecraft.session import Session
    from tracecraft_core.bodies import PresenceMode
    from tracecraft_core.opening import Opening
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

_QUIET = frozenset({"inbox", "wait"})
"""Tools whose results need no notice of unread mail."""


class Toolbox:
    """The tools of one agent. Making one never fails and waits for nothing; the first call connects.

    Calls may come from any thread and any event loop, and at the same time: the work is done on the background loop.
    Only with an open `AsyncSession` of the caller's own is it done on the caller's loop, and `call_blocking` refused.
    While the toolbox is open its agent is online and the claims taken with it are renewed. The end of the program
    closes it, see `close`.
    """

    def __init__(
        self,
        session: AsyncSession | Session | None = None,
        *,
        project: str | None = None,
        agent: str | None = None,
        server: str | None = None,
        run: Run | AsyncRun | str | None = None,
        resolved: Settings | None = None,
        mode: PresenceMode = "live",
        find_run: Callable[[Settings], str | None] | None = None,
    ) -> None:
        """Take the verbs of a session, or of one that is opened at the first call.

        What is not given comes from where `AsyncSession` takes it, at the first call. ``run`` is where `log` writes, a
        run or the id of one to join; without it the run around the call, and then the one that ``find_run`` names
        (default: ``TRACECRAFT_RUN``). ``mode`` is ``oneshot`` where another process keeps the session present.
        """
        self._given = session
        self._flags = {"project": project, "agent": agent, "server": server}
        self._resolved, self._mode, self._run, self._find = resolved, mode, run, find_run
        self._desk: Desk | None = None
        self._opening: Opening | None = None
        self._anonymous = False
        self._closed = False
        self._pid = 0

    # -- calls --------------------------------------------------------------------------------------------------

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a tool by its short or long name; returns what its ``result`` schema says.

        Raises `ToolProblem`, and nothing else. Cancelling it ends a wait, and gives back a claim that was being made.
        """
        home, handing = self._home(), Handing()
        work = self._carry_out(name, arguments, handing)
        try:
            with told_to_step(name):
                result = await (work if home is None else result_of(home.start(work)))
        except BaseException:
            self._settle(handing, reached=False)
            raise
        self._settle(handing, reached=True)
        return result

    def call_blocking(self, name: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`call`, for code without an event loop. Raises `ToolProblem`."""
        handing = Handing()
        try:
            with told_to_step(name):
                result: dict[str, Any] = self._on_background(self._carry_out(name, arguments, handing))
        except BaseException:
            self._settle(handing, reached=False)
            raise
        self._settle(handing, reached=True)
        return result

    async def answer(self, name: str, arguments: Mapping[str, Any] | None = None) -> str:
        """`call` for a model that reads text: JSON of the result, or of the problem under ``error``; never raises."""
        try:
            return as_text(await self.call(name, arguments))
        except ToolProblem as trouble:
            return as_text({"error": trouble.as_dict()})

    def answer_blocking(self, name: str, arguments: Mapping[str, Any] | None = None) -> str:
        """`answer`, for code without an event loop."""
        try:
            return as_text(self.call_blocking(name, arguments))
        except TracecraftError as trouble:
            return as_text({"error": problem_of(trouble).as_dict()})

    async def close(self) -> None:
        """Stop renewing, go offline, disconnect; a session that was given stays open. Idempotent.

        The end of the program does it too, for 5 seconds at most, where the work is done on the background loop.

        Claims still held are given back when nobody else can hold them: the session is the toolbox's own and has no
        name. Those of a named session stay with it, and lapse unless another process renews them.
        """
        home = self._home()
        if home is None:
            await self._close()
        else:
            await result_of(home.start(self._close()))

    def close_blocking(self) -> None:
        """`close`, for code without an event loop."""
        self._on_background(self._close())

    def leave_runs(self, until: float) -> None:
        """End what `log` has begun, in this very thread, until this time of the monotonic clock."""
        if self._desk is not None:
            self._desk.tracking.leave(until)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_blocking()

    # -- where the work is done ---------------------------------------------------------------------------------

    def _home(self) -> BackgroundLoop | None:
        """The loop on which the session lives; ``None``: the caller's."""
        from tracecraft.loop import background

        return None if self._given is not None and _is_async(self._given) else background()

    def _on_background(self, work: Coroutine[Any, Any, Any]) -> Any:
        home = self._home()
        if home is None:
            work.close()
            raise ToolProblem(
                problem.FAILED, "this toolbox has an AsyncSession: await its call() on that session's loop", retry=False
            )
        return home.run(work)

    # -- on that loop -------------------------------------------------------------------------------------------

    async def _carry_out(self, name: str, arguments: Mapping[str, Any] | None, handing: Handing) -> dict[str, Any]:
        try:
            short = name.removeprefix(PREFIX)
            if short not in NAMES:
                known = ", ".join(tool.name for tool in TOOLS)
                text = f"there is no tool {name[:80]!r}; there are: {known}"
                raise ToolProblem(problem.UNKNOWN_TOOL, text, retry=False)
            return await self._run_tool(short, decode(short, ARGUMENTS[short], arguments), handing)
        except TracecraftError as error:
            raise (_closed() if self._closed else problem_of(error)) from error
        except Exception as error:
            logger.exception("tool %s failed", name)
            text = f"{name} failed inside of tracecraft ({type(error).__name__}: {error}): this is a mistake of its own"
            raise ToolProblem(problem.FAILED, text, retry=False) from error

    async def _run_tool(self, name: str, arguments: Arguments, handing: Handing) -> dict[str, Any]:
        from tracecraft.integrations.toolbox.desk import Turn
        from tracecraft.integrations.toolbox.verbs import VERBS
        from tracecraft.integrations.toolbox.verbs.project import offline

        try:
            desk = await self._open()
        except TracecraftError as error:
            if name != "whoami" or self._closed:
                raise
            found: dict[str, Any] = msgspec.to_builtins(offline(self._settings(), error))
            return found
        desk.letters.acknowledge()  # whoever calls again has read what the calls before returned
        turn = Turn(desk, handing)
        try:
            result: dict[str, Any] = msgspec.to_builtins(await VERBS[name](turn, arguments))
        except TracecraftError as error:
            raise self._with_notices(problem_of(error), await desk.notices(mail=False)) from error
        notices = [*result.pop("notices", []), *await desk.notices(mail=name not in _QUIET)]
        return result | ({"notices": notices} if notices else {})

    @staticmethod
    def _with_notices(trouble: ToolProblem, notices: list[str]) -> ToolProblem:
        if not notices:
            return trouble
        text = "\n".join([trouble.message, *(f"Notice: {notice}" for notice in notices)])
        return ToolProblem(trouble.code, text, retry=trouble.retry, facts=trouble.facts)

    async def _open(self) -> Desk:
        from tracecraft_core.opening import Opening

        if self._closed:
            raise _closed()
        if self._opening is None or self._pid != os.getpid():  # a forked child has a loop, and needs a desk, of its own
            self._pid, self._desk, self._opening = os.getpid(), None, Opening(self._set_up)
        await self._opening()
        if self._desk is None:
            raise _closed()
        return self._desk

    async def _set_up(self) -> None:
        from tracecraft.integrations.toolbox.desk import Desk
        from tracecraft.integrations.toolbox.tracking import from_environment

        session = self._session()
        if self._given is None:
            await session.open()
        elif session is not self._given:  # of a blocking session, which connects at its first verb
            await in_thread(self._given.open)
        desk = Desk(session, self._run, self._find or from_environment)
        desk.tracking.mark()
        try:
            await desk.letters.open()
        except BaseException:
            await desk.letters.close()
            if self._given is None:
                await session.close()
            raise
        self._desk = desk
        if self._home() is not None:
            parting.watch(self)

    def _session(self) -> AsyncSession:
        from tracecraft.async_session import AsyncSession
        from tracecraft.session import coroutines_of

        if self._given is None:
            found = self._settings()
            self._anonymous = found.session is None
            return AsyncSession(resolved=found, mode=self._mode)
        return self._given if _is_async(self._given) else coroutines_of(cast("Session", self._given))

    def _settings(self) -> Settings:
        from tracecraft_core import settings

        if self._given is not None:
            return self._given.settings
        return self._resolved or settings.load(self._flags)

    async def _close(self) -> None:
        self._closed = True
        parting.forget(self)
        desk, self._desk = self._desk, None
        if desk is None or self._pid != os.getpid():  # a forked child leaves its parent's alone
            return
        await desk.clear(give_back=self._anonymous)
        if self._given is None:
            await desk.session.close()

    def _settle(self, handing: Handing, *, reached: bool) -> None:
        """What a call gives is in the caller's hands, or the caller gave up and has seen none of it."""
        desk, home = self._desk, self._home()
        if desk is None or not (handing.messages or handing.claims):
            return
        if not reached:
            settle: Callable[[], None] = functools.partial(desk.take_back, handing)
        else:
            settle = functools.partial(desk.letters.hand_over, handing.messages)
        if home is None:
            settle()
        else:
            home.soon(settle)  # before the next call, which takes the same way


def _closed() -> ToolProblem:
    return ToolProblem(problem.CLOSED, "this toolbox is closed: make another one", retry=False)


def _is_async(session: AsyncSession | Session) -> TypeGuard[AsyncSession]:
    from tracecraft.async_session import AsyncSession

    return isinstance(session, AsyncSession)


def as_text(result: Mapping[str, Any]) -> str:
    """A result as compact JSON."""
    return json.dumps(result, ensure_ascii=False, separators=(", ", ": "))
