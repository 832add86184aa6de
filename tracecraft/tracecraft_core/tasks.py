"""The task state machine and the dependency graph, as pure code: values in, values out, no clock and no socket.

    open ──claim──> claimed ──settle──> done | failed | blocked | needs_review
      ^                │ │                      │
      └────release─────┘ └─claim (lease lapsed) └──claim by name (a retry; never from done)

Who may do what is decided here; that only one of two may do it is decided by the compare-and-set that writes the
record this module returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core.bodies import Forced, Handoff, Owner, Settlement, TaskRecord
from tracecraft_core.errors import ClaimLost, TaskNotReady, TaskSettled, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SETTLED: Final = frozenset({"done", "failed", "blocked", "needs_review"})
"""States in which nobody works on the task."""

HOPELESS: Final = frozenset({"failed", "blocked"})
"""States in which waiting for the task to be done is in vain until somebody acts."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who claims: an agent in one of its sessions."""

    agent: str
    session: str

    def holds(self, record: TaskRecord) -> bool:
        """Whether the record says that this holder has the task."""
        return record.state == "claimed" and (record.owner, record.session) == (self.agent, self.session)


def check_claimable(task: str, record: TaskRecord | None, states: Mapping[str, str]) -> None:
    """Raise `TaskSettled` for a task that is done, `TaskNotReady` when a dependency is not.

    ``states`` has the state of every dependency that exists.
    """
    if record is None:
        return
    if record.state == "done":
        raise TaskSettled(task, record.state, record.owner)
    missing = unmet(record, states)
    if missing:
        raise TaskNotReady(task, missing)


def unmet(record: TaskRecord, states: Mapping[str, str]) -> tuple[str, ...]:
    """The dependencies that are not done (or do not exist)."""
    return tuple(task for task in record.after if states.get(task) != "done")


def claimed(record: TaskRecord | None, holder: Holder, nonce: str, fence_before: int) -> TaskRecord:
    """The record of a new claim. ``fence_before`` is the revision that it replaces, for the trail of a takeover."""
    before = record or TaskRecord(created_by=holder.agent)
    lapsed = None
    if before.state == "claimed" and before.owner and before.session:
        lapsed = Owner(owner=before.owner, session=before.session, fence=fence_before)
    return msgspec.structs.replace(
        before,
        state="claimed",
        owner=holder.agent,
        session=holder.session,
        nonce=nonce,
        attempt=before.attempt + 1,
        took_over_from=lapsed,
        forced=None,
    )


def settled(
    task: str, record: TaskRecord, holder: Holder, state: Settlement, handoff: Handoff, *, force: str | None = None
) -> TaskRecord:
    """The record after completion. Raises `ClaimLost` unless the holder has the task or a reason to force is given."""
    forced = None
    if not holder.holds(record):
        if force is None:
            raise ClaimLost(task, record.owner if record.state != "open" else None, record.state)
        forced = Forced(by=holder.agent, reason=force)
    return msgspec.structs.replace(
        record, state=state, owner=holder.agent, session=holder.session, nonce=None, handoff=handoff, forced=forced
    )


def released(task: str, record: TaskRecord, holder: Holder, handoff: Handoff | None = None) -> TaskRecord:
    """The record after the holder gave the task back. Raises `ClaimLost`."""
    if not holder.holds(record):
        raise ClaimLost(task, record.owner if record.state != "open" else None, record.state)
    return msgspec.structs.replace(
        record, state="open", owner=None, session=None, nonce=None, handoff=handoff or record.handoff
    )


def redefined(task: str, record: TaskRecord, title: str | None, after: Sequence[str], data: Any) -> TaskRecord:
    """The record with another definition; only a task that nobody has claimed yet can change."""
    if record.state != "open":
        raise UsageError(f"{task} is {record.state}: its definition can change only while it is open")
    return msgspec.structs.replace(record, title=title, after=list(after), data=data)


def same_definition(record: TaskRecord, title: str | None, after: Iterable[str], data: Any) -> bool:
    """Whether a record is what a plan asks for already."""
    return record.title == title and record.after == list(after) and record.data == data


def find_cycle(after: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle in a dependency graph as ``[a, b, …, a]``, or ``None``. Iterative: plans may be deep."""
    done: set[str] = set()
    for root in after:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            task, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
                del on_path[task]
                continue
            if task in on_path:
                return [*path[on_path[task] :], task]
            if task in done:
                continue
            on_path[task] = len(path)
            path.append(task)
            stack.append((task, True))
            stack.extend((before, False) for before in after.get(task, ()))
    return None
