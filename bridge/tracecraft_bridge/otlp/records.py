"""Log records: lines of a run, messages of a model call that are told as events, and what coding agents tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from tracecraft_bridge.otlp import coding_agents, content, meaning
from tracecraft_bridge.otlp.redacting import clean, shown
from tracecraft_bridge.otlp.spans import started_of
from tracecraft_bridge.otlp.telemetry import text
from tracecraft_core import semconv
from tracecraft_core.run_events import LogLine, WriterLeft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.otlp.telemetry import Record
    from tracecraft_bridge.otlp.writing import Writing

Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final[tuple[tuple[int, Level], ...]] = ((17, "error"), (13, "warning"), (9, "info"), (1, "debug"))
"""Lowest severity number of each level (https://opentelemetry.io/docs/specs/otel/logs/data-model/)."""
LONGEST_LINE: Final = 8_000
_PRIVATE: Final = (
    *("user.", "organization.", "event.", "terminal.", "anthropic.", "tracecraft."),
    *("session.id", "conversation.id", "prompt.id"),
)
"""Attributes that a line does not repeat: who the user is, and what is said elsewhere."""


def name_of(record: Record) -> str:
    """The name of an event; empty for a line of a log."""
    said = text(record.attributes, semconv.EVENT_NAME) or record.name
    if record.scope.startswith(semconv.CLAUDE_SCOPE) and said and not said.startswith(semconv.CLAUDE_PREFIX):
        return semconv.CLAUDE_PREFIX + said
    return said


def write(writing: Writing, records: Sequence[Record]) -> None:
    """All records of one run in one request."""
    ordered = sorted(records, key=lambda record: record.time)
    home, first = writing.home, ordered[0]
    session = next(filter(None, (_session(record) for record in ordered)), "")
    started = started_of(home, first.resource, first.time, home.name, session)
    writing.begin(msgspec.structs.replace(started, provisional=home.origin not in ("session", "service")))
    told: dict[str, list[Record]] = {}
    for record in ordered:
        if name_of(record) in content.EVENTS and record.span:
            told.setdefault(record.span, []).append(record)
        elif not coding_agents.is_known(name_of(record)) or not coding_agents.write(writing, record, name_of(record)):
            _write_line(writing, record)
    for span, group in told.items():
        _write_messages(writing, span, group)
    writing.add(writing.agent, "left", WriterLeft(time=ordered[-1].time))


def _session(record: Record) -> str:
    names = (semconv.CLAUDE_SESSION, semconv.CODEX_CONVERSATION, semconv.CONVERSATION)
    return text(record.attributes, *names)


def _write_messages(writing: Writing, span: str, group: Sequence[Record]) -> None:
    """The messages of one model call, which its span does not have: together, in order."""
    asked, answered = content.of_events((name_of(record), record.attributes, record.body) for record in group)
    if asked is not None:
        writing.data(writing.agent, "step.input", span, asked, group[0].time)
    if answered is not None:
        writing.data(writing.agent, "step.output", span, answered, group[-1].time)


def _write_line(writing: Writing, record: Record) -> None:
    said = record.body if isinstance(record.body, str) else shown(record.body)
    name = name_of(record)
    own = {key: item for key, item in record.attributes.items() if not key.startswith(_PRIVATE)}
    parts = (name, "" if record.body is None or said == name else said, shown(own) if own else "")
    line = LogLine(
        text=clean(" ".join(filter(None, parts)), LONGEST_LINE),
        time=record.time,
        level=next((level for least, level in _LEVELS if record.severity >= least), "info"),
        step=record.span or None,
    )
    writing.add(meaning.as_token(text(record.attributes, semconv.AGENT)) or writing.agent, "log", line)
