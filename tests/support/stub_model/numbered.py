"""A reply that is about to be given: with a number of its own, ids of its calls, and the time."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.stub_model.script import Reply, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Numbered:
    """What the dialects render."""

    number: int
    """Unique among the replies of a server; ids are made of it."""
    text: str
    calls: tuple[ToolCall, ...]
    """All of them with an id."""
    usage: Usage
    time: int
    """Seconds since 1970."""


def numbered(reply: Reply, number: int, next_call: Callable[[], int]) -> Numbered:
    """The reply under a number; calls without an id are numbered through the whole server."""
    calls = (one if one.id else dataclasses.replace(one, id=f"call_{next_call()}") for one in reply.calls)
    return Numbered(number, reply.text, tuple(calls), reply.usage, int(time.time()))
