"""A place in a run as a person names it, or as the tools print it: a sequence of the log, a time, or a step's id."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Final

from tracecraft_cli.replay.moment import microseconds
from tracecraft_core.errors import UsageError

STEP_DIGITS: Final = 16
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_OFFSET: Final = re.compile(r"([+-])(?:(\d{1,4}):)?(\d{1,4}):([0-5]\d)(?:\.(\d{1,6}))?")
_OF_DAY: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?")


@dataclass(frozen=True, slots=True)
class Where:
    """Exactly one of the five; what needs the run's start becomes a time by `since`."""

    seq: int | None = None
    time: int | None = None
    """Microseconds since 1970."""
    step: str | None = None
    offset: int | None = None
    """Microseconds from the run's beginning by the clocks of its writers, as lines show it; only a tape finds it."""
    of_day: int | None = None
    """Microseconds from midnight, UTC, of the run's day."""
    width: int = 1
    """Microseconds that the last printed digit stands for: what is printed so happened within them."""

    @property
    def needs_start(self) -> bool:
        """Whether it can only be found with the time of the run's first entry."""
        return self.of_day is not None

    @property
    def offsets(self) -> tuple[int, int]:
        """The first and the last offset that are printed so: the digits behind are cut, towards zero."""
        offset, more = self.offset or 0, self.width - 1
        return (offset, offset + more) if offset >= 0 else (offset - more, offset)

    def since(self, start: int, *, first: bool = False) -> Where:
        """The same place in a run whose first entry came at ``start``, at the end of its last digit or at the first."""
        if self.of_day is None:
            return self
        time = start - start % _DAY + self.of_day
        if time + self.width <= start - start % _SECOND:
            time += _DAY
        return dataclasses.replace(self, of_day=None, time=time if first else time + self.width - 1)


def parse(text: str) -> Where:
    """``1200``, ``2026-11-22T19:34:15Z``, ``+0:03.140``, ``19:34:15`` or ``00f067aa0ba902b7``. Raises `UsageError`.

    Sixteen digits are a step's id: no log has come so far.
    """
    if len(text) == STEP_DIGITS and all(char in "0123456789abcdef" for char in text):
        return Where(step=text)
    if text.isascii() and text.isdigit() and len(text) < STEP_DIGITS:
        return Where(seq=int(text))
    if found := _OFFSET.fullmatch(text):
        sign, *digits = found.groups()
        return Where(offset=_count(*digits) * (-1 if sign == "-" else 1), width=_width(digits[-1]))
    if found := _OF_DAY.fullmatch(text):
        return Where(of_day=_count(*found.groups()), width=_width(found[4]))
    time = microseconds(text)
    if time:
        return Where(time=time)
    raise UsageError(
        f"{text!r} is no sequence, no time and no step: for example 1200, 2026-11-22T19:34:15Z, 19:34:15 (of the run's "
        "day, UTC), +0:03.140 (from its start) or 00f067aa0ba902b7"
    )


def _count(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> int:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * _SECOND + int((fraction or "").ljust(6, "0"))


def _width(fraction: str | None) -> int:
    return int(10 ** (6 - len(fraction or "")))
