"""Values as they stand in a filter, as what the field they are compared with holds."""

from __future__ import annotations

import datetime
import difflib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.filters.fields import CHOICES

if TYPE_CHECKING:
    from tracecraft_bridge.filters.conditions import Value
    from tracecraft_bridge.filters.fields import Kind

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False}


class WrongValue(ValueError):
    """A value that does not go with its field. Attribute: ``hint``."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written."""

    text: str
    position: int
    quoted: bool = False
    ago: bool = False
    """``2h ago``."""

    @property
    def number(self) -> float | None:
        """As a number, when it is one."""
        return float(self.text) if _NUMBER.fullmatch(self.text) else None


def value(given: Given, name: str, kind: Kind, now: datetime.datetime) -> Value:
    """What is compared with a field of this kind. Raises `WrongValue`."""
    if given.ago and kind != "time":
        raise WrongValue(f"{name} is no time, and 'ago' makes one")
    if kind == "time":
        return _moment(given, name, now)
    if kind in ("number", "seconds"):
        return _number(given, name, kind)
    if kind == "flag":
        return _flag(given, name)
    if kind in CHOICES:
        return _choice(given, name, CHOICES[kind])
    if kind == "either" and not given.quoted and (number := given.number) is not None:
        return number
    return given.text


def _number(given: Given, name: str, kind: Kind) -> float:
    number = given.number
    if number is None and kind == "seconds" and (found := _DURATION.fullmatch(given.text)):
        number = float(found.group(1)) * _SECONDS[found.group(2)]
    if number is None:
        hint = "write 'is nan'" if given.text.lower() == "nan" else "for example 0.5"
        raise WrongValue(
            f"{name} is a number, {given.text!r} is none", "90, 90s, 5m, 2h" if kind == "seconds" else hint
        )
    return number


def _flag(given: Given, name: str) -> bool:
    known = _WORDS.get(given.text.lower())
    if known is None:
        raise WrongValue(f"{name} is true or false, not {given.text!r}")
    return known


def _choice(given: Given, name: str, choices: tuple[str, ...]) -> str:
    word = given.text.lower()
    if word not in choices:
        near = difflib.get_close_matches(word, choices, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(choices)}"
        raise WrongValue(f"no {name} {given.text!r}", hint)
    return word


def _moment(given: Given, name: str, now: datetime.datetime) -> datetime.datetime:
    text = given.text
    try:
        if given.ago:
            return now - datetime.timedelta(seconds=_span(text))
        if text.lower() == "now":
            return now
        if text.lower() in ("today", "yesterday"):
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            return midnight - datetime.timedelta(days=text.lower() == "yesterday")
        number = given.number
        if number is not None and math.isfinite(number) and len(text) > 8:
            return datetime.datetime.fromtimestamp(number / 1000, datetime.UTC)
        found = datetime.datetime.fromisoformat(text)
        return found.replace(tzinfo=datetime.UTC) if found.tzinfo is None else found.astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError):
        hint = 'for example "2026-11-22", "2026-11-22T19:30:00Z", 2h ago, today, or milliseconds since 1970'
        raise WrongValue(f"{name} is a time, {text!r} is none", hint) from None


def _span(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return float(found.group(1)) * _SECONDS[found.group(2)]
