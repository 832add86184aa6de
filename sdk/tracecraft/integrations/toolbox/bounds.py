"""How words of peers get into a result: invisible characters escaped, and cut, with what was left out said.

A control character or an invisible one could carry words that only a model reads, so each is shown as an escape
(`tracecraft_core.quotation`). What is cut can always be had: ``left_out`` names the call.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from tracecraft_core import quotation

if TYPE_CHECKING:
    from collections.abc import Collection

_Item = TypeVar("_Item")

LINE: Final = 200
"""Characters of a text in a list of many."""
TEXT: Final = 1_500
"""Characters of a text in a list of few, such as messages."""
WHOLE: Final = 5_000
"""Characters of the JSON of one value that was asked for by its name."""
SEVERAL: Final = 8_000
"""Characters that the texts of several messages share."""
LIST: Final = 20_000
"""Characters of the JSON of a list; what has no room in it is left out."""
RESULT: Final = 50_000
"""Characters of the JSON of any result, however hostile what is in it."""
DEEPEST: Final = 24
"""Levels of a value: a deeper one is shown as text, since not every client survives it."""


class _TooDeep(Exception):
    """A value with more levels than `DEEPEST`."""


def clean(text: str) -> str:
    """The text with its invisible characters as escapes; lines and tabs stay."""
    return quotation.neutral(text.replace("\r\n", "\n"), keep="\n\t")


def line(text: str | None, width: int = LINE) -> str | UnsetType:
    """The text in one line of at most ``width`` characters."""
    return UNSET if text is None else quotation.oneline(text.replace("\n", " "), width)


def head(text: str, width: int) -> str:
    """The beginning of a text."""
    shown = clean(text[: width + 1])
    return shown if len(shown) <= width else shown[: width - 1] + "…"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text, and the place where the rest begins."""

    text: str
    next: int | None
    rest: int
    """Characters behind it."""


def piece(text: str, offset: int, width: int) -> Piece:
    """About ``width`` characters of a text from ``offset`` on; fewer where escapes make them longer."""
    end = offset + width
    shown = clean(text[offset:end])
    while len(shown) > width + 10:
        end = offset + (end - offset) // 2
        shown = clean(text[offset:end])
    return Piece(shown, end if end < len(text) else None, max(0, len(text) - end))


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as it can be shown."""

    value: Any = UNSET
    """The value, if it has room."""
    part: str | UnsetType = UNSET
    """Otherwise a piece of its JSON."""
    next: int | None = None
    rest: int = 0


def value(found: Any, width: int, offset: int = 0) -> Shown:
    """A JSON value whole, or the piece of its JSON from ``offset`` on."""
    text = json_text(found)
    if offset == 0 and len(text) <= width:
        with contextlib.suppress(_TooDeep):
            cleaned = _cleaned(found)
            if len(json_text(cleaned)) <= width:
                return Shown(cleaned)
    part = piece(text, offset, width)
    return Shown(part=part.text, next=part.next, rest=part.rest)


def either(shown: Shown) -> Any:
    """The value, or the piece of its JSON as a text."""
    return shown.part if shown.value is UNSET else shown.value


def json_text(found: Any) -> str:
    """The value as JSON in one line."""
    return msgspec.json.encode(found).decode()


def _cleaned(found: Any, levels: int = DEEPEST) -> Any:
    if isinstance(found, str):
        return clean(found)
    if isinstance(found, (dict, list)) and not levels:
        raise _TooDeep
    if isinstance(found, dict):
        return {clean(str(key)): _cleaned(item, levels - 1) for key, item in found.items()}
    if isinstance(found, list):
        return [_cleaned(item, levels - 1) for item in found]
    return found


def few(found: dict[str, Any], most: int, width: int = LINE) -> dict[str, Any]:
    """The first entries of a mapping, each value in ``width`` characters."""
    shown = list(found.items())[:most]
    return {head(key, 100): either(value(item, width)) for key, item in shown}


def fit(found: list[_Item]) -> list[_Item]:
    """The first items, as many as `LIST` has room for; at least one."""
    room = LIST
    for place, item in enumerate(found):
        room -= len(msgspec.json.encode(item))
        if room < 0:
            return found[: max(1, place)]
    return found


def page(total: int, offset: int, shown: Collection[object], how: str) -> str | UnsetType:
    """What is left out of a list, and how to get it."""
    left = total - offset - len(shown)
    return UNSET if left <= 0 else f"{left:,} more: {how}, or call again with offset={offset + len(shown)}"
