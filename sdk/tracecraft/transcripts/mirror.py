"""`Mirror`: takes one session's transcript into its run, a portion at a time, each step once.

The transcript on the disk is the queue: what cannot be recorded now is read later. Reading and writing happen on a
worker thread; the log's acknowledgement is awaited, for a moment; only then does the checkpoint move.
"""

from __future__ import annotations

import asyncio  # commands import this module when they run
import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft.redaction import redact
from tracecraft.transcripts import checkpoint, naming
from tracecraft.transcripts.checkpoint import Checkpoint, Lock
from tracecraft.transcripts.known import NotYet, recorded
from tracecraft.transcripts.lines import Place, Rewritten
from tracecraft.transcripts.records import Facts
from tracecraft.transcripts.scribe import Known, Scribe, learn
from tracecraft.transcripts.sources import MAIN, checked, moved, open_transcript
from tracecraft.transcripts.versions import strange
from tracecraft_core import names
from tracecraft_core.errors import BusUnreachable, TracecraftError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.sources import Source, Transcript
    from tracecraft_core.run_events import EndStatus
    from tracecraft_core.settings import Settings

PORTION: Final = 1024 * 1024
"""Bytes of a transcript that one `Mirror.advance` reads."""
ACKNOWLEDGED_S: Final = 2.0
"""Seconds that `Mirror.advance` waits for the log."""
BEHIND: Final = 20_000
"""Events that may wait for the log before no more is read."""
QUIET_S: Final = 1.5
"""Seconds without anything new after which what was held back is told."""
AGAIN_S: Final = 5.0
"""Seconds between two attempts to learn what was recorded before a crash."""
PATIENCE_S: Final = 10.0
"""Seconds that the end waits for the log, from when it last took something."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one `Mirror.advance` did."""

    steps: int = 0
    """Steps that it began."""
    more: bool = False
    """Whether there is more to read at once."""
    waiting: str = ""
    """Why nothing more can be done now; empty when all is well."""
    away: bool = False
    """Whether it is the bus that is waited for, as every session does then."""
    records: int = 0
    note: str = ""
    """What was unusual: the transcript had been written anew."""


class Mirror:
    """Mirrors one session; one process on this machine at a time does."""

    def __init__(
        self,
        settings: Settings,
        source: str,
        path: Path,
        *,
        session: str | None = None,
        agent: str | None = None,
        task: Callable[[float], str | None] | None = None,
        inside: str | None = None,
        fresh: bool = False,
    ) -> None:
        """Nothing is read yet. ``task`` tells which task the agent held at a time; it is called on another thread.

        ``agent`` is its name here (default: the one it had, else one made of its folder); ``inside`` the run that
        this one is in. ``fresh`` says that the session has just begun, so that nothing of it can be in the log: then
        nobody is asked, and it is recorded without a bus too. Raises `UsageError`.
        """
        self.source: Source = checked(source)
        self.path = Path(path)
        self.session = session or session_of(self.source, self.path)
        self.run = naming.run_id(self.source, self.session)
        if agent is not None:
            names.agent(agent)
        self._settings, self._agent, self._task = settings, agent, task
        self._inside, self._is_fresh = inside, fresh
        self._lock = Lock(settings.project, self.run)
        self._turn = asyncio.Lock()
        self._state: Checkpoint | None = None
        self._transcript: Transcript | None = None
        self._scribe: Scribe | None = None
        self._known: Known | None = None
        """What the log has; ``None``: what the checkpoint says."""
        self._unsure = False
        """Whether the log has to be asked before anything is recorded."""
        self._asked_at, self._answer, self._away = -AGAIN_S, "", False
        """When it was asked last, why there was no answer, and whether for want of a bus."""
        self._quiet_since = time.monotonic()
        self._unsaved = self._over = self._warned = False

    @property
    def mirrored(self) -> Checkpoint | None:
        """How far it is mirrored; ``None`` before the first `advance`."""
        return self._state

    async def advance(self, budget: int = PORTION) -> Progress:
        """Read about ``budget`` more bytes and record them. Raises nothing of files, bus and bridge."""
        async with self._turn:
            return await self._advance(budget)

    async def _advance(self, budget: int, final: bool = False) -> Progress:
        try:
            if (waiting := await asyncio.to_thread(self._open)) or (waiting := await self._learn()):
                return Progress(waiting=waiting, away=self._away)
            if self._behind():
                return Progress(waiting=await self._settled(), more=True)
            try:
                done = await asyncio.to_thread(self._work, budget, final)
            except Rewritten as rewritten:
                return self._begin_again(str(rewritten))
        except FileNotFoundError:
            return Progress()
        except (OSError, sqlite3.Error) as error:
            return Progress(waiting=f"{self.path}: {error}")
        return replace(done, waiting=await self._settled()) if done.records or self._unsaved else done

    # -- beginning -----------------------------------------------------------------------------------------------

    def _open(self) -> str:
        """Take the lock and read the checkpoint."""
        if self._over:
            raise UsageError(f"the mirror of {self.run} has ended: make another one")
        if self._lock.held:
            return ""
        holder = self._lock.take()
        if holder is not None:
            return f"process {holder or '?'} mirrors it"
        found = checkpoint.read(self._settings.project, self.run)
        unknown = found is None and not self._is_fresh
        self._unsure = unknown or (found is not None and (found.dirty or found.server != self._settings.server))
        if found is None or found.server != self._settings.server:
            found = self._fresh(found)
        if self._unsure:
            found.places = {}  # only from its beginning on it shows which steps of the log it does not have any more
        elif found.ahead:
            self._known = Known(steps=found.ahead)
        self._state = found
        self._state.path = str(self.path)
        if self._agent is not None:
            self._state.sheet.agent = self._agent
        if self._inside is not None:
            self._state.sheet.inside = self._inside
        self._transcript = open_transcript(self.source, self.path, self.session, self._state.places)
        return ""

    def _fresh(self, old: Checkpoint | None) -> Checkpoint:
        new = Checkpoint(
            source=self.source,
            session=self.session,
            path=str(self.path),
            project=self._settings.project,
            server=self._settings.server,
            dirty=True,
        )
        if old is not None:
            new.sheet.agent = old.sheet.agent
        return new

    def _begin_again(self, why: str) -> Progress:
        """The transcript is another than what was read: read it from its beginning, without saying anything twice."""
        assert self._state is not None
        self._state.places = {MAIN: Place()}
        self._transcript = open_transcript(self.source, self.path, self.session, self._state.places)
        self._unsure, self._asked_at = True, -AGAIN_S
        return Progress(more=True, note=f"read again from its beginning: {why}")

    async def _learn(self) -> str:
        """Ask what the log has, where the checkpoint does not say it."""
        if not self._unsure:
            return ""
        now = time.monotonic()
        if now - self._asked_at < AGAIN_S:
            return self._answer
        from tracecraft.async_session import AsyncSession

        if not moved(self.path).exists():
            return ""
        try:
            if self._scribe is not None:
                await self._scribe.recorder.flush_async(PATIENCE_S)
            session = AsyncSession(resolved=self._settings, mode="oneshot", patience=ACKNOWLEDGED_S)
            async with session:
                self._known = await recorded(session, self.run)
        except (TracecraftError, NotYet) as error:
            self._asked_at, self._answer, self._away = now, str(error), isinstance(error, BusUnreachable)
            return self._answer
        self._unsure = self._away = False
        if self._scribe is not None:
            self._scribe.know(self._known)
        assert self._state is not None
        if self.source == "hermes":
            self._state.places[MAIN].thread.totals = dict(self._known.spent)
        return ""

    # -- reading and recording, on a worker thread ---------------------------------------------------------------

    def _work(self, budget: int, final: bool) -> Progress:
        assert self._transcript is not None
        assert self._state is not None
        if self._unsure:
            return Progress()
        found = self._transcript.read(budget)
        now = time.monotonic()
        if found:
            self._quiet_since = now
        elif final or now - self._quiet_since > QUIET_S:
            found = self._transcript.settle()
        if final and found and not self._transcript.more:
            found = [*found, *self._transcript.settle()]
        before = 0 if self._scribe is None else self._scribe.begun
        for record in found:
            self._record(record)
        begun = 0 if self._scribe is None else self._scribe.begun
        note = "" if self._transcript.more else self._strange()
        return Progress(steps=begun - before, more=self._transcript.more, records=len(found), note=note)

    def _strange(self) -> str:
        """What people should know of the transcript, once."""
        assert self._state is not None
        if self._warned or not self._state.sheet.version:
            return ""
        self._warned = True
        unknown = sum(sum(place.thread.unknown.values()) for place in self._state.places.values())
        return strange(self.source, self._state.sheet.version, unknown)

    def _record(self, record: Record) -> None:
        assert self._state is not None
        if self._scribe is None:
            sheet = self._state.sheet
            sheet.started = sheet.started or record.time
            if isinstance(record, Facts):
                learn(sheet, record)
            sheet.agent = sheet.agent or naming.agent_name(self.source, redact.text(sheet.cwd))
            self._note_dirty()
            known = self._known or Known()
            self._scribe = Scribe(self._settings, self.source, self.session, sheet, known, self._task)
        self._scribe.take(record)

    def _note_dirty(self) -> None:
        """From now on more is recorded than the checkpoint on the disk says: it must say so before."""
        project, run = self._settings.project, self.run
        stored = checkpoint.read(project, run)
        if stored is not None and stored.server == self._settings.server:
            stored.dirty, stored.ended = True, False
        else:
            assert self._state is not None
            stored = self._fresh(self._state)
        checkpoint.save(project, run, checkpoint.encode(stored))

    # -- after recording -----------------------------------------------------------------------------------------

    def _behind(self) -> bool:
        return self._scribe is not None and self._scribe.recorder.counts().spooled > BEHIND

    async def _settled(self) -> str:
        """Wait for the log, for a moment, and move the checkpoint when it has everything."""
        assert self._state is not None
        if self._scribe is None:
            return ""
        self._unsaved = True
        content = checkpoint.encode(self._as_saved(dirty=True))
        flushed = await self._scribe.recorder.flush_async(ACKNOWLEDGED_S)
        if flushed.dropped:
            return f"{flushed.dropped:,} records could not be kept: the spool is full, they are read again later"
        if flushed.spooled:
            return f"{flushed.spooled:,} records wait for the bus in {flushed.where}"
        try:
            await asyncio.to_thread(checkpoint.save, self._settings.project, self.run, content)
        except OSError as error:
            return f"the checkpoint cannot be written: {error}"
        self._unsaved = False
        return ""

    async def _drained(self) -> str:
        """Wait for the log as long as it takes more and more."""
        least, until = float("inf"), time.monotonic() + PATIENCE_S
        while (waiting := await self._settled()) and self._scribe is not None:
            left = self._scribe.recorder.counts().spooled
            if left < least:
                least, until = left, time.monotonic() + PATIENCE_S
            elif time.monotonic() > until:
                break
        return waiting

    def _as_saved(self, *, dirty: bool, ended: bool = False) -> Checkpoint:
        assert self._state is not None
        self._state.dirty, self._state.ended, self._state.saved = dirty, ended, time.time()
        return self._state

    # -- the end -------------------------------------------------------------------------------------------------

    async def end(self, status: EndStatus = "finished", *, error: str | None = None) -> Progress:
        """Read to the end of the transcript, and end the run there; what comes later continues it."""
        async with self._turn:
            progress = await self._finish()
            if self._scribe is None and self._may_end():
                await asyncio.to_thread(self._reopen)
            if self._scribe is not None:
                flushed = await self._scribe.end(status, error, PATIENCE_S)
                await self._let_go(complete=not (flushed.spooled or flushed.dropped), ended=True)
            self._stop()
            return progress

    async def leave(self) -> Progress:
        """Read to the end of the transcript, and let go; the run stays open."""
        async with self._turn:
            progress = await self._finish()
            if self._scribe is not None:
                flushed = await self._scribe.leave(PATIENCE_S)
                await self._let_go(complete=not (flushed.spooled or flushed.dropped), ended=False)
            self._stop()
            return progress

    async def _finish(self) -> Progress:
        steps, count, note = 0, 0, ""
        while not self._over:
            done = await self._advance(PORTION, final=True)
            if self._unsaved:
                done = replace(done, waiting=await self._drained())
            steps, count, note = steps + done.steps, count + done.records, note or done.note
            if not done.more or (done.waiting and not done.records):
                return replace(done, steps=steps, records=count, note=note)
        return Progress(steps=steps, records=count, note=note)

    def _may_end(self) -> bool:
        """Whether the run is open, though nothing new was there to record."""
        state = self._state
        return (
            state is not None and self._lock.held and not self._unsure and bool(state.sheet.agent) and not state.ended
        )

    def _reopen(self) -> None:
        assert self._state is not None
        self._note_dirty()
        known = self._known or Known()
        self._scribe = Scribe(self._settings, self.source, self.session, self._state.sheet, known, self._task)

    async def _let_go(self, *, complete: bool, ended: bool) -> None:
        assert self._state is not None
        assert self._scribe is not None
        if complete:
            self._state.ahead = self._scribe.ahead
            content = checkpoint.encode(self._as_saved(dirty=self._unsure, ended=ended))
            try:
                await asyncio.to_thread(checkpoint.save, self._settings.project, self.run, content)
            except OSError:
                return  # it still says that it is not whole, so the log is asked next time

    def _stop(self) -> None:
        self._over, self._scribe = True, None
        self._lock.release()


def session_of(source: Source, path: Path) -> str:
    """The session's id as the file's name has it. Raises `UsageError` for a database, which has many."""
    if source == "claude":
        return path.name.removesuffix(".jsonl")
    if source == "codex":
        plain = path.name.removesuffix(".zst").removesuffix(".jsonl")
        parts = plain.split("-")
        return "-".join(parts[-5:]) if len(parts) > 5 else plain  # an id of five groups
    raise UsageError(f"{path} has many sessions: say which one is meant")
