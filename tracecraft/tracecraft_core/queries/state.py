"""Everything as it was at a point of the log."""

from __future__ import annotations

from typing import Any

import msgspec

from tracecraft_core.queries.question import Answer, Question


class StateQuestion(Question, frozen=True, kw_only=True):
    """``state.at`` → `State`; exactly one of ``seq``, ``time``, ``step``; a step needs its run."""

    seq: int | None = None
    time: str | None = None
    step: str | None = None
    """As it was when this step began."""
    run: str | None = None
    """Only steps of this run and those inside of it count; its life of the log is meant. An id or the end of one."""
    epoch: int | None = None
    cursor: str | None = None


class MemoryValue(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the shared memory as it was."""

    value: Any
    revision: int
    seq: int
    agent: str | None = None


class TaskAt(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it was: its record, and the fence, the record's revision."""

    record: dict[str, Any]
    fence: int
    seq: int


class MailAt(msgspec.Struct, frozen=True, kw_only=True):
    """A message that had not been acknowledged."""

    id: int
    sender: str
    text: str
    kind: str
    state: str
    """``stored`` or ``fetched``."""
    everybody: bool = False


class LastStep(msgspec.Struct, frozen=True, kw_only=True):
    """The newest step of an agent, which may have ended."""

    run: str
    step: str
    name: str
    kind: str
    status: str
    """As it was then: ``open``, ``ok``, ``error``."""
    seq: int


class State(Answer, frozen=True, kw_only=True):
    """Everything as it was when the log ended with ``seq``."""

    seq: int
    time: str | None
    memory: dict[str, MemoryValue]
    tasks: dict[str, TaskAt]
    mailboxes: dict[str, list[MailAt]]
    """By agent that had a mailbox (it had joined, or somebody had written to it), oldest first."""
    steps: dict[str, LastStep]
    """By agent."""
    next: str | None = None
    """There is more of this state: ask again with it as ``cursor`` (`cut.together` puts the pages together)."""
