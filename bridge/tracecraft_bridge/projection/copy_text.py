"""Values in the text format of COPY, as ``str``; and times, which JSON for PostgreSQL spells the same way."""

from __future__ import annotations

import datetime
import re
from typing import Final

NULL: Final = "\\N"
REMEMBERED: Final = 20_000
MILLION: Final = 1_000_000

_SPECIAL: Final = re.compile(r"[\\\n\r\t]")
_seconds: dict[int, str] = {}


def text(value: str | None) -> str:
    """A text column."""
    if value is None:
        return NULL
    if _SPECIAL.search(value):
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return value


def number(value: object) -> str:
    """A number column, or NULL."""
    return NULL if value is None else str(value)


def stamp(microseconds: int) -> str:
    """A time as PostgreSQL reads it; ``-infinity`` outside of the years 1 to 9999."""
    second, rest = divmod(microseconds, MILLION)
    known = _seconds.get(second)
    if known is None:
        if len(_seconds) >= REMEMBERED:
            _seconds.clear()
        known = _seconds[second] = _second(second)
    return f"{known}.{rest:06d}+00" if known else "-infinity"


def microseconds(stamped: str) -> int:
    """The time that `stamp` or PostgreSQL's JSON wrote, in microseconds since 1970; 0 for an infinite one."""
    if "infinity" in stamped:
        return 0
    found = datetime.datetime.fromisoformat(stamped)
    return (found - _EPOCH) // datetime.timedelta(microseconds=1)


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _second(second: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")
    except (OverflowError, OSError, ValueError):
        return ""
