"""The process: from the event that started it to the end of the coding agent's session."""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft_cli.install import place
from tracecraft_cli.sidecar import answer, folder, watchdog
from tracecraft_cli.sidecar.door import Door, Reply
from tracecraft_cli.sidecar.event import CARRIES_ON, Event
from tracecraft_cli.sidecar.member import Before, Member
from tracecraft_core import coding_session, inside, settings
from tracecraft_core.coding_session import CodingSession
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from tracecraft_cli.sidecar.mirroring import EndStatus
    from tracecraft_core.coding_session import Process
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

RETRIES_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two tries to reach the bus; the last one for ever."""

ANSWER_S: Final = 0.03
"""Of the time that a hook waits, seconds that its own work takes."""

BETWEEN_S: Final = 30.0
"""Seconds that a coding agent may take from ``/clear`` to its next conversation."""

LAST_WORDS_S: Final = 3.0
"""Seconds that a coding agent may take from the end of its session to its own: it still writes its transcript."""

UNREAD_S: Final = 0.1
"""Seconds from the end of the coding agent's process until it counts as killed: it may have said goodbye just before,
and we have not read that yet."""

IDLE_S: Final = 3600.0
"""Seconds without a hook after which a sidecar ends that could not find its coding agent's process."""


class Sidecar:
    """Serves one coding agent's process."""

    def __init__(self, first: Event, place: str, lock: int) -> None:
        """``place`` is the folder of its files, ``lock`` the handle that makes it the only one of its session."""
        self._first, self._folder, self._lock = first, place, lock
        self._latest = first
        self.state = self._initial_state(first)
        self._member: Member | None = None
        self._joined, self._away = asyncio.Event(), asyncio.Event()
        self._ending: asyncio.Future[EndStatus] = asyncio.get_running_loop().create_future()
        self._heard = time.monotonic()
        self._between: asyncio.TimerHandle | None = None
        self._name = self.state.name
        """What its own files are called, also when the coding agent has begun another conversation."""
        self._door = Door(folder.socket_path(place, self._name), self.reply)

    def _initial_state(self, event: Event) -> CodingSession:
        earlier = coding_session.named(coding_session.name(event.kind, event.id))
        this = coding_session.this_process()
        return CodingSession(
            kind=event.kind,
            id=event.id,
            pid=event.pid,
            pid_started=event.pid_started,
            sidecar=this.pid,
            sidecar_started=this.started,
            started=time.time(),
            agent=earlier.agent if earlier else "",
            session=earlier.session if earlier else coding_session.name(event.kind, event.id),
            run=coding_session.name(event.kind, event.id),
            project=earlier.project if earlier else "",
            settings=earlier.settings if earlier else {},
            inherited=earlier.inherited if earlier else {},
            held=earlier.held if earlier else {},
            announced=earlier.announced if earlier else 0,
        )

    async def run(self) -> None:
        """Serve until the session has ended. Raises ``OSError`` where there is no place for the socket."""
        earlier = self.state.agent
        self.state.agent = ""
        await self._door.open()
        self.state.socket = self._door.path
        self._write_state()
        folder.remove(self._folder, self.state.name, ".starting")
        inside.RUN.set(self.state.run)
        tasks = [asyncio.create_task(self._join(earlier)), asyncio.create_task(self._watch_over())]
        try:
            status = await self._ending
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._finish(status)

    def end(self, status: EndStatus) -> None:
        """The session is over."""
        if not self._ending.done():
            self._ending.set_result(status)

    # -- the bus ------------------------------------------------------------------------------------------------

    async def _join(self, earlier: str) -> None:
        for attempt in range(1_000_000_000):
            try:
                member = await self._try_to_join(earlier)
            except (TracecraftError, OSError) as error:
                logger.warning("not on the bus yet: %s", error)
            except Exception:
                logger.exception("not on the bus yet")
            else:
                self._member = member
                self.state.agent = member.session.agent
                self._write_state()
                self._joined.set()
                await member.follow(self._latest)
                return
            self._away.set()
            await asyncio.sleep(RETRIES_S[min(attempt, len(RETRIES_S) - 1)])

    async def _try_to_join(self, earlier: str) -> Member:
        cwd = Path(self._first.cwd or ".")
        resolved = settings.load(folder=cwd, coding=False)
        self.state.project = resolved.project
        self.state.settings = _told(resolved, cwd)
        self.state.inherited = {
            name: value for name in ("agent", "session") if (value := os.environ.get(f"TRACECRAFT_{name.upper()}"))
        }
        return await Member.join(
            resolved,
            self.state.session,
            self.state.run,
            program=place.in_shell_of(self.state.kind),
            before=Before(earlier, dict(self.state.held), self.state.announced),
            on_held=self._holds,
            on_announced=self._announced,
        )

    def _holds(self, held: dict[str, int]) -> None:
        self.state.held = held
        self._write_state()

    def _announced(self, highest: int) -> None:
        self.state.announced = highest
        self._write_state()

    def _write_state(self) -> None:
        try:
            coding_session.write(self._folder, self.state)
        except OSError as error:
            logger.warning("the state of the session cannot be written: %s", error)

    # -- the coding agent ---------------------------------------------------------------------------------------

    async def _watch_over(self) -> None:
        process = self._first.process
        if process is not None:
            await watchdog.ended(process)
            await asyncio.sleep(UNREAD_S)
            self.end("killed")
            return
        while time.monotonic() - self._heard < IDLE_S:  # noqa: ASYNC110 - what it waits for is that nothing happens
            await asyncio.sleep(IDLE_S / 60)
        self.end("killed")

    async def reply(self, event: Event) -> Reply:
        """Answer a hook."""
        self._heard = time.monotonic()
        if event.event == "SessionStart":
            await self._begin(event)
        member = await self._present(event)
        if event.event == "SessionEnd" and not event.subagent:
            self._session_ends(event)
            return Reply(answer.NOTHING)
        if member is None:
            return Reply(answer.NOTHING)
        member.mirroring.poke()
        if event.event == "PreToolUse":
            return Reply(member.verdict(event))
        if event.subagent:
            return Reply(answer.NOTHING)
        if event.event == "Stop":
            return Reply(answer.NOTHING) if event.again else member.before_stopping()
        return member.news(event)

    async def _present(self, event: Event) -> Member | None:
        """The member; the first prompt waits for it, once, unless the bus is known to be away."""
        if self._member is None and event.event == "UserPromptSubmit" and not self._away.is_set():
            waits = [asyncio.create_task(happening.wait()) for happening in (self._joined, self._away)]
            patience = max(0.0, event.wait - ANSWER_S)
            _, pending = await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for wait in pending:
                wait.cancel()
            self._away.set()
        return self._member

    async def _begin(self, event: Event) -> None:
        """A conversation begins, another one or the same with a new context."""
        if self._between is not None:
            self._between.cancel()
            self._between = None
        self._latest = event
        if event.id != self.state.id:
            folder.remove(self._folder, self.state.name, ".json")
            self.state.id = event.id
            self.state.run = coding_session.name(event.kind, event.id)
        self.state.between = False
        self._write_state()
        if self._member is not None:
            member = self._member
            member.run = self.state.run
            member.session.context.bus.run = self.state.run
            member.introduce_again()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(_spawn(member.look_around())), event.wait / 2)
            _spawn(member.follow(event))

    def _session_ends(self, event: Event) -> None:
        if event.reason in CARRIES_ON:
            self.state.between = True
            self._write_state()
            self._between = asyncio.get_running_loop().call_later(BETWEEN_S, self.end, "finished")
        else:
            self.end("finished")

    # -- the end ------------------------------------------------------------------------------------------------

    async def _finish(self, status: EndStatus) -> None:
        await self._door.close()
        if self._member is not None:
            how = "was killed" if status == "killed" else "ended its session"
            await self._member.leave(f"given back: {self._member.session.agent} {how}")
        folder.remove(self._folder, self.state.name, ".json")
        folder.remove(self._folder, self._name, ".lock")
        os.close(self._lock)  # the same session may be begun again while the rest of its transcript is mirrored
        if self._member is not None:
            await self._last_words()
            await self._member.end_run(status)

    async def _last_words(self) -> None:
        process: Process | None = self._first.process
        if process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await watchdog.ended(process)


def _told(resolved: Settings, place: Path) -> dict[str, str]:
    """What the coding agent's environment and the file of its project say: its shell and its tools may not see them."""
    file = settings.find_file(place)
    own = ("environment variable", str(file)) if file else ("environment variable",)
    return {
        name: value
        for name, value in resolved.values.items()
        if name not in ("agent", "session", "project") and resolved.origin.get(name, "").startswith(own)
    }


_spawned: set[asyncio.Task[None]] = set()


def _spawn(work: object) -> asyncio.Task[None]:
    task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
    _spawned.add(task)
    task.add_done_callback(_spawned.discard)
    return task
