"""A message as a row of the table ``log``, in the text format of COPY. Pure, and fast: it runs for every message.

A body goes into ``body`` when PostgreSQL's jsonb can hold it, else untouched into ``raw`` with the reason in
``problem``; an empty one is neither. What slips through here and PostgreSQL refuses comes back with its reason.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from tracecraft_bridge.projection.entry import Entry, run_and_step
from tracecraft_bridge.subject_parts import SubjectParts, subject_parts
from tracecraft_core.subjects import KV_OPERATION, MARKER_REASON, MSG_ID, RUN, STREAM_SOURCE

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS: Final = (
    *("epoch", "seq", "time"),
    *("project", "family", "agent", "recipient", "event", "key", "subject"),
    *("body", "raw", "problem", "headers", "origin_stream", "origin_seq", "operation", "run", "step", "size"),
)
COPY: Final = f"COPY log ({', '.join(COLUMNS)}) FROM STDIN"

NULL: Final = b"\\N"
NEVER: Final = b"-infinity"
"""A time that PostgreSQL cannot hold."""
MAX_PROBLEM: Final = 200
"""Characters of a reason that are kept."""
MAX_BIGINT: Final = 2**63 - 1
NANOSECONDS: Final = 1_000_000_000
WEEK_S: Final = 7 * 86_400
MONDAY_S: Final = 4 * 86_400
"""The first Monday after the Unix epoch began, a Thursday."""
REMEMBERED: Final = 20_000
"""Distinct subjects and seconds whose text is kept."""

_LINE: Final = b"%b\t%d\t%b\t%b\t%b\t%b\t%b\t%b\t%b\t%b\t%d\n"
_ONE_ID: Final = re.compile(rb"NATS/1\.0\r\nNats-Msg-Id: ([A-Za-z0-9_.:=-]+)\r\n\r\n")
"""The headers of most messages."""
_any: Final = msgspec.json.Decoder()
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NONE: Final[Mapping[str, str | list[str]]] = {}
_ORIGIN: Final = (STREAM_SOURCE.encode(), KV_OPERATION.encode(), MARKER_REASON.encode())


class LogMessage(NamedTuple):
    """A message of the log as the bridge read it; only the server's numbers are decoded."""

    subject: bytes
    seq: int
    time: int
    """Nanoseconds since 1970, the server's clock."""
    headers: bytes
    body: bytes
    reply: bytes
    """Where its acknowledgement goes."""
    pending: int
    """Messages that wait behind it on the server."""


class Row(NamedTuple):
    """A line for COPY, and what the bridge counts of it."""

    line: bytes
    family: str
    malformed: bool
    origin: tuple[str, int] | None
    """Bucket's stream and revision of a sourced message."""
    entry: Entry
    """The same for the projections."""


class RowFormat:
    """Formats rows of one epoch; remembers the text of subjects and seconds, which repeat.

    With ``runs``, those of a bundle, what was written inside of another run counts as written inside of none.
    """

    def __init__(self, epoch: int, runs: frozenset[str] | None = None) -> None:
        self._number, self._epoch, self._runs = epoch, b"%d" % epoch, runs
        self._subjects: dict[bytes, tuple[SubjectParts, bytes, bytes]] = {}
        self._seconds: dict[int, bytes] = {}

    def row(self, message: LogMessage, refused: str | None = None) -> Row:
        """The row of a message; ``refused``: why PostgreSQL did not take it, so its body goes to ``raw``."""
        name, seq, nanoseconds, headers, payload, _, _ = message
        known = self._subjects.get(name)
        parts, subject, run = self._subject(name) if known is None else known
        family = parts.family
        body, raw, problem = _body(payload) if refused is None else _raw(payload, refused)
        shown, named = _headers(headers) if headers else (NULL, _NONE)
        origin_columns, origin, operation, revision = b"\\N\t\\N\t\\N", None, None, None
        if family != "run":
            if family in ("memory", "task") and any(word in headers for word in _ORIGIN):
                origin_columns, origin, operation = _origin(named)
                revision = None if origin is None else origin[1]
            if RUN in named and self._runs is not None and run_and_step(named)[0] not in self._runs:
                named = {name: value for name, value in named.items() if name != RUN}
            elif RUN in named:
                run = b"\t".join([NULL if token is None else token.encode() for token in run_and_step(named)])
        time, size = self._time(nanoseconds), len(payload)
        columns = (self._epoch, seq, time, subject, body, raw, problem, shown, origin_columns, run, size)
        microseconds = 0 if time is NEVER else nanoseconds // 1000
        entry = Entry(self._number, seq, microseconds, parts, named, payload, size, revision, operation)
        return Row(_LINE % columns, family, problem is not NULL, origin, entry)

    def _subject(self, subject: bytes) -> tuple[SubjectParts, bytes, bytes]:
        if len(self._subjects) >= REMEMBERED:
            self._subjects.clear()
        known = self._subjects[subject] = _subject_columns(subject)
        return known

    def _time(self, nanoseconds: int) -> bytes:
        second, rest = divmod(nanoseconds, NANOSECONDS)
        known = self._seconds.get(second)
        if known is None:
            if len(self._seconds) >= REMEMBERED:
                self._seconds.clear()
            known = self._seconds[second] = _second(second)
        return b"%s.%06d+00" % (known, rest // 1000) if known else NEVER


def week_of(second: int) -> int:
    """The number of the week that a second since 1970 is in; weeks begin on Monday, UTC."""
    return (second - MONDAY_S) // WEEK_S


def week_begins(week: int) -> datetime.date:
    """The Monday of a week."""
    return datetime.date(1970, 1, 1) + datetime.timedelta(seconds=MONDAY_S + week * WEEK_S)


def escape(data: bytes) -> bytes:
    """A value as COPY wants it; the usual value has nothing to escape."""
    if b"\\" in data:
        data = data.replace(b"\\", b"\\\\")
    if b"\n" in data:
        data = data.replace(b"\n", b"\\n")
    if b"\r" in data:
        data = data.replace(b"\r", b"\\r")
    if b"\t" in data:
        data = data.replace(b"\t", b"\\t")
    return data


def storable_text(data: bytes) -> str:
    """Bytes as text that PostgreSQL can hold: what is not UTF-8, and NUL, is written as ``\\xNN``."""
    return data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def body_problem(body: bytes) -> str | None:
    """Why a body cannot be stored as jsonb, or ``None``."""
    try:
        _any.decode(body)
    except UnicodeDecodeError:
        return "not UTF-8"
    except RecursionError:
        return "nested too deep"
    except msgspec.ValidationError as error:
        return f"a number out of range: {error}"
    except msgspec.MsgspecError as error:
        return f"not JSON: {error}"
    if b"\\u0000" in body and _NUL.search(body):
        return "NUL (\\u0000) in a string"
    return None


def _body(body: bytes) -> tuple[bytes, bytes, bytes]:
    if not body:
        return NULL, NULL, NULL
    problem = body_problem(body)
    return (escape(body), NULL, NULL) if problem is None else _raw(body, problem)


def _raw(body: bytes, problem: str) -> tuple[bytes, bytes, bytes]:
    reason = storable_text(problem.encode("utf-8", "replace")[:MAX_PROBLEM])
    return NULL, b"\\\\x" + body.hex().encode(), escape(reason.encode())


def _subject_columns(subject: bytes) -> tuple[SubjectParts, bytes, bytes]:
    """The parts, the columns from project to subject, and the columns run and step."""
    text = storable_text(subject)
    parts = subject_parts(text)
    values = (parts.project, parts.family, parts.agent, parts.recipient, parts.event, parts.key, text)
    return parts, b"\t".join(map(_column, values)), _column(parts.run) + b"\t\\N"


def _column(value: str | None) -> bytes:
    return NULL if value is None else escape(value.encode())


def _second(second: int) -> bytes:
    try:
        return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S").encode()
    except (OverflowError, OSError, ValueError):
        return b""


def _headers(raw: bytes) -> tuple[bytes, Mapping[str, str | list[str]]]:
    """The column of the headers, and the headers by name."""
    one = _ONE_ID.fullmatch(raw)
    if one is not None:
        return b'{"Nats-Msg-Id":"%s"}' % one[1], {MSG_ID: one[1].decode()}
    named = _named(raw)
    return escape(msgspec.json.encode(named)), named


def _named(raw: bytes) -> dict[str, str | list[str]]:
    """Headers by name; a name that repeats has a list of values. Lines that are no headers are left out."""
    named: dict[str, str | list[str]] = {}
    for line in storable_text(raw).split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        earlier = named.get(name)
        if earlier is None:
            named[name] = value.strip()
        else:
            named[name] = [*([earlier] if isinstance(earlier, str) else earlier), value.strip()]
    return named


def _origin(named: Mapping[str, str | list[str]]) -> tuple[bytes, tuple[str, int] | None, str]:
    """Columns ``origin_stream``, ``origin_seq``, ``operation`` of a memory or task change."""
    operation = _first(named.get(KV_OPERATION)) or _first(named.get(MARKER_REASON)) or "PUT"
    shown = escape(operation.encode())
    stream, _, rest = (_first(named.get(STREAM_SOURCE)) or "").partition(" ")
    number = rest.partition(" ")[0]
    if not (stream and number.isascii() and number.isdigit() and len(number) < 20 and int(number) <= MAX_BIGINT):
        return b"\\N\t\\N\t" + shown, None, operation
    return b"%s\t%d\t%s" % (escape(stream.encode()), int(number), shown), (stream, int(number)), operation


def _first(value: str | list[str] | None) -> str | None:
    return value[0] if isinstance(value, list) else value
