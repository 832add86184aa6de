"""`Lifecycle`: from the first event of a run in this process to its last, and the truth about what became of them."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import msgspec

from tracecraft.recording import origin
from tracecraft.recording.failure import end_status, reported
from tracecraft.recording.logbook import Logbook, moment, now
from tracecraft.recording.plan import PROJECT_VARIABLE, RUN_VARIABLE, TRACE_VARIABLE
from tracecraft.recording.recorder import Recorder
from tracecraft.recording.system_metrics import SystemMetrics
from tracecraft.recording.traceparent import TraceParent, root
from tracecraft_core import ids
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import (
    LogLine,
    Params,
    RunEnded,
    RunJoined,
    RunStarted,
    Tags,
    WriterLeft,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracecraft.recording.flushed import Flushed
    from tracecraft.recording.plan import Plan
    from tracecraft_core.run_events import EndStatus, Failure

logger = logging.getLogger(__name__)


class Lifecycle:
    """One process's part in one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        settings = plan.settings
        trace = plan.trace.trace if plan.trace else ids.trace(settings.project, plan.id)
        inside = plan.trace.span if plan.trace and plan.joins and not plan.trace.is_root else None
        self.book = Logbook(settings.project, plan.id, settings.agent, trace, inside)
        if plan.purpose in ("fork", "replay"):
            self.book.cause = plan.purpose
        self.before_end: list[Callable[[], object]] = []
        """Called before the end is recorded: a framework may tell of its work in another thread, a moment late."""
        self.summary: Flushed | None = None
        self._recorder: Recorder | None = None
        self._sampler: SystemMetrics | None = None
        self._lock = threading.Lock()
        self._process = 0
        self._params = list(self.book.params(plan.params)) if plan.params else []
        self._tags = self.book.tags(plan.tags) if plan.tags else {}

    def begin(self, time: float | None = None) -> None:
        """Record the first event, at ``time`` (seconds since 1970) or now. Raises `UsageError` the second time."""
        began = moment(time)
        with self._lock:
            if self._recorder is not None:
                raise UsageError(f"run {self.plan.id} has begun already: make another one for every block")
            settings = self.plan.settings
            self._recorder = Recorder(settings, settings.project, self.plan.id, agent=settings.agent)
        self._recorder.joined = self._joined
        self._recorder.parting = self._parting
        self._process = os.getpid()
        self.book.open(self._recorder)
        self._say_first(began)
        if self.plan.sampling_s is not None:
            self._sampler = SystemMetrics(self._sample, self.plan.sampling_s)
            self._sampler.start()

    def _joined(self) -> tuple[str, str, bytes]:
        return self.book.agent, "joined", msgspec.json.encode(RunJoined(time=now(), origin=origin.origin()))

    def _parting(self) -> tuple[str, str, bytes] | None:
        """A process that only took part leaves; how a run ended that nobody ended, nobody knows."""
        if not self._is_ours:
            return self.book.agent, "left", msgspec.json.encode(WriterLeft(time=now()))
        logger.warning(
            "run %s was not ended before its process, so nobody will know how it ended: "
            "use it as a block, 'with tracecraft.run(...) as run:', or call run.end()",
            self.plan.id,
        )
        return None

    @property
    def _is_ours(self) -> bool:
        """Whether this process has started the run, and not joined it or been forked off since."""
        return not self.plan.joins and os.getpid() == self._process

    def _say_first(self, began: int) -> None:
        plan, book = self.plan, self.book
        rest = self._params
        if plan.joins:
            book.event(book.agent, "joined", RunJoined(time=began, origin=origin.origin()))
            if self._tags:
                book.event(book.agent, "tag", Tags(tags=self._tags, time=now()))
        else:
            started = RunStarted(
                name=book.text(plan.name),
                time=began,
                params=rest[0] if rest else {},
                tags=self._tags,
                parent=plan.parent,
                purpose=plan.purpose,
                forked_from=plan.forked_from,
                forked_at=plan.forked_at,
                trace=plan.trace.trace if plan.trace else None,
                span=plan.trace.span if plan.trace else None,
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

    def end(
        self,
        error: BaseException | Failure | None = None,
        status: EndStatus | None = None,
        time: float | None = None,
        patience: float | None = None,
    ) -> Flushed:
        """Record the last event, wait up to ``patience`` seconds (default: the plan's) for all of it."""
        with self._lock:
            recorder, summary = self._recorder, self.summary
        if recorder is None:
            raise UsageError(f"run {self.plan.id} has not begun")
        if summary is not None:
            return summary
        while self.before_end:
            self.before_end.pop()()
        if self._sampler is not None:
            self._sampler.stop()
        final = self._last_event(recorder, error, status, moment(time))
        self.book.end()
        self.summary = recorder.close(final, timeout=self.plan.patience_s if patience is None else patience)
        return self.summary

    def _last_event(
        self, recorder: Recorder, error: BaseException | Failure | None, status: EndStatus | None, time: int
    ) -> tuple[str, str, bytes]:
        ended = status or end_status(error)
        failed = reported(error, self.book.text) if ended != "finished" else None
        agent, dropped = self.book.agent, recorder.counts().dropped
        if self._is_ours:
            said = RunEnded(status=ended, time=time, error=failed, dropped=dropped)
            return agent, "ended", msgspec.json.encode(said)
        if failed is not None:
            text = f"the process {ended}: {failed.type}: {failed.message}\n{failed.trace}"
            self.book.event(agent, "log", LogLine(text=text, time=time, level="error"))
        return agent, "left", msgspec.json.encode(WriterLeft(time=time, dropped=dropped))

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
