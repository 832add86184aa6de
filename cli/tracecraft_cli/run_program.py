"""``run exec``: a program runs as a run of its own, and everything that can be told about it from outside is kept."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracecraft.queries import ask
from tracecraft.recording.recorder import Recorder
from tracecraft.redaction import redact
from tracecraft_cli import execution, git_facts, run_notes
from tracecraft_cli.captured import Captured
from tracecraft_cli.current_run import VARIABLE, runs_folder
from tracecraft_cli.output import note
from tracecraft_cli.process import Program
from tracecraft_cli.run_book import Event, books
from tracecraft_core import bodies, ids, run_events
from tracecraft_core.errors import TracecraftError, UsageError
from tracecraft_core.queries import PutQuestion, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracecraft.context import Context
    from tracecraft.recording.flushed import Flushed
    from tracecraft_core.bus import Bus
    from tracecraft_core.run_events import EndStatus
    from tracecraft_core.settings import Settings

CLOSE_S: Final = 60.0
"""Seconds that the last events and uploads may take; what is left then is delivered by a later process."""
AWAY_S: Final = 2.0
"""The same where the bus or the artifact store is away."""
BOOKS_S: Final = 10.0
"""Seconds for what commands inside the program wrote: one that still runs may hold its book."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run."""

    name: str
    argv: Sequence[str]
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    parent: str | None
    grace: float
    """Seconds between a signal that was passed on and SIGKILL."""


class RunProgram:
    """One program, and the run that it is."""

    def __init__(self, settings: Settings, order: Order) -> None:
        if shutil.which(order.argv[0]) is None:
            raise UsageError(f"{order.argv[0]!r} is not a program that can be run; for a shell line: -- sh -c '...'")
        self._settings, self._order = settings, order
        self.run, self._step = ids.run(), ids.step()
        self._program: Program | None = None
        self._signal: int | None = None
        self._kill: asyncio.TimerHandle | None = None

    async def execute(self, context: Context | None) -> dict[str, Any]:
        """Run it to its end; returns what is known then. Raises `UsageError` when it cannot be started."""
        folder = runs_folder(self._settings) / "output" / self.run
        folder.mkdir(parents=True, mode=0o700)
        outputs = [Captured(folder, name) for name in ("stdout", "stderr")]
        recorder = Recorder(self._settings, self._settings.project, self.run, agent=self._settings.agent)
        self._record(recorder, self._started())
        self._record(recorder, Event("step.started", run_events.StepStarted(time=run_notes.now(), **self._head)))
        self._watch_signals()
        begun = time.monotonic()
        try:
            self._program = Program(
                self._order.argv, self._environment(), on_stdout=outputs[0].write, on_stderr=outputs[1].write
            )
        except OSError as error:
            reason = f"{self._order.argv[0]!r} cannot be run: {error.strerror}"
            await recorder.close_async(self._final("failed", run_notes.failure(reason)), CLOSE_S)
            raise UsageError(reason) from None
        note(f"run {self.run}")
        code = await asyncio.to_thread(self._program.wait)
        seconds = time.monotonic() - begun
        if self._kill is not None:
            self._kill.cancel()
        await self._close_books(context.bus if context else None)
        flushed = await self._close(context, recorder, outputs, folder, code, seconds)
        status = self._status(code)
        note(f"run {self.run} {status}, exit code {code}, {seconds:.1f} s{_left(flushed)}")
        return {"run": self.run, "name": self._order.name, "status": status, "exit_code": code, "seconds": seconds}

    @property
    def _head(self) -> dict[str, Any]:
        return {"step": self._step, "name": Path(self._order.argv[0]).name}

    def _started(self) -> Event:
        order = self._order
        return run_notes.started(order.name, order.params, order.tags, order.parent)

    def _environment(self) -> dict[str, str]:
        trace = run_notes.place_in_trace()[0] or ids.trace(self._settings.project, self.run)
        here = {VARIABLE: self.run, "TRACEPARENT": f"00-{trace}-{self._step}-01"}
        return execution.identity(self._settings) | here

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in execution.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        """Pass a signal on; a second one, or none that helps, kills."""
        if self._program is not None:
            self._program.signal(number if self._signal is None else signal.SIGKILL)
            if self._kill is None:
                loop = asyncio.get_running_loop()
                self._kill = loop.call_later(self._order.grace, self._program.signal, signal.SIGKILL)
        self._signal = number

    async def _close_books(self, bus: Bus | None) -> None:
        """Commands in the program have written all that they will; one that goes on without it is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOOKS_S):
                for book in list(books(self._settings, self.run)):
                    if book.begun:
                        await book.write(bus, [run_notes.left()], first=run_notes.joined(), last=True)

    async def _close(
        self,
        context: Context | None,
        recorder: Recorder,
        outputs: Sequence[Captured],
        folder: Path,
        code: int,
        seconds: float,
    ) -> Flushed:
        agent, failure, patience = self._settings.agent, self._failure(code), CLOSE_S
        for output in outputs:
            if await asyncio.to_thread(output.close):
                patience = patience if await _store_answers(context, output.path) else AWAY_S
                kind: run_events.ArtifactKind = "stdout" if output.name == "stdout" else "stderr"
                recorder.upload(
                    output.path, name=output.path.name, kind=kind, media_type="text/plain", step=self._step, agent=agent
                )
        changes = folder / "git-diff-stat.txt"
        if stat := await asyncio.to_thread(git_facts.diff_stat):
            changes.write_text(stat, encoding="utf-8")
            recorder.upload(changes, name=changes.name, kind="text", media_type="text/plain", agent=agent)
        ended = run_events.StepEnded(
            time=run_notes.now(),
            duration=round(seconds * 1e6),
            status="ok" if code == 0 else "error",
            error=failure,
            tags={"exit_code": str(code)},
            **self._head,
        )
        self._record(recorder, Event("step.ended", ended))
        final = self._final(self._status(code), failure)
        if patience == AWAY_S:  # the end must not wait for files that nobody takes
            recorder.record(*final)
        flushed = await recorder.close_async(None if patience == AWAY_S else final, patience)
        if not flushed.uploads_waiting:
            shutil.rmtree(folder, ignore_errors=True)
        return flushed

    def _failure(self, code: int) -> run_events.Failure | None:
        if code == 0:
            return None
        assert self._program is not None
        return run_events.Failure(type=f"exit code {code}", message=redact.text(self._program.tail[-1_000:]))

    def _status(self, code: int) -> EndStatus:
        if self._signal is not None or code > 128:
            return "killed"
        return "finished" if code == 0 else "failed"

    def _final(self, status: EndStatus, error: run_events.Failure | None) -> tuple[str, str, bytes]:
        event = run_notes.ended(status, error)
        return self._settings.agent, event.name, redact.json(bodies.encode(event.body))[0]

    def _record(self, recorder: Recorder, event: Event) -> None:
        recorder.record(self._settings.agent, event.name, redact.json(bodies.encode(event.body))[0])


async def _store_answers(context: Context | None, path: Path) -> bool:
    """Whether a file can be put into the artifact store now; nobody waits for one that is away."""
    if context is None:
        return False
    try:
        await ask(context, "artifacts.put", await asyncio.to_thread(_put_question, path), Upload, patience=AWAY_S)
    except TracecraftError:
        return False
    return True


def _put_question(path: Path) -> PutQuestion:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return PutQuestion(sha256=digest, size=file.tell(), media_type="text/plain")


def _left(flushed: Flushed) -> str:
    """What is not delivered yet, in words."""
    if not flushed.spooled and not flushed.uploads_waiting:
        return ""
    return (
        f"; {flushed.spooled} records and {flushed.uploads_waiting} files wait in {flushed.where}: "
        "'tracecraft spool flush' delivers them"
    )
