"""The end of runs that a framework's callback ends: nobody waits for the bus but the end of the program.

A run's end waits until the log has all of it. A callback must not: it would hold up the framework, or its event loop.
So a thread of its own waits, for as long as the run's patience (3 s where no bus answers), and what is not delivered
then lies in the spool, for a later process.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Final

from tracecraft.integrations.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.recording.run import Run
    from tracecraft_core.run_events import EndStatus, Failure

PATIENCE_S: Final = 15.0
"""Seconds that an end may take; what is not delivered then lies in the spool."""

_ending: Final[set[threading.Thread]] = set()


def end(
    run: Run,
    status: EndStatus | None = None,
    *,
    error: BaseException | Failure | None = None,
    time: float | None = None,
) -> None:
    """End a run without waiting; the end of the program does."""
    later(lambda: run.end(status, error=error, time=time), run.id)


def later(work: Callable[[], object], what: str) -> None:
    """Do work that may wait for the bus on a thread of its own, which the end of the program waits for."""

    @guarded
    def ending() -> None:
        try:
            work()
        finally:
            _ending.discard(threading.current_thread())

    _register_at_exit()
    thread = threading.Thread(target=ending, name=f"tracecraft-end-{what}")
    _ending.add(thread)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is shutting down: no new threads, and nobody who would be held up
        _ending.discard(thread)
        ending()


def flush(timeout: float = 30.0) -> bool:
    """Wait up to ``timeout`` seconds for the runs that frameworks have ended; whether all of them are closed."""
    until = time.monotonic() + timeout
    for thread in list(_ending):
        thread.join(max(0.0, until - time.monotonic()))
    return not _ending


@functools.cache
def _register_at_exit() -> None:
    """Wait at the end of the program while there still are worker threads, which an end may need."""
    import concurrent.futures.thread  # noqa: F401  # registers before us: the last one is called first

    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the program is ending already: who tells of an end now waits itself
            register(lambda: flush(PATIENCE_S))
