"""Questions to the bridge, over the session's connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from tracecraft_core import subjects
from tracecraft_core.errors import BridgeAway, NotFound, Refused, TracecraftError, UsageError
from tracecraft_core.transport import ConnectionDropped, NoResponders

if TYPE_CHECKING:
    from tracecraft.context import Context
    from tracecraft_core.queries import Answer, Question

_A = TypeVar("_A", bound="Answer")

ANSWER_S: Final = 30.0
"""Seconds that one answer may take: a bundle of a long run is made meanwhile."""


async def ask(context: Context, verb: str, question: Question, answer: type[_A], *, patience: float = ANSWER_S) -> _A:
    """The bridge's answer. Raises `BridgeAway`, `UsageError` (400), `NotFound` (404), `Refused` (409)."""
    subject = subjects.query(context.project, verb)
    until = time.monotonic() + patience
    try:
        reply = await context.bus.transport.request(
            subject, msgspec.json.encode(question), timeout=max(0.1, until - time.monotonic())
        )
    except NoResponders:
        raise BridgeAway(f"nobody answers {subject}") from None
    except ConnectionDropped:
        raise BridgeAway("the connection to the bus broke") from None
    except TimeoutError:
        raise BridgeAway(f"{subject} was not answered within {patience:.0f} s") from None
    code = (reply.headers or {}).get("Nats-Service-Error-Code")
    if code is None:
        return msgspec.json.decode(reply.data, type=answer)
    raise _refusal(code, reply.data)


def _refusal(code: str, body: bytes) -> TracecraftError:
    said = msgspec.json.decode(body)
    hint = said.get("hint") or ""
    if code == "404":
        return NotFound(said["kind"], said["name"], hint)
    text = said["error"] + (f": {hint}" if hint else "")
    kinds: dict[str, type[TracecraftError]] = {"400": UsageError, "409": Refused}
    return kinds.get(code, BridgeAway)(text)
