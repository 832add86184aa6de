"""The story out of PostgreSQL, in log order, and the checks that it is a good one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

_STORY = """
    SELECT seq, time, family, subject, key, operation, body
      FROM log WHERE project = %s ORDER BY epoch, seq
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the log."""

    seq: int
    time: Any
    family: str
    subject: str
    key: str | None
    operation: str | None
    body: Any


def read(dsn: str, project: str) -> list[Line]:
    """Everything that happened in a project."""
    with psycopg.connect(dsn) as connection:
        return [Line(*row) for row in connection.execute(_STORY, [project])]


def tell(story: list[Line]) -> list[str]:
    """The story in words, one line an event; presence and receipts are left out, tasks that open are told together."""
    told = []
    start = story[0].time if story else None
    opened: list[str] = []
    for line, after in zip(story, [*story[1:], None], strict=True):
        if _opens(line):
            opened.append(str(line.key))
            if after is not None and _opens(after):
                continue
        words = _opening(opened) if opened else _words(line)
        opened = []
        if words:
            told.append(f"{line.seq:>5}  +{(line.time - start).total_seconds():6.2f} s  {words}")
    return told


def _opens(line: Line) -> bool:
    return line.family == "task" and isinstance(line.body, dict) and line.body.get("state", "open") == "open"


def _opening(tasks: list[str]) -> str:
    if len(tasks) == 1:
        return f"{tasks[0]} is open"
    return f"{len(tasks)} tasks are open: {tasks[0]}, {tasks[1]}{', …' if len(tasks) > 2 else ''}"


def _words(line: Line) -> str | None:
    body = line.body if isinstance(line.body, dict) else {}
    who = line.subject.rpartition(".")[2]
    match line.family:
        case "task":
            return _task_words(str(line.key), body)
        case "memory":
            return f"memory {line.key} is written"
        case "msg":
            return f"{who} to {line.subject.split('.')[3]}: {body.get('text')}"
        case "all":
            return f"{who} to all: {body.get('text')}"
        case "agent" if who == "lost":
            return f"{line.subject.split('.')[3]} is lost" + (f", and {body['task']} with it" if "task" in body else "")
        case "agent":
            return f"{line.subject.split('.')[3]} {who}"
    return None


def _task_words(task: str, body: dict[str, Any]) -> str | None:
    owner, state = body.get("owner"), body.get("state", "open")
    if state == "claimed":
        taken = body.get("took_over_from")
        return f"{owner} claims {task}" + (f", taking it over from {taken['owner']}" if taken else "")
    note = (body.get("handoff") or {}).get("note")
    return f"{owner} settles {task}: {state}" + (f" ({note})" if note else "")


def check(story: list[Line], packages: list[str], victim: str, report: str) -> list[tuple[bool, str]]:
    """What must be true of the story: each fact with whether it is."""
    changes = [line for line in story if line.family == "task"]
    done = [str(line.key) for line in changes if line.body.get("state") == "done"]
    wanted = [f"survey.{package}" for package in packages] + ["report"]
    claims = [line for line in changes if line.body.get("state") == "claimed"]
    taken = [line for line in claims if (line.body.get("took_over_from") or {}).get("owner") == victim]
    lost = [line for line in story if line.subject.endswith(f".agent.{victim}.lost") and "task" in line.body]
    rows = [line for line in report.splitlines() if line.startswith("| ")]
    return [
        (sorted(done) == sorted(wanted), f"each of the {len(wanted)} tasks is done exactly once"),
        (len(rows) == len(packages) + 1, f"the report has all {len(packages)} packages"),
        (len(taken) == 1, f"one task was taken over from {victim}: {', '.join(str(line.key) for line in taken)}"),
        (len(lost) == 1, f"the bridge saw {victim} lose it"),
        (done[-1:] == ["report"], "the report was the last to be done"),
    ]
