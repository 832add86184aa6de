"""An entry of the log with the parts of its subject and the body of a run's event, read once. Pure."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tracecraft_core import run_events
from tracecraft_core.subjects import ROOT

if TYPE_CHECKING:
    from tracecraft_core.bodies import Body
    from tracecraft_core.queries import Entry

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Fact:
    """An entry with the parts of its subject, and the body of a run's event, when it is one."""

    entry: Entry
    family: str
    tokens: list[str]
    """Of the subject behind the family."""
    event: str = ""
    """Of families ``run`` and ``agent``."""
    body: Body | None = None
    """Of a run's event that could be read."""

    @property
    def run(self) -> str:
        """Of family ``run``."""
        return self.tokens[0]

    @property
    def agent(self) -> str | None:
        """Who wrote it, where the subject says so."""
        match self.family:
            case "run":
                return self.tokens[1]
            case "agent":
                return self.tokens[0]
            case "msg" | "all" | "receipt":
                return self.tokens[-1]
        return None


def fact(entry: Entry) -> Fact:
    """Read an entry; never fails."""
    tokens = entry.subject.split(".")
    family, rest = (tokens[2], tokens[3:]) if len(tokens) > 3 and tokens[0] == ROOT else ("other", [])
    if family == "run" and len(rest) >= 3:
        event = ".".join(rest[2:])
        return Fact(entry, family, rest, event, _body(event, entry.body))
    if family == "agent" and len(rest) >= 2:
        return Fact(entry, family, rest, ".".join(rest[1:]))
    if family not in ("msg", "all", "receipt", "memory", "task"):
        family = "other"
    return Fact(entry, family, rest)


def _body(event: str, body: Any) -> Body | None:
    kind = run_events.EVENTS.get(event)
    if kind is None or body is None:
        return None
    try:
        if isinstance(body, msgspec.Raw):
            return msgspec.json.decode(body, type=kind)
        return msgspec.convert(body, kind)
    except (msgspec.MsgspecError, RecursionError):
        return None


def microseconds(time: str) -> int:
    """RFC 3339 as microseconds since 1970."""
    return (datetime.datetime.fromisoformat(time) - _EPOCH) // _MICROSECOND
