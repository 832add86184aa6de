"""The end of the program for toolboxes that nobody has closed, such as those that an adapter's ``tools()`` makes.

They are closed then, all at the same time and for a bounded time: their agents have left, and are not lost half a
minute later. A program that is killed lets them lapse.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from tracecraft.loop import background

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S: Final = 5.0
"""Seconds that the end of the program waits for all of them; what is not said by then lapses by itself."""
RUNS_S: Final = 2.0
"""Seconds of these in which the runs that they have begun are ended; what is not there by then is safe on disk."""


class Closable(Protocol):
    """A toolbox, of which no more is needed here."""

    def leave_runs(self, until: float) -> None:
        """End what it has begun to record, in this very thread, until this time of the monotonic clock."""

    async def close(self) -> None:
        """Leave."""


_open: Final[set[Closable]] = set()
os.register_at_fork(after_in_child=_open.clear)  # they are the parent's


def watch(box: Closable) -> None:
    """The end of the program closes this one, whose work is done on the background loop."""
    _open.add(box)
    _register_for_children()
    come_first()


def come_first() -> None:
    """A run has begun: it must not be given up before a toolbox has ended it, and the last to register is called first.

    The program's own threads have ended by then, and those that end a framework's runs.
    """
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def forget(box: Closable) -> None:
    """It is closed."""
    _open.discard(box)


def _close_all() -> None:
    boxes = list(_open)
    _open.clear()
    if not boxes:
        return
    began = time.monotonic()
    with contextlib.suppress(Exception, KeyboardInterrupt):  # nobody is left who could do something about it
        for box in boxes:
            box.leave_runs(began + RUNS_S)  # here: there are no worker threads any more, with which `close` would do it
    with contextlib.suppress(Exception, KeyboardInterrupt):
        closing = background().start(_close(boxes))
        try:
            closing.result(max(0.0, began + PATIENCE_S - time.monotonic()))
        finally:
            closing.cancel()


async def _close(boxes: Sequence[Closable]) -> None:
    await asyncio.gather(*(box.close() for box in boxes), return_exceptions=True)


def _before_threads_end() -> None:
    if "multiprocessing" in sys.modules and sys.modules["multiprocessing"].parent_process() is not None:
        _close_all()  # such a child, if it was forked, ends without `atexit`


@functools.cache
def _register_for_children() -> None:
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the program is ending already: `atexit` is still to come
            register(_before_threads_end)
