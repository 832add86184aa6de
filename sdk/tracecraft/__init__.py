"""Coordinate AI agents over NATS: shared memory, messages, claims, barriers.

    import tracecraft

    session = tracecraft.init(project="my-research", agent="writer")
    session.memory.set("findings", {"papers": 47})
    with session.claim("S1.draft") as claim:
        claim.hand_off("the draft is in drafts/1.md", next_action="review it")

`Session` is for ordinary code, `AsyncSession` for asyncio; both have the same verbs. A name is imported when it is
first used, so that a one-shot command pays only for what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "Agent",
    "AsyncClaim",
    "AsyncSession",
    "BusUnreachable",
    "Claim",
    "ClaimLost",
    "Entry",
    "InboxMessage",
    "NotFound",
    "NothingLeft",
    "OutcomeUnknown",
    "OwnerLost",
    "Refused",
    "RevisionConflict",
    "Sent",
    "SentMessage",
    "Session",
    "Task",
    "TaskFailed",
    "TaskHeld",
    "TaskNotReady",
    "TaskSettled",
    "TracecraftError",
    "UsageError",
    "WaitResult",
    "WaitTimeout",
    "connect",
    "init",
]

if TYPE_CHECKING:
    from tracecraft.async_session import AsyncSession
    from tracecraft.claim import AsyncClaim
    from tracecraft.claims import Task
    from tracecraft.mail import InboxMessage, Sent, SentMessage
    from tracecraft.memory import Entry
    from tracecraft.presence import Agent
    from tracecraft.session import Claim, Session, connect, init
    from tracecraft.waiting import WaitResult
    from tracecraft_core.errors import (
        BusUnreachable,
        ClaimLost,
        NotFound,
        NothingLeft,
        OutcomeUnknown,
        OwnerLost,
        Refused,
        RevisionConflict,
        TaskFailed,
        TaskHeld,
        TaskNotReady,
        TaskSettled,
        TracecraftError,
        UsageError,
        WaitTimeout,
    )

    __version__: str

_HOMES = {
    "Agent": "tracecraft.presence",
    "AsyncClaim": "tracecraft.claim",
    "AsyncSession": "tracecraft.async_session",
    "Claim": "tracecraft.session",
    "Entry": "tracecraft.memory",
    "InboxMessage": "tracecraft.mail",
    "Sent": "tracecraft.mail",
    "SentMessage": "tracecraft.mail",
    "Session": "tracecraft.session",
    "Task": "tracecraft.claims",
    "WaitResult": "tracecraft.waiting",
    "connect": "tracecraft.session",
    "init": "tracecraft.session",
}
"""Where each public name lives; those that are not here are errors."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("tracecraft-nats")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "tracecraft_core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
