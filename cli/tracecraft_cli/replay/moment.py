"""A moment: one entry of the log as a replay shows it; who, when, what in one line, and what it belongs to."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.replay.wording import SHOWN, line
from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.queries import Entry

KINDS: Final = (
    "run",
    "agent",
    "step",
    "data",
    "usage",
    "metric",
    "param",
    "tag",
    "artifact",
    "log",
    "message",
    "receipt",
    "memory",
    "task",
    "other",
)
"""What ``--kind`` takes; ``data`` is the input or output of a step."""

ALL: Final = "*"
"""Receiver of a broadcast."""

_EARLIEST: Final = 946_684_800_000_000
"""2000-01-01: a writer's clock that says less is not believed."""
_AHEAD: Final = 300_000_000
"""Microseconds that a writer's clock may be ahead of the server's."""
_RUN_KINDS: Final = {
    **dict.fromkeys(("started", "joined", "left", "ended", "crashed", "deleted"), "run"),
    "agent": "agent",
    "usage": "usage",
    "metric": "metric",
    "param": "param",
    "tag": "tag",
    "artifact": "artifact",
    "log": "log",
}
_FAMILY_KINDS: Final = {
    "msg": "message",
    "all": "message",
    "receipt": "receipt",
    "agent": "agent",
    "memory": "memory",
    "task": "task",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened."""

    seq: int
    """Its place in the log."""
    time: int
    """Microseconds since 1970: of the writer's clock where that can be believed, else of the server's."""
    stored: int
    """Microseconds since 1970 of the server's clock: when it came into the log. These go up with the sequences."""
    agent: str
    """Who did it; empty where nobody says."""
    kind: str
    """One of `KINDS`."""
    event: str
    """What it is, more closely: ``step.started`` of a run, ``acked`` of a receipt, ``claimed`` of a task, ``lost`` of
    an agent, ``set`` or ``deleted`` of the memory."""
    text: str
    """What happened, in one line of at most `wording.SHOWN` characters, as others wrote it."""
    error: bool = False
    cut: bool = False
    """Whether the text is not all of it: the entry of the log has the whole."""
    run: str | None = None
    step: str | None = None
    """Id of the step that it begins, ends, or belongs to."""
    name: str = ""
    """Key, task or file that it changes; name of the step or run that begins or ends."""
    to: str | None = None
    """Who a message is for (`ALL`: everybody); of a receipt, who had sent the message."""
    message: int | None = None
    """Of a receipt: sequence of the message."""


def moment(entry: Entry) -> Moment:
    """What an entry says; one that cannot be understood is a moment too, of the kind ``other``."""
    tokens = entry.subject.split(".")
    family = tokens[2] if len(tokens) > 2 else ""
    body: Mapping[str, Any] = entry.body if isinstance(entry.body, dict) else {}
    server = microseconds(entry.time)
    if family == "run" and len(tokens) > 5:
        return _of_run(entry, tokens, body, server)
    rest = ".".join(tokens[3:])
    text, error, cut = line(family, rest, entry)
    run, _, step = str(entry.headers.get(subjects.RUN, "")).partition("/")
    kind = _FAMILY_KINDS.get(family, "other")
    message = body.get("id") if kind == "receipt" else None
    return Moment(
        seq=entry.seq,
        time=server,
        stored=server,
        agent=_who(family, tokens, entry, body),
        kind=kind,
        event=_event(family, tokens, entry, body),
        text=text,
        error=error,
        cut=cut,
        run=run or None,
        step=step or None,
        name=rest if kind in ("memory", "task") else "",
        to=_to(family, tokens),
        message=message if isinstance(message, int) else None,
    )


def _of_run(entry: Entry, tokens: list[str], body: Mapping[str, Any], server: int) -> Moment:
    event = ".".join(tokens[5:])
    first, _, second = event.partition(".")
    kind = _RUN_KINDS.get(first, "other")
    if first == "step":
        kind = "data" if second in ("input", "output") else "step"
    text, error, cut = line("run", event, entry)
    step, name = body.get("step"), body.get("name")
    return Moment(
        seq=entry.seq,
        time=believed(_points_time(body) if event == "metric" else body.get("time"), server),
        stored=server,
        agent=tokens[4],
        kind=kind,
        event=event,
        text=text,
        error=error,
        cut=cut,
        run=tokens[3],
        step=step if isinstance(step, str) else None,
        name=name[:SHOWN] if isinstance(name, str) else "",
    )


def _points_time(body: Mapping[str, Any]) -> int | None:
    """When the last of the points was logged."""
    points = body.get("points")
    if not isinstance(points, list):
        return None
    times = [point[3] for point in points if isinstance(point, list) and len(point) == 4]
    return max((time for time in times if isinstance(time, int)), default=None)


def _who(family: str, tokens: list[str], entry: Entry, body: Mapping[str, Any]) -> str:
    """The writer: the subject says it, or a header, or the task's record."""
    if family in ("msg", "all", "receipt"):
        return tokens[-1]
    if family == "agent" and len(tokens) > 3:
        return tokens[3]
    said: Any = entry.headers.get(subjects.WRITER)
    if family == "task" and not isinstance(said, str):
        forced = body.get("forced")
        said = forced.get("by") if isinstance(forced, dict) else body.get("owner") or body.get("created_by")
    return said if isinstance(said, str) else ""


def _event(family: str, tokens: list[str], entry: Entry, body: Mapping[str, Any]) -> str:
    if family == "agent":
        return tokens[-1]
    deleted = subjects.KV_OPERATION in entry.headers or subjects.MARKER_REASON in entry.headers
    if family == "memory":
        return "deleted" if deleted else "set"
    if family == "task":
        return "deleted" if deleted else str(body.get("state", "open"))
    return str(body.get("state", "")) if family == "receipt" else family


def _to(family: str, tokens: list[str]) -> str | None:
    if family == "all":
        return ALL
    return tokens[3] if family in ("msg", "receipt") and len(tokens) > 4 else None


def believed(time: object, server: int) -> int:
    """The writer's time, or the server's where that of the writer cannot be."""
    return time if isinstance(time, int) and _EARLIEST <= time <= server + _AHEAD else server


def microseconds(time: str) -> int:
    """Microseconds since 1970 of a time as RFC 3339; 0 of what is none."""
    try:
        parsed = datetime.datetime.fromisoformat(time)
    except ValueError:
        return 0
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.UTC)
    return (parsed - _EPOCH) // _MICROSECOND


def clock(time: int) -> str:
    """``19:34:15.123456`` in UTC."""
    return f"{datetime.datetime.fromtimestamp(time // 1_000_000, datetime.UTC):%H:%M:%S}.{time % 1_000_000:06d}"


def rfc3339(time: int) -> str:
    """``2026-11-22T19:34:15.123456Z``."""
    return f"{_EPOCH + datetime.timedelta(microseconds=time):%Y-%m-%dT%H:%M:%S.%f}Z"


_EPOCH: Final = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
