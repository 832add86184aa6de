"""An entry of the log as one line that a person reads: sequence, time, who, what."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.ages import wall
from tracecraft_cli.columns import columns
from tracecraft_cli.output import compact
from tracecraft_core.quotation import neutral, oneline
from tracecraft_core.reservations import glob_of
from tracecraft_core.task_ids import spoken_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.timeline import LogEntry


def as_json(entry: LogEntry) -> dict[str, Any]:
    """All that is known of an entry."""
    return dataclasses.asdict(entry)


def line(entry: LogEntry, now: str) -> str:
    """``412  12:03:04  writer  task S1.a done: the draft is in drafts/1.md``."""
    start = f"{entry.seq}  {wall(entry.time, now)}  {neutral(entry.who or '-')}  "
    return start + oneline(what(entry), max(40, columns() - len(start)))


def what(entry: LogEntry) -> str:
    """What happened, in words; the body where we have none."""
    body = entry.body if isinstance(entry.body, dict) else {}
    tell = _TELL.get(entry.family)
    return tell(entry, body) if tell else f"{entry.subject} {compact(entry.body)}"


def _message(entry: LogEntry, body: dict[str, Any]) -> str:
    to = "all" if entry.family == "all" else entry.name.partition(".")[0]
    kind = body.get("kind", "note")
    words = f"{kind} " if kind != "note" else ""
    return f"{words}to {to}: {compact(body.get('text', entry.body))}"


def _receipt(entry: LogEntry, body: dict[str, Any]) -> str:
    return f"{body.get('state', 'receipt')} #{body.get('id')} of {entry.name.partition('.')[0]}"


def _agent(entry: LogEntry, body: dict[str, Any]) -> str:
    event = entry.name.partition(".")[2]
    if body.get("task"):
        return f"{event} {spoken_kind(str(body['task']))}" + (f": {body['reason']}" if body.get("reason") else "")
    where = f" on {body['host']}" if body.get("host") else ""
    return f"{event}{where}"


def _run(entry: LogEntry, _: dict[str, Any]) -> str:
    from tracecraft_cli.replay import wording
    from tracecraft_core.queries import Entry

    run, _agent, event = [*entry.name.split(".", 2), "", ""][:3]
    said, error = wording.tell(
        "run", event, Entry(seq=entry.seq, time=entry.time, subject=entry.subject, body=entry.body)
    )
    return f"run {run} {'ERROR ' if error else ''}{said}"


def _memory(entry: LogEntry, _: dict[str, Any]) -> str:
    by = f" (under {entry.fence})" if entry.fence else ""
    return f"memory {entry.name} " + ("deleted" if entry.deleted else f"= {compact(entry.body)}") + by


def _task(entry: LogEntry, body: dict[str, Any]) -> str:
    glob = glob_of(entry.name)
    if glob is not None and (entry.deleted or body.get("state") == "claimed"):
        return f"reservation of {glob} ended" if entry.deleted else f"reserved {glob}{_taken_over(body)}"
    if entry.deleted or not body:
        return f"task {entry.name} " + ("deleted" if entry.deleted else compact(entry.body))
    words = [f"task {entry.name} {body.get('state', 'open')}{_taken_over(body)}"]
    handoff = body.get("handoff")
    if isinstance(handoff, dict) and handoff.get("note") and body.get("state") != "claimed":
        words.append(f"- {handoff['note']}")
    return " ".join(words)


def _taken_over(body: dict[str, Any]) -> str:
    took = body.get("took_over_from")
    if body.get("state") != "claimed" or not isinstance(took, dict):
        return ""
    return f" (taken over from {took.get('owner')})"


_TELL: Final[dict[str, Callable[[LogEntry, dict[str, Any]], str]]] = {
    "msg": _message,
    "all": _message,
    "receipt": _receipt,
    "agent": _agent,
    "run": _run,
    "memory": _memory,
    "task": _task,
}
