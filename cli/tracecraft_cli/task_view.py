"""How tasks are shown: in lines for people and models, and as JSON. Words of other agents are quoted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.output import compact
from tracecraft_core.quotation import oneline, quoted
from tracecraft_core.reservations import is_reservation

if TYPE_CHECKING:
    from tracecraft.claims import Held, Task
    from tracecraft.leases import LeaseState
    from tracecraft_core.bodies import Body, Handoff, Verification


DATA_CHARACTERS: Final = 2_000
"""How much of a task's data a claim shows to people."""


def duration(seconds: float) -> str:
    """``45s``, ``15m`` or ``2h``, as `DURATION` reads it; rounded up to the second."""
    whole = int(-(-seconds // 1))
    for size, unit in ((3600, "h"), (60, "m")):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def about(seconds: float) -> str:
    """``45s``, ``15m`` or ``3h``: what is left, for people."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def moment(time: str) -> str:
    """A time of the server's, RFC 3339, to the second: its nanoseconds help nobody who reads."""
    return f"{time[:19]}Z" if time else "-"


def builtins(body: Body | None) -> Any:
    """A body as JSON, without what is not set."""
    import msgspec

    return None if body is None else msgspec.to_builtins(body)


def claim_json(held: Held) -> dict[str, Any]:
    """A claim that was made."""
    record = held.record
    return {
        "task": held.task,
        "fence": held.fence,
        "lease": held.ttl,
        "again": held.again,
        "attempt": record.attempt,
        "title": record.title,
        "data": record.data,
        "handoff": builtins(record.handoff),
        "took_over_from": builtins(record.took_over_from),
    }


def called(held: Held) -> str:
    """What to call a claim to people: the id of its task, or the glob that is reserved."""
    return held.record.title or held.task if is_reservation(held.task) else held.task


def reservation_text(held: Held) -> str:
    """A reservation of files that was made, for people and models."""
    again = " (held already)" if held.again else ""
    return f"{called(held)} fence {held.fence} lease {duration(held.ttl)}{again}"


def claim_text(held: Held) -> str:
    """A claim that was made: id and fencing token first, then what the worker should know."""
    record = held.record
    lines = [f"{held.task} fence {held.fence} lease {duration(held.ttl)}{' (held already)' if held.again else ''}"]
    if record.title:
        lines.append(f"title: {oneline(record.title, 200)}")
    if record.data is not None:
        lines.append(f"data: {_cut(compact(record.data), held.task)}")
    if record.took_over_from is not None and not held.again:
        lines.append(f"taken over from {record.took_over_from.owner}, whose lease had lapsed")
    return "\n".join(lines + handoff_lines(record.handoff, "last note"))


def _cut(text: str, task: str) -> str:
    if len(text) <= DATA_CHARACTERS:
        return text
    hint = f"all {len(text):,} characters: tracecraft task show {task} --json"
    return f"{text[:DATA_CHARACTERS]}… ({hint})"


def handoff_lines(handoff: Handoff | None, title: str = "note") -> list[str]:
    """What was left for the next agent."""
    if handoff is None:
        return []
    lines = [f"{title}:", quoted(handoff.note)] if handoff.note else []
    if handoff.next_action:
        lines += ["next action:", quoted(handoff.next_action)]
    if handoff.result is not None:
        lines.append(f"result: {compact(handoff.result)}")
    if handoff.to:
        lines.append(f"for: {handoff.to}")
    if handoff.changed_files:
        lines.append(f"changed files: {', '.join(handoff.changed_files)}")
    if handoff.verification is not None:
        lines.append(verification_line(handoff.verification))
    return lines


def verification_line(proof: Verification) -> str:
    """What was run, how it ended, and on which commit."""
    dirty = " with uncommitted changes" if proof.git_dirty else ""
    commit = f", commit {proof.git_head[:12]}{dirty}" if proof.git_head else ""
    return f"verified: '{oneline(proof.command, 200)}' exited with {proof.exit_code}{commit}"


def task_json(task: Task, lease: LeaseState | None = None) -> dict[str, Any]:
    """A task whole; with its lease when that was asked for."""
    shown = {"task": task.id, "revision": task.revision, "time": task.time, "state": task.record.state}
    shown |= builtins(task.record)
    shown.pop("nonce", None)
    if lease is not None:
        shown["lease"] = None if lease.lease is None else {"owner": lease.lease.owner, "expires_in": lease.expires_in}
    return shown


def settled_text(task: Task) -> str:
    """A settled task in a wait's result: who, and what they left."""
    record = task.record
    head = f"{task.id} {record.state} by {record.owner or 'nobody named'}"
    return "\n".join([head, *handoff_lines(record.handoff)])
