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

from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Forced, Handoff, Owner, Settlement, TaskRecord
from tracecraft_core.errors import BodyTooLarge, ClaimLost, TaskNotReady, TaskSettled, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SETTLED: Final = frozenset({"done", "failed", "blocked", "needs_review"})
"""States in which nobody works on the task."""

HOPELESS: Final = frozenset({"failed", "blocked"})
"""States in which waiting for the task to be done is in vain until somebody acts."""

MAX_DEFINITION_BYTES: Final = subjects.MAX_BODY_BYTES - 32 * 1024
"""Bytes of a definition (title, dependencies, data): the rest of the record is for its claims and a handoff."""

_CLAIM_BYTES: Final = 1024
"""Bytes that the fields of a claim take at most: a handoff leaves them to whoever claims the task again."""


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
        raise TaskNotReady(task, missing, awaited(missing, states))


def unmet(record: TaskRecord, states: Mapping[str, str]) -> tuple[str, ...]:
    """The dependencies that are not done (or do not exist)."""
    return tuple(task for task in record.after if states.get(task) != "done")


def awaited(missing: Sequence[str], states: Mapping[str, str]) -> str:
    """What became of dependencies that are not done, in words; empty when they are merely not done yet."""
    words = {None: "is unknown", "failed": "failed", "blocked": "is blocked", "needs_review": "needs review"}
    found = [words.get(states.get(task), "is not done yet") for task in missing]
    if all(word == "is not done yet" for word in found):
        return ""
    return "others: " + ", ".join(f"{task} {word}" for task, word in zip(missing, found, strict=True))


def check_definition(task: str, title: str | None, after: Sequence[str], data: Any) -> None:
    """Raise `BodyTooLarge` for a definition that would leave no room to claim the task and hand it over."""
    size = len(bodies.encode(TaskRecord(title=title, after=list(after), data=data)))
    if size > MAX_DEFINITION_BYTES:
        raise BodyTooLarge(f"the definition of {task} (its data)", size, MAX_DEFINITION_BYTES)


def check_claim_fits(task: str, mine: TaskRecord) -> None:
    """Raise `BodyTooLarge` for a claim that cannot be written, before anything of it is."""
    size = len(bodies.encode(mine))
    if size > subjects.MAX_BODY_BYTES:
        raise BodyTooLarge(f"{task} cannot be claimed: its record with the claim", size, subjects.MAX_BODY_BYTES)


def _with_handoff(task: str, record: TaskRecord) -> TaskRecord:
    """The record, if its handoff fits into it and leaves room for another claim; else raise `BodyTooLarge`."""
    handoff = record.handoff
    limit = subjects.MAX_BODY_BYTES - (0 if record.state == "done" else _CLAIM_BYTES)
    total = len(bodies.encode(record))
    if handoff is not None and total > limit:
        sizes = {name: len(msgspec.json.encode(getattr(handoff, name))) for name in handoff.__struct_fields__}
        size = len(bodies.encode(handoff))
        largest = max(sizes, key=sizes.__getitem__)
        raise BodyTooLarge(f"the handoff of {task} (mostly its {largest})", size, max(0, limit - (total - size)))
    return record


def check_handoff(task: str, record: TaskRecord, handoff: Handoff) -> None:
    """Raise `BodyTooLarge` for a handoff that could not be written with the task done."""
    _with_handoff(task, msgspec.structs.replace(record, state="done", handoff=handoff))


def claimed(
    record: TaskRecord | None, holder: Holder, nonce: str, fence_before: int, ttl: int | None = None
) -> TaskRecord:
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
        ttl=ttl,
        attempt=before.attempt + 1,
        took_over_from=lapsed,
        forced=None,
    )


def settled(
    task: str, record: TaskRecord, holder: Holder, state: Settlement, handoff: Handoff, *, force: str | None = None
) -> TaskRecord:
    """The record after completion. Raises `ClaimLost` unless the holder has the task or a reason to force is given.

    Raises `BodyTooLarge` for a handoff that does not fit beside the definition; so does `released`.
    """
    forced = None
    if not holder.holds(record):
        if force is None:
            raise ClaimLost(task, record.owner if record.state != "open" else None, record.state)
        forced = Forced(by=holder.agent, reason=force)
    after = msgspec.structs.replace(
        record,
        state=state,
        owner=holder.agent,
        session=holder.session,
        nonce=None,
        ttl=None,
        handoff=handoff,
        forced=forced,
    )
    return _with_handoff(task, after)


def released(task: str, record: TaskRecord, holder: Holder, handoff: Handoff | None = None) -> TaskRecord:
    """The record after the holder gave the task back. Raises `ClaimLost`."""
    if not holder.holds(record):
        raise ClaimLost(task, record.owner if record.state != "open" else None, record.state)
    after = msgspec.structs.replace(
        record, state="open", owner=None, session=None, nonce=None, ttl=None, handoff=handoff or record.handoff
    )
    return _with_handoff(task, after) if handoff is not None else after


def redefined(task: str, record: TaskRecord, title: str | None, after: Sequence[str], data: Any) -> TaskRecord:
    """The record with another definition; only a task that nobody has claimed yet can change."""
    if record.state != "open":
        raise UsageError(f"{task} is {record.state}: its definition can change only while it is open")
    return msgspec.structs.replace(record, title=title, after=list(after), data=data)


def defined(record: TaskRecord | None, definition: TaskRecord) -> TaskRecord:
    """The record, or a new one, with the title and data of another."""
    before = record or TaskRecord(created_by=definition.created_by)
    return msgspec.structs.replace(before, title=definition.title, data=definition.data, after=[], handoff=None)


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
