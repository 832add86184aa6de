"""Coordinate AI agents over NATS, and track what they do: shared memory, messages, claims, barriers, runs.

    import tracecraft

    session = tracecraft.init(project="my-research", agent="writer")
    session.memory.set("findings", {"papers": 47})
    with session.claim("S1.draft") as claim:
        claim.hand_off("the draft is in drafts/1.md", next_action="review it")
    with tracecraft.run("prompt-comparison", params={"temperature": 0.2}) as run:
        run.log_metric("quality", 0.92)

`Session` is for ordinary code, `AsyncSession` for asyncio; both have the same verbs. A name is imported when it is
first used, so that a one-shot command pays only for what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "Agent",
    "AsyncClaim",
    "AsyncRun",
    "AsyncRunAgent",
    "AsyncSession",
    "BridgeAway",
    "BusUnreachable",
    "Claim",
    "ClaimLost",
    "Entry",
    "FileReserved",
    "Flushed",
    "InboxMessage",
    "NotFound",
    "NothingLeft",
    "OutcomeUnknown",
    "OwnerLost",
    "Refused",
    "Reservation",
    "RevisionConflict",
    "Run",
    "RunAgent",
    "Sent",
    "SentMessage",
    "Session",
    "Step",
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
    "current_run",
    "current_step",
    "init",
    "redact",
    "run",
    "traced",
]

if TYPE_CHECKING:
    from tracecraft.async_session import AsyncSession
    from tracecraft.claim import AsyncClaim
    from tracecraft.claims import Task
    from tracecraft.mail import InboxMessage, Sent, SentMessage
    from tracecraft.memory import Entry
    from tracecraft.presence import Agent
    from tracecraft.recording.agent import AsyncRunAgent, RunAgent
    from tracecraft.recording.flushed import Flushed
    from tracecraft.recording.run import AsyncRun, Run, current_run
    from tracecraft.recording.step import Step, current_step
    from tracecraft.recording.traced import traced
    from tracecraft.redaction import redact
    from tracecraft.reservations import Reservation
    from tracecraft.session import Claim, Session, connect, init, run
    from tracecraft.waiting import WaitResult
    from tracecraft_core.errors import (
        BridgeAway,
        BusUnreachable,
        ClaimLost,
        FileReserved,
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
    "AsyncRun": "tracecraft.recording.run",
    "AsyncRunAgent": "tracecraft.recording.agent",
    "AsyncSession": "tracecraft.async_session",
    "Claim": "tracecraft.session",
    "Entry": "tracecraft.memory",
    "Flushed": "tracecraft.recording.flushed",
    "InboxMessage": "tracecraft.mail",
    "Reservation": "tracecraft.reservations",
    "Run": "tracecraft.recording.run",
    "RunAgent": "tracecraft.recording.agent",
    "Sent": "tracecraft.mail",
    "SentMessage": "tracecraft.mail",
    "Session": "tracecraft.session",
    "Step": "tracecraft.recording.step",
    "Task": "tracecraft.claims",
    "WaitResult": "tracecraft.waiting",
    "connect": "tracecraft.session",
    "current_run": "tracecraft.recording.run",
    "current_step": "tracecraft.recording.step",
    "init": "tracecraft.session",
    "redact": "tracecraft.redaction",
    "run": "tracecraft.session",
    "traced": "tracecraft.recording.traced",
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
