"""Server-sent events, and a text cut into some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; ``data`` is JSON or a bare word."""

    name: str | None
    data: Mapping[str, Any] | str

    def encode(self) -> bytes:
        """As it stands on the wire."""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return (f"event: {self.name}\n" if self.name else "").encode() + f"data: {data}\n\n".encode()


def in_pieces(text: str) -> Iterator[str]:
    """A text in up to three parts, so that whoever takes only the first or the last of them is caught."""
    size = max(1, -(-len(text) // 3))
    yield from (text[start : start + size] for start in range(0, len(text), size))
