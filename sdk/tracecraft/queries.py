"""Questions to the bridge, over the session's connection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from tracecraft_core import subjects
from tracecraft_core.errors import BridgeAway, BridgeFailed, NotFound, Refused, TracecraftError, UsageError
from tracecraft_core.transport import RECONNECT_S, ConnectionDropped, NoResponders

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from tracecraft.context import Context
    from tracecraft_core.queries import Answer, Question

_A = TypeVar("_A", bound="Answer")

ANSWER_S: Final = 30.0
"""Seconds that one answer may take: a bundle of a long run is made meanwhile."""

BACK_S: Final = 1.0
"""Seconds in which a bridge is back that lost the bus when we did."""

PROBE_S: Final = 2.0
"""Seconds in which a bridge says that it is there."""


async def ask(context: Context, verb: str, question: Question, answer: type[_A], *, patience: float = ANSWER_S) -> _A:
    """The bridge's answer.

    Raises `BridgeAway`, `UsageError` (400), `NotFound` (404), `Refused` (409), `BridgeFailed` (500).
    """
    subject, body = subjects.query(context.project, verb), msgspec.json.encode(question)
    try:
        reply = await _put(context, subject, body, patience)
    except NoResponders:
        raise await _unanswered(context, verb) from None
    except ConnectionDropped:
        raise BridgeAway("the connection to the bus broke") from None
    except TimeoutError:
        raise BridgeAway(f"{subject} was not answered within {patience:.0f} s") from None
    code = (reply.headers or {}).get("Nats-Service-Error-Code")
    if code is None:
        return msgspec.json.decode(reply.data, type=answer)
    raise _refusal(verb, code, reply.data)


async def _put(context: Context, subject: str, body: bytes, patience: float) -> Msg:
    """The reply to a question that is put again for a moment while nobody takes it; then `NoResponders` is raised."""
    began = time.monotonic()
    while True:
        left = max(0.1, began + patience - time.monotonic())
        try:
            return await context.bus.transport.request(subject, body, timeout=left)
        except NoResponders:
            if time.monotonic() - began > min(BACK_S, patience):
                raise
        await asyncio.sleep(RECONNECT_S / 2)


def _refusal(verb: str, code: str, body: bytes) -> TracecraftError:
    said = msgspec.json.decode(body)
    hint = said.get("hint") or ""
    if code == "404":
        return NotFound(said["kind"], said["name"], hint)
    if code == "500":
        return BridgeFailed(verb, said["error"].rpartition(": ")[2])
    text = said["error"] + (f": {hint}" if hint else "")
    kinds: dict[str, type[TracecraftError]] = {"400": UsageError, "409": Refused}
    if code in kinds:
        return kinds[code](text)
    return BridgeAway(text, f"the bridge cannot do this now: {text}")


async def _unanswered(context: Context, verb: str) -> BridgeAway:
    """Nobody takes the question: is there no bridge, or one that does not know the verb?"""
    reason = f"nobody answers {subjects.query(context.project, verb)}"
    other = "runs.list" if verb != "runs.list" else "runs.get"
    try:  # not a question: it is refused before anybody looks something up
        await context.bus.transport.request(subjects.query(context.project, other), b"?", timeout=PROBE_S)
    except (NoResponders, ConnectionDropped, TimeoutError):
        return BridgeAway(reason)
    return BridgeAway(
        reason, f"the bridge does not know {verb}: it is older than this program, or just starting; upgrade it or wait"
    )
