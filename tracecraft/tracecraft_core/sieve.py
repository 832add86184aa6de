"""Which of many short texts occur in a long one: a few passes over it instead of one for each.

Each text is looked for by its *pivot*, the rarest of its characters, and those with the same pivot together: an
expression that begins with one literal character skips to it as fast as memory is read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_RAREST: Final = "QZXJqzjKYVWHGUBxkFODLPMNRCAISTE89%v7654320wy1/gbmhf-_"
"""Characters by how rare they are in code, prose and JSON; those that are missing are more frequent still."""
_SHORT: Final = 200
"""Characters up to which it is cheaper to look for one text after the other."""


class _Group(NamedTuple):
    pivot: str
    pattern: re.Pattern[str]
    members: tuple[str, ...]


class Sieve:
    """A fixed set of short texts, each as the bytes that are looked for."""

    def __init__(self, wanted: Iterable[bytes]) -> None:
        groups: dict[str, list[str]] = {}
        for one in _fewest(dict.fromkeys(wanted)):
            text = one.decode("latin-1")
            groups.setdefault(_pivot(text), []).append(text)
        self.wanted = [text for texts in groups.values() for text in texts]
        """Those that are looked for: what contains another one is not."""
        self._groups = [_Group(pivot, _pattern(pivot, texts), tuple(texts)) for pivot, texts in groups.items()]

    def caught(self, body: str) -> list[str]:
        """Which of them are in it; of those that contain one another only the shortest. ``body`` is in Latin-1."""
        short = len(body) < _SHORT
        return [
            member
            for pivot, pattern, members in self._groups
            if (pivot in body if short else pattern.search(body))
            for member in members
            if member in body
        ]


def _fewest(texts: Iterable[bytes]) -> list[bytes]:
    """Texts without those that contain another one."""
    known = list(texts)
    return [one for one in known if one and not any(other in one for other in known if other and other != one)]


def _pivot(text: str) -> str:
    return min(text, key=lambda char: _RAREST.find(char) if char in _RAREST else len(_RAREST) + (char in ' ":e'))


def _pattern(pivot: str, texts: list[str]) -> re.Pattern[str]:
    """What finds the pivot where it stands in one of the texts."""
    split = [text.partition(pivot) for text in texts]
    whole = "|".join(f"(?<={re.escape(before + pivot)}){re.escape(after)}" for before, _, after in split)
    if not all(before for before, _, _ in split):
        return re.compile(f"{re.escape(pivot)}(?:{whole})")
    ahead = "".join(sorted({re.escape(before[-1]) for before, _, _ in split}))
    return re.compile(f"{re.escape(pivot)}(?<=[{ahead}]{re.escape(pivot)})(?:{whole})")
