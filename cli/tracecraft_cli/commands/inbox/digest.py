"""Which messages fit into a model's budget: the newest first, whole or not at all; the rest by id."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracecraft import InboxMessage

CHARACTERS_PER_TOKEN: Final = 4
_REST: Final = 160
"""Most characters of the line that lists the rest; of a small budget it takes a quarter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Digest:
    """What is shown of an inbox."""

    whole: tuple[InboxMessage, ...]
    """Newest first; these count as read."""
    cut: InboxMessage | None
    """The newest message, shortened because not even it fits; it stays unread."""
    rest: tuple[int, ...]
    """Ids of those that do not fit, newest first; they stay unread."""

    @property
    def ids(self) -> frozenset[int]:
        """Of the messages that are shown whole."""
        return frozenset(message.id for message in self.whole)

    @property
    def unread(self) -> tuple[int, ...]:
        """Ids of what was not shown whole."""
        return (*((self.cut.id,) if self.cut else ()), *self.rest)


def newest(messages: Sequence[InboxMessage], budget: int, size: Callable[[InboxMessage], int]) -> Digest:
    """Choose from messages, in any order, what fits into ``budget`` tokens; ``size`` is in characters."""
    left = budget * CHARACTERS_PER_TOKEN
    ordered = sorted(messages, key=lambda message: -message.id)
    total = sum(size(message) for message in ordered)
    if total > left:
        left -= _room(budget) + 1  # and the end of that line
    whole: list[InboxMessage] = []
    rest: list[int] = []
    for message in ordered:
        needed = size(message)
        if needed <= left:
            whole.append(message)
            left -= needed
        else:
            rest.append(message.id)
    if whole or not ordered:
        return Digest(tuple(whole), None, tuple(rest))
    return Digest((), _cut(ordered[0], left, size), tuple(rest[1:]))


def _cut(message: InboxMessage, room: int, size: Callable[[InboxMessage], int]) -> InboxMessage:
    """The beginning of a message, as much as fits, with a word on how to read the whole."""
    end = f"… (cut: 'tracecraft inbox show {message.id}')"
    low, high = 0, len(message.text)
    bare = dataclasses.replace(message, data=None)
    while low < high:
        middle = (low + high + 1) // 2
        if size(dataclasses.replace(bare, text=message.text[:middle] + end)) <= room:
            low = middle
        else:
            high = middle - 1
    return dataclasses.replace(bare, text=message.text[:low] + end)


def _room(budget: int) -> int:
    return min(_REST, budget * CHARACTERS_PER_TOKEN // 4)


def rest_line(rest: Sequence[int], budget: int) -> str:
    """``7 unread, not shown: #12 #11 … and 5 older``, as long as the budget has room for."""
    line = f"{len(rest)} unread, not shown:"
    for place, id_ in enumerate(rest):
        word, older = f" #{id_}", f" and {len(rest) - place} older"
        if len(line) + len(word) + len(older) > _room(budget):
            return f"{line}{older}"
        line += word
    return line
