"""``tracecraft serve``: a stack in the foreground, until a signal ends it."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError
from tracecraft_stack.options import StackOptions, say_nothing
from tracecraft_stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracecraft_core.local import StackState
    from tracecraft_stack.options import Report

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each of them ends the stack, in order; repeating it does not make it quicker."""


def run_foreground(
    options: StackOptions, report: Report = say_nothing, ready: Callable[[StackState], None] | None = None
) -> None:
    """Runs a stack until SIGINT, SIGTERM or SIGHUP; call it from the main thread.

    Args:
        options: what to run, and where.
        report: told what happens, one event at a time, from any thread.
        ready: called once with the state when everything is up.

    Raises `StackError` when the stack does not come up. A signal during the start is no error.
    """
    stack = Stack(options, report)
    with _ended_by_signals(stack.request_stop) as signals:
        try:
            state = stack.start()
            if ready is not None:
                ready(state)
            stack.wait()
        except StackError:
            if not signals:
                raise
        finally:
            stack.stop()


@contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Iterator[list[int]]:
    """Calls ``end`` for each signal; yields the list of those that came."""
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        came.append(number)
        end()

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
