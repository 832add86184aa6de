"""Times as people read them: how long ago, by the server's clock, and the hour on this machine's wall.

An age is the difference of two times that the server wrote, so a wrong clock on this machine does not show.
"""

from __future__ import annotations

import datetime


def seconds_between(then: str, now: str) -> float:
    """Seconds from one RFC 3339 time to another, at least 0."""
    return max(0.0, (_moment(now) - _moment(then)).total_seconds())


def ago(then: str | None, now: str) -> str:
    """``12 s ago``, ``3 m ago``, ``5 h ago`` or ``2 d ago``; ``-`` without a time."""
    if then is None:
        return "-"
    seconds = seconds_between(then, now)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago" if seconds < 59.5 else "59 s ago"


def wall(then: str, now: str) -> str:
    """The local time of day, with the date unless it is today's."""
    local, today = _moment(then).astimezone(), _moment(now).astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def _moment(time: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(time)
