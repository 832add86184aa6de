"""Where the code that runs now is: `PLACE` is the innermost run, agent or step around it.

It is a context variable: it follows the code across ``await`` and into tasks, and ``contextvars.copy_context().run``
carries it into a thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from tracecraft.recording.traceparent import TraceParent
from tracecraft_core.inside import RUN, SETTLE, TRACE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tracecraft.recording.logbook import Logbook

PLACE: Final[ContextVar[Place | None]] = ContextVar("tracecraft_place", default=None)


class Place:
    """A run, an agent or a step, as something that code can be inside of."""

    __slots__ = (
        "_book",
        "_outer",
        "_outer_mark",
        "_outer_settle",
        "_outer_trace",
        "agent_name",
        "mark",
        "over",
        "step_id",
        "task",
    )

    def __init__(self, book: Logbook, agent_name: str, step_id: str | None = None, task: str | None = None) -> None:
        self._book = book
        self.agent_name, self.step_id, self.task = agent_name, step_id, task
        self.mark = f"{book.run}/{step_id}" if step_id else book.run
        """What the header ``Tc-Run`` says inside of it."""
        self.over = False
        """Whether it has ended."""
        self._outer: Place | None = None
        self._outer_mark: str | None = None
        self._outer_trace: str | None = None
        self._outer_settle: Callable[[], Awaitable[None]] | None = None

    @property
    def _trace(self) -> str | None:
        """W3C trace context of a step."""
        return str(TraceParent(self._book.trace, self.step_id)) if self.step_id else None


def enter(place: Place) -> None:
    """Be inside of a place from now on."""
    place._outer = PLACE.get()
    place._outer_mark, place._outer_settle, place._outer_trace = RUN.get(), SETTLE.get(), TRACE.get()
    _set(place, place.mark, place._trace, place._book.settle)


def leave(place: Place) -> None:
    """The place is over, and nobody is inside of it any more."""
    place.over = True
    step_out(place)


def step_out(place: Place) -> None:
    """Be no longer inside; blocks that end in another order than they began, or elsewhere, do no harm."""
    if PLACE.get() is not place:
        return
    outer, mark, settle, trace = place._outer, place._outer_mark, place._outer_settle, place._outer_trace
    while outer is not None and outer.over:
        mark, settle, trace = outer._outer_mark, outer._outer_settle, outer._outer_trace
        outer = outer._outer
    _set(outer, mark, trace, settle)


@contextmanager
def inside(place: Place) -> Iterator[None]:
    """Code that runs inside of a place that others may be inside of at the same time, and that goes on afterwards."""
    before = PLACE.get(), RUN.get(), TRACE.get(), SETTLE.get()
    _set(place, place.mark, place._trace, place._book.settle)
    try:
        yield
    finally:
        _set(*before)


def _set(
    place: Place | None, mark: str | None, trace: str | None, settle: Callable[[], Awaitable[None]] | None
) -> None:
    PLACE.set(place)
    RUN.set(mark)
    TRACE.set(trace)
    SETTLE.set(settle)


def around(book: Logbook) -> Place | None:
    """The innermost place of a run around the code that runs now that has not ended."""
    place = PLACE.get()
    while place is not None and (place.over or place._book is not book):
        place = place._outer
    return place
