"""Hops of messages: the step that read one points to the step that sent it.

Who sent is told by the ``traceparent`` or the ``Tc-Run`` of the message, who read by the ``Tc-Run`` of the reader's
first receipt. A message that was sent, or read, outside of every run has no span at that end, and so no link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.otlp_export.span import Link
from tracecraft_core import semconv, subjects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracecraft_core.queries import Entry

MOST: Final = 100_000
"""Messages and receipts of a run that are looked at."""
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run something was done."""

    run: str
    step: str | None
    agent: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, as much of it as a link tells."""

    id: int
    sender: str
    to: str
    kind: str
    place: Place | None
    """``None``: outside of every run."""
    trace: tuple[str, str] | None
    """Trace and span of its ``traceparent``."""

    def link(self, trace: str, span: str) -> Link:
        """A link to where it was sent."""
        facts: dict[str, Any] = {"id": self.id, "from": self.sender, "to": self.to, "kind": self.kind}
        told = {f"{semconv.MESSAGE_PREFIX}{name}": value for name, value in facts.items()}
        return Link(trace=trace, span=span, attributes={semconv.LINK: "message", **told})


@dataclass(slots=True)
class Hops:
    """The messages that were sent and read in one run."""

    run: str
    sent: dict[int, Sent] = field(default_factory=dict)
    read: dict[tuple[int, str], Place] = field(default_factory=dict)
    """By message and reader: the place of the first receipt."""

    def take(self, entries: Iterable[Entry]) -> None:
        """Look at entries of the run, in the order of the log."""
        for entry in entries:
            tokens = entry.subject.split(".")
            if len(tokens) == 5 and tokens[2] == "receipt" and isinstance(entry.body, dict):
                place = _place(entry, tokens[4])
                message = entry.body.get("id")
                if place is not None and place.run == self.run and isinstance(message, int):
                    self.read.setdefault((message, tokens[4]), place)
            elif (sent := message_of(entry)) is not None:
                self.sent[sent.id] = sent

    def unknown(self) -> list[int]:
        """Messages that were read here and sent elsewhere, by their sequence."""
        return sorted({message for message, _ in self.read} - self.sent.keys())


def message_of(entry: Entry) -> Sent | None:
    """The message that an entry is, if it is one."""
    tokens = entry.subject.split(".")
    if len(tokens) < 4 or tokens[0] != subjects.ROOT or tokens[2] not in ("msg", "all"):
        return None
    body = entry.body if isinstance(entry.body, dict) else {}
    to = tokens[3] if tokens[2] == "msg" else "all"
    found = _TRACEPARENT.fullmatch(_header(entry, subjects.TRACEPARENT))
    trace = (found[1], found[2]) if found else None
    return Sent(entry.seq, tokens[-1], to, str(body.get("kind", "note")), _place(entry, tokens[-1]), trace)


def _place(entry: Entry, agent: str) -> Place | None:
    run, _, step = _header(entry, subjects.RUN).partition("/")
    return Place(run, step or None, agent) if run else None


def _header(entry: Entry, name: str) -> str:
    value = entry.headers.get(name, "")
    return str(value[0] if isinstance(value, list) and value else value)
