"""`Lifecycle`: from the first event of a run in this process to its last, and the truth about what became of them."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.recording import origin
from tracecraft.recording.failure import end_status, failure
from tracecraft.recording.logbook import Logbook, now
from tracecraft.recording.place import PLACE
from tracecraft.recording.recorder import Recorder
from tracecraft.recording.redaction import redact
from tracecraft.recording.system_metrics import SystemMetrics, interval
from tracecraft.recording.traceparent import TraceParent, given, parse, root
from tracecraft_core import ids, names
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import (
    LogLine,
    Params,
    Purpose,
    RunEnded,
    RunJoined,
    RunStarted,
    Tags,
    WriterLeft,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft.recording.flushed import Flushed
    from tracecraft_core.run_events import EndStatus
    from tracecraft_core.settings import Settings

logger = logging.getLogger(__name__)

RUN_VARIABLE: Final = "TRACECRAFT_RUN"
"""Environment variable with the id of the run that the first run of a process joins."""
PROJECT_VARIABLE: Final = "TRACECRAFT_PROJECT"
"""Environment variable with the project of that run."""
TRACE_VARIABLE: Final = "TRACEPARENT"
"""Environment variable with the step inside of which a process works."""
PATIENCE_S: Final = 10.0
"""Seconds that the end of a run waits until all of it is acknowledged."""
LONGEST_NAME: Final = 256
"""Characters in a run's name."""

_adopted: set[tuple[int, str]] = set()
"""Runs that this process (by its id) has joined because the environment said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run was asked for, checked."""

    settings: Settings
    name: str
    id: str
    joins: bool
    """Whether another process has started it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)
    parent: str | None = None
    purpose: Purpose = "original"
    forked_from: str | None = None
    forked_at: int | None = None
    trace: TraceParent | None = None
    sampling_s: float | None = None
    """Seconds between two samples of the system's metrics."""
    patience_s: float = PATIENCE_S


def plan(
    settings: Settings,
    name: str | None,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, object] | None = None,
    parent: str | None = None,
    run_id: str | None = None,
    purpose: Purpose = "original",
    forked_from: str | None = None,
    forked_at: int | None = None,
    traceparent: str | None = None,
    system_metrics: bool | float = False,
    patience: float = PATIENCE_S,
) -> Plan:
    """Check what a run is asked for; what is not said comes from the place of the caller and the environment."""
    outer = None if (place := PLACE.get()) is None or place._book.project != settings.project else place._book.run
    adopted = None if run_id or outer else _from_environment(settings)
    joins = run_id or adopted
    if joins is None and (not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME):
        raise UsageError(f"run {name!r}: a name of 1 to {LONGEST_NAME} characters is expected, for example 'baseline'")
    if purpose not in ("original", "fork", "replay", "eval"):
        raise UsageError(f"purpose {purpose!r}: one of original, fork, replay, eval is expected")
    if outer is None and parent is None and joins is None:
        parent = _adopted_before()
    return Plan(
        settings=settings,
        name=name or "",
        id=names.run(joins) if joins else ids.run(),
        joins=joins is not None,
        params=params or {},
        tags=tags or {},
        parent=names.run(parent) if parent else (None if joins else outer),
        purpose=purpose,
        forked_from=names.run(forked_from) if forked_from else None,
        forked_at=forked_at,
        trace=_trace(traceparent, nested=outer is not None),
        sampling_s=interval(system_metrics),
        patience_s=patience,
    )


def _from_environment(settings: Settings) -> str | None:
    """The run that this process is told to join, once."""
    told = os.environ.get(RUN_VARIABLE)
    elsewhere = os.environ.get(PROJECT_VARIABLE, settings.project) != settings.project
    if not told or elsewhere or (os.getpid(), told) in _adopted:
        return None
    _adopted.add((os.getpid(), names.run(told)))
    return told


def _adopted_before() -> str | None:
    """The run that this process was told to join, and has joined: later runs are inside of it."""
    told = os.environ.get(RUN_VARIABLE)
    return told if told and (os.getpid(), told) in _adopted else None


def _trace(said: str | None, *, nested: bool) -> TraceParent | None:
    if said is not None:
        return given(said)
    told = os.environ.get(TRACE_VARIABLE)
    return parse(told) if told and not nested else None


class Lifecycle:
    """One process's part in one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        settings = plan.settings
        trace = plan.trace.trace if plan.trace else ids.trace(settings.project, plan.id)
        inside = plan.trace.span if plan.trace and plan.joins and not plan.trace.is_root else None
        self.book = Logbook(settings.project, plan.id, settings.agent, trace, inside)
        self.summary: Flushed | None = None
        self._recorder: Recorder | None = None
        self._sampler: SystemMetrics | None = None
        self._lock = threading.Lock()
        self._process = 0
        self._params = list(self.book.params(plan.params)) if plan.params else []
        self._tags = self.book.tags(plan.tags) if plan.tags else {}

    def begin(self) -> None:
        """Record the first event. Raises `UsageError` the second time."""
        with self._lock:
            if self._recorder is not None:
                raise UsageError(f"run {self.plan.id} has begun already: make another one for every block")
            settings = self.plan.settings
            self._recorder = Recorder(settings, settings.project, self.plan.id, agent=settings.agent)
        self._recorder.joined = self._joined
        self._process = os.getpid()
        self.book.open(self._recorder)
        self._say_first()
        if self.plan.sampling_s is not None:
            self._sampler = SystemMetrics(self._sample, self.plan.sampling_s)
            self._sampler.start()

    def _joined(self) -> tuple[str, str, bytes]:
        return self.book.agent, "joined", msgspec.json.encode(RunJoined(time=now(), origin=origin.origin()))

    def _say_first(self) -> None:
        plan, book = self.plan, self.book
        rest = self._params
        if plan.joins:
            book.event(book.agent, "joined", RunJoined(time=now(), origin=origin.origin()))
            if self._tags:
                book.event(book.agent, "tag", Tags(tags=self._tags, time=now()))
        else:
            started = RunStarted(
                name=redact.text(plan.name),
                time=now(),
                params=rest[0] if rest else {},
                tags=self._tags,
                parent=plan.parent,
                purpose=plan.purpose,
                forked_from=plan.forked_from,
                forked_at=plan.forked_at,
                trace=plan.trace.trace if plan.trace else None,
                origin=origin.origin(),
            )
            book.event(book.agent, "started", started)
            rest = rest[1:]
        for portion in rest:
            book.event(book.agent, "param", Params(params=portion, time=now()))

    def _sample(self, sample: Mapping[str, float]) -> None:
        try:
            for key, value in sample.items():
                self.book.metric(self.book.agent, key, value, None, now())
        except UsageError:
            logger.debug("a sample of the system came after the end of run %s", self.plan.id)

    def end(self, error: BaseException | None = None, status: EndStatus | None = None) -> Flushed:
        """Record the last event, wait up to the plan's patience for all of it."""
        with self._lock:
            recorder, summary = self._recorder, self.summary
        if recorder is None:
            raise UsageError(f"run {self.plan.id} has not begun")
        if summary is not None:
            return summary
        if self._sampler is not None:
            self._sampler.stop()
        final = self._last_event(recorder, error, status)
        self.book.end()
        self.summary = recorder.close(final, timeout=self.plan.patience_s)
        return self.summary

    def _last_event(
        self, recorder: Recorder, error: BaseException | None, status: EndStatus | None
    ) -> tuple[str, str, bytes]:
        ended = status or end_status(error)
        failed = failure(error) if error is not None and ended != "finished" else None
        agent, dropped = self.book.agent, recorder.counts().dropped
        if not self.plan.joins and os.getpid() == self._process:
            said = RunEnded(status=ended, time=now(), error=failed, dropped=dropped)
            return agent, "ended", msgspec.json.encode(said)
        if failed is not None:
            text = f"the process {ended}: {failed.type}: {failed.message}\n{failed.trace}"
            self.book.event(agent, "log", LogLine(text=text, time=now(), level="error"))
        return agent, "left", msgspec.json.encode(WriterLeft(time=now(), dropped=dropped))

    def flush(self, timeout: float | None) -> Flushed:
        """Wait until all that was logged so far is acknowledged."""
        return self.summary or self.book.writing.flush(timeout)

    async def flush_async(self, timeout: float | None) -> Flushed:
        """`flush`, for any event loop."""
        return self.summary or await self.book.writing.flush_async(timeout)

    def environment(self, step: str | None) -> dict[str, str]:
        """What a child process needs to write into this run, inside of ``step``."""
        trace = self.book.trace
        place = TraceParent(trace, step) if step else root(trace)
        settings = self.plan.settings
        return {
            PROJECT_VARIABLE: settings.project,
            RUN_VARIABLE: self.plan.id,
            TRACE_VARIABLE: str(place),
        }
