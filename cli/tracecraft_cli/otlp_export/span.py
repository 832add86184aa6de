"""`Span`: one span as it leaves, before it is JSON or protobuf; values only."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["unset", "ok", "error"]
Kind = Literal["unspecified", "internal", "server", "client", "producer", "consumer"]

MOST_LINKS: Final = 128
"""Links of one span that are kept, the default limit of OpenTelemetry's SDKs."""
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened within a span."""

    name: str
    time: int
    """Nanoseconds since 1970."""
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A span elsewhere, in this trace or another."""

    trace: str
    span: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span; ids are lower-case hexadecimal, times nanoseconds since 1970."""

    trace: str
    id: str
    name: str
    start: int
    end: int
    parent: str | None = None
    kind: Kind = "internal"
    status: Status = "unset"
    message: str = ""
    """With the status ``error``: why."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    dropped_links: int = 0


def span_id(*words: str) -> str:
    """A span id that is made of words: the same ones give the same id."""
    found = hashlib.sha256("/".join(words).encode()).hexdigest()[:16]
    return found if found.strip("0") else "1".rjust(16, "0")


def step_id(step: str) -> str:
    """The span id of a step: its own, where it is one; clients of other languages may have chosen something else."""
    return step if _SPAN_ID.fullmatch(step) and step.strip("0") else span_id("step", step)


def nanoseconds(time: str) -> int:
    """Nanoseconds since 1970 of a time as the bridge writes it (RFC 3339, UTC)."""
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1) * 1000
