"""An entry of the log as the projections see it, and what its headers say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tracecraft_core import subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_bridge.subject_parts import SubjectParts

_RUN: Final = re.compile(r"([A-Za-z0-9_-]{1,128})(?:/([A-Za-z0-9_-]{1,64}))?")
_IDENTITY: Final = re.compile(r"([A-Za-z0-9_-]{1,64}):([1-9][0-9]{0,17})")


class Entry(NamedTuple):
    """An entry, live from the bus or read again from the table ``log``: both give the same."""

    epoch: int
    seq: int
    time: int
    """Microseconds since 1970, the server's clock; 0 when that is not a time."""
    parts: SubjectParts
    headers: Mapping[str, str | list[str]]
    body: bytes
    size: int
    """Bytes of the body as it came; what is read again from jsonb is spelled differently."""
    origin_seq: int | None = None
    operation: str | None = None


class Identity(NamedTuple):
    """Which event of which writer."""

    writer: str
    number: int


def identity(headers: Mapping[str, str | list[str]]) -> Identity | None:
    """The writer and the number in ``Nats-Msg-Id``; ``None`` for the ids of foreign clients."""
    said = headers.get(subjects.MSG_ID)
    found = _IDENTITY.fullmatch(said[0] if isinstance(said, list) else said or "")
    return Identity(found[1], int(found[2])) if found is not None else None


def run_and_step(headers: Mapping[str, str | list[str]]) -> tuple[str | None, str | None]:
    """The run and the step inside of which something was written, by the header ``Tc-Run``."""
    said = value(headers, subjects.RUN)
    found = _RUN.fullmatch(said) if said else None
    return (found[1], found[2]) if found else (None, None)


def value(headers: Mapping[str, str | list[str]], name: str) -> str | None:
    """The first value of a header."""
    found = headers.get(name)
    return found[0] if isinstance(found, list) else found
