"""A place in a run as a person names it: a sequence of the log, a time, or a step's id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracecraft_cli.replay.moment import microseconds
from tracecraft_core.errors import UsageError

STEP_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Where:
    """Exactly one of the three."""

    seq: int | None = None
    time: int | None = None
    """Microseconds since 1970."""
    step: str | None = None


def parse(text: str) -> Where:
    """``1200``, ``2026-11-22T19:34:15Z`` or ``00f067aa0ba902b7``. Raises `UsageError`.

    Sixteen digits are a step's id: no log has come so far.
    """
    if len(text) == STEP_DIGITS and all(char in "0123456789abcdef" for char in text):
        return Where(step=text)
    if text.isascii() and text.isdigit() and len(text) < STEP_DIGITS:
        return Where(seq=int(text))
    time = microseconds(text)
    if time:
        return Where(time=time)
    raise UsageError(
        f"{text!r} is no sequence, no time and no step: for example 1200, 2026-11-22T19:34:15Z or 00f067aa0ba902b7"
    )
