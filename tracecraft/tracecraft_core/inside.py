"""Inside of which run, and which step of it, the code that runs now writes, and what must be in the log before."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

RUN: Final[ContextVar[str | None]] = ContextVar("tracecraft_run", default=None)
"""``<run>`` or ``<run>/<step>``; it follows the code across ``await`` and onto a session's loop."""

TRACE: Final[ContextVar[str | None]] = ContextVar("tracecraft_trace", default=None)
"""W3C ``traceparent`` of that step; ``None`` outside of a step."""

SETTLE: Final[ContextVar[Callable[[], Awaitable[None]] | None]] = ContextVar("tracecraft_settle", default=None)
"""Waits, for a moment at most, until the log has what was recorded in the run so far. Events and writes take different
connections: without it a message sent at the end of a step could stand before the step's beginning."""

_MARKED: Final = re.compile(
    rf"\$KV\.({subjects.MEMORY}|{subjects.TASKS})\.|{subjects.ROOT}\.[^.]+\.(msg|all|receipt)\."
)
_TRACED: Final = re.compile(rf"{subjects.ROOT}\.[^.]+\.(msg|all)\.")


def mark(subject: str, headers: Mapping[str, str] | None, default: str | None = None) -> dict[str, str]:
    """The headers with ``Tc-Run``, where a run has a part in this subject and they do not name one already.

    A message that is sent inside of a step bears the step's ``traceparent`` too.
    """
    marked = dict(headers or {})
    run = RUN.get() or default
    if run is not None and _MARKED.match(subject):
        marked.setdefault(subjects.RUN, run)
        trace = TRACE.get()
        if trace is not None and _TRACED.match(subject):
            marked.setdefault(subjects.TRACEPARENT, trace)
    return marked


async def settle(marked: Mapping[str, str]) -> None:
    """Before a write with these headers: let what was recorded in its run get into the log first."""
    waiting = SETTLE.get()
    if waiting is not None and subjects.RUN in marked:
        await waiting()
