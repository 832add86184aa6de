"""`Recorder`: takes what one process says about one run, at memory speed, and sees that the log gets it once."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import math
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft.loop import background, result_of
from tracecraft.recording.flushed import Flushed
from tracecraft.recording.intent import intent_of
from tracecraft.recording.spool import spools
from tracecraft.recording.spool_status import SpoolStatus
from tracecraft.recording.takeover import Taken, deliver_spools
from tracecraft.recording.writer import Writer
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import Blob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tracecraft_core.run_events import ArtifactKind
    from tracecraft_core.settings import Settings

__all__ = ["Flushed", "Recorder", "SpoolStatus", "Taken", "deliver_spools", "spools"]

logger = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
"""Most seconds that a write of the session waits for events that were recorded before it."""

EXIT_S: Final = 5.0
"""Seconds that the end of the program waits for recorders that nobody closed."""

_encode = msgspec.json.Encoder().encode


class Recorder:
    """One process's part in one run, with an id (`writer`) of its own.

    What `record` and `metric` return for survives SIGKILL of the process. Nothing here waits for the bus but
    `flush` and `close`, and nothing raises into the caller: what cannot be kept is counted and warned about once.
    """

    def __init__(self, settings: Settings, project: str, run: str, *, agent: str) -> None:
        self._arguments = (settings, project, run, agent)
        self._lock = threading.Lock()
        self._failed = False
        self.joined: Callable[[], tuple[str, str, bytes]] | None = None
        """Makes the first event (agent, event, body) of a forked child, which becomes a writer of its own."""
        self.parting: Callable[[], tuple[str, str, bytes] | None] = _nothing
        """Makes the last event of a process that ends without `close`; ``None``: it has no right to speak."""
        self._now: Writer | None = Writer(*self._arguments)
        _open.add(self)
        _register_at_exit()

    @property
    def writer(self) -> str:
        """Id of this process's events: their ``Nats-Msg-Id`` is ``<writer>:<number>``. A forked child has another."""
        return self._writer().id

    def _writer(self) -> Writer:
        return self._now or self._begin_again()

    def _begin_again(self) -> Writer:
        with self._lock:
            if self._now is None:
                writer = Writer(*self._arguments)
                if self.joined is not None:
                    writer.journal.event(*self.joined())
                self._now = writer
            return self._now

    def record(self, agent: str, event: str, body: bytes) -> None:
        """Take an event; ``body`` is JSON of at most 256 KiB. From any thread, also after a fork."""
        try:
            (self._now or self._begin_again()).journal.event(agent, event, body)
        except Exception:
            self._fail()

    def metric(self, agent: str, key: str, value: float, step: int | None, time_us: int) -> None:
        """Take a metric point; neighbours travel in one ``metric`` event. ``time_us``: microseconds since 1970."""
        try:
            number = float(value)
            text = _encode((key, number if number - number == 0.0 else _name(number), step, time_us)) + b",\n"
            (self._now or self._begin_again()).journal.point(agent, text)
        except Exception:
            self._fail()

    def upload(
        self,
        content: Path | bytes,
        *,
        name: str,
        kind: ArtifactKind = "file",
        media_type: str | None = None,
        step: str | None = None,
        agent: str,
    ) -> None:
        """Take a file, or the content of one: it is uploaded in the background, then ``artifact`` is recorded.

        Up to 16 MiB are copied at the call; a larger file has to stay as it is until it is uploaded. Raises
        ``OSError`` when it cannot be read, and `UsageError` for a folder: that is misuse.
        """
        self._writer().uploads.add_file(content, intent_of(name, kind, media_type, step, agent))

    def blob(self, data: bytes, media_type: str = "application/json", *, preview: str = "") -> Blob:
        """Take a large value; it is uploaded once in the background. Returns the reference at once."""
        sha256 = self._writer().uploads.add_value(data, media_type)
        return Blob(sha256=sha256, size=len(data), media_type=media_type, preview=preview)

    def counts(self) -> Flushed:
        """How things stand, without waiting."""
        return self._writer().counts()

    def flush(self, timeout: float | None = 30.0) -> Flushed:
        """Wait up to ``timeout`` seconds (``None``: for ever) until all that was taken so far is delivered.

        Returns sooner, after 3 s, when the bus or the object store cannot be reached.
        """
        writer = self._writer()
        with contextlib.suppress(UsageError):  # the interpreter is shutting down
            return background().run(writer.flush(timeout))
        return writer.counts()

    async def flush_async(self, timeout: float | None = 30.0) -> Flushed:
        """`flush`, for any event loop."""
        return await result_of(background().start(self._writer().flush(timeout)))

    async def settle(self, timeout: float = SETTLE_S) -> None:
        """Wait until the log has the events taken so far; up to ``timeout`` seconds, and only while it takes them."""
        writer = self._now
        if writer is not None and not writer.closed and writer.behind:
            await result_of(background().start(writer.settle(timeout)))

    def close(self, final: tuple[str, str, bytes] | None = None, timeout: float = 30.0) -> Flushed:
        """Wait for uploads, record ``final`` (agent, event, body) as the last event, flush, and stop.

        What is not delivered after ``timeout`` seconds stays in the spool. Idempotent. Records that come later are
        counted as dropped.
        """
        writer = self._writer()
        _open.discard(self)
        with contextlib.suppress(UsageError):
            return background().run(writer.close(final, timeout))
        return writer.counts()

    async def close_async(self, final: tuple[str, str, bytes] | None = None, timeout: float = 30.0) -> Flushed:
        """`close`, for any event loop."""
        _open.discard(self)
        return await result_of(background().start(self._writer().close(final, timeout)))

    def finish(self, timeout: float, waited: float) -> None:
        """The process ends: deliver for up to ``timeout`` seconds, and say where the rest lies."""
        writer = self._now
        if writer is not None and not writer.closed:
            with contextlib.suppress(UsageError):
                background().run(writer.finish(self.parting(), timeout, waited))

    def _fail(self) -> None:
        """A record that could not be taken: it is counted, and told once."""
        with contextlib.suppress(Exception):
            self._writer().journal.drop()
        if not self._failed:
            self._failed = True
            logger.warning("a record of run %s was dropped", self._arguments[2], exc_info=True)

    def _forget_parent(self) -> None:
        if self._now is not None:
            self._now.forsake()
        self._now, self._lock = None, threading.Lock()


def _name(number: float) -> str:
    """What JSON has no number for."""
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


_open: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _finish_open() -> None:
    for recorder in list(_open):
        waited = time.monotonic() - _ending_since()
        recorder.finish(max(0.0, EXIT_S - waited), waited)


def _before_threads_end() -> None:
    """Deliver while there are worker threads, which uploads need; the program's own threads may still record."""
    if "multiprocessing" in sys.modules and sys.modules["multiprocessing"].parent_process() is not None:
        _finish_open()  # such a child, if it was forked, ends without `atexit`
        return
    for recorder in list(_open):
        if recorder._now is not None:
            recorder.flush(max(0.0, EXIT_S - (time.monotonic() - _ending_since())))


@functools.cache
def _ending_since() -> float:
    """When the end of this process began."""
    return time.monotonic()


@functools.cache
def _register_at_exit() -> None:
    import concurrent.futures.thread  # noqa: F401  # registers before us: the last one is called first

    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the program is ending already: who begins now ends it himself
            register(_before_threads_end)
    atexit.register(_finish_open)


def _nothing() -> None:
    """There is nothing to say."""


def _after_fork() -> None:
    for recorder in list(_open):
        recorder._forget_parent()


os.register_at_fork(after_in_child=_after_fork)
