"""What a project, agent, run, task id or memory key may look like, and why not.

Names become tokens of NATS subjects, where ``.``, ``*``, ``>`` and white space have a meaning, so the rules are strict
and the same everywhere (design section 3). Validation is pure and says which character is wrong and where.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from tracecraft_core import subjects
from tracecraft_core.errors import InvalidName

MAX_TOKEN: Final = 64
"""Characters in a project, agent or run name."""

MAX_KEY: Final = 256
"""Characters in a task id or a memory key; NATS breaks the connection near 4,000 (control line)."""

TOKEN: Final = f"^[A-Za-z0-9_-]{{1,{MAX_TOKEN}}}(?!\\n)$"
"""Such a name as a regular expression of JSON Schema. (In Python's ``$`` matches before a last newline too.)"""

_TOKEN_BAD: Final = re.compile(r"[^A-Za-z0-9_-]")
_TOKEN_GAP: Final = re.compile(r"[^A-Za-z0-9_-]+")
_KEY_BAD: Final = re.compile(r"[^A-Za-z0-9_=/.-]")
_PATTERN_BAD: Final = re.compile(r"[^A-Za-z0-9_=/.*>-]")


def project(value: str) -> str:
    """Return ``value`` if it may name a project, else raise `InvalidName`; tracecraft's own is nobody's."""
    example = "my-research"
    if value == subjects.RESERVED_PROJECT:
        raise InvalidName("project", value, "is reserved for what tracecraft writes for itself", example)
    return _token("project", value, example)


def agent(value: str) -> str:
    """Return ``value`` if it may name an agent, else raise `InvalidName`."""
    return _token("agent", value, "writer-2")


def run(value: str) -> str:
    """Return ``value`` if it may be a run's id, else raise `InvalidName`."""
    return _token("run", value, "20261122-193415-k3x9qa")


def session(value: str) -> str:
    """Return ``value`` if it may name a session, else raise `InvalidName`."""
    return _token("session", value, "s-4f2a")


def task(value: str) -> str:
    """Return ``value`` if it may be a task id, else raise `InvalidName`."""
    return _key("task id", value, "S1.parse")


def memory_key(value: str) -> str:
    """Return ``value`` if it may be a memory key, else raise `InvalidName`."""
    return _key("memory key", value, "findings.json-module")


def pattern(value: str) -> str:
    """Return ``value`` if it may be a NATS wildcard pattern over keys (``*`` one token, last ``>`` the rest)."""
    example = "S1.*"
    _length("pattern", value, MAX_KEY, example)
    _characters("pattern", value, _PATTERN_BAD, example)
    tokens = value.split(".")
    for place, token in enumerate(tokens):
        if not token:
            raise InvalidName("pattern", value, "has an empty token (two dots in a row, or a dot at an end)", example)
        if token == ">" and place != len(tokens) - 1:
            raise InvalidName("pattern", value, "'>' must be the last token", example)
        if token not in ("*", ">") and ("*" in token or ">" in token):
            raise InvalidName("pattern", value, f"token {token!r}: '*' and '>' stand for whole tokens", example)
    return value


def from_text(text: str, most: int = MAX_TOKEN) -> str:
    """Any text as a name of at most ``most`` characters: ``Süd Wörter!`` is ``Sud-Worter``.

    Accents are dropped, and whatever else a name must not have becomes ``-``; nothing is left of a text that has only
    such characters.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _TOKEN_GAP.sub("-", plain).strip("-")[:most]


def agent_from_text(text: str, most: int = MAX_TOKEN) -> str:
    """`from_text` for an agent, who needs a name: without Latin letters it is a hash; empty when nothing is said."""
    name = from_text(text, most)
    if name or not text.strip():
        return name
    return f"agent-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"[:most]


def matches(wildcard: str, key: str) -> bool:
    """Whether a key matches a pattern, as the server would decide."""
    wanted, have = wildcard.split("."), key.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(have) > place
        if place >= len(have) or token not in ("*", have[place]):
            return False
    return len(wanted) == len(have)


def _token(kind: str, value: str, example: str) -> str:
    _length(kind, value, MAX_TOKEN, example)
    _characters(kind, value, _TOKEN_BAD, example)
    return value


def _key(kind: str, value: str, example: str) -> str:
    _length(kind, value, MAX_KEY, example)
    _characters(kind, value, _KEY_BAD, example)
    if "" in value.split("."):
        raise InvalidName(kind, value, "has an empty token (two dots in a row, or a dot at an end)", example)
    return value


def _length(kind: str, value: object, limit: int, example: str) -> None:
    if not isinstance(value, str):
        raise InvalidName(kind, value, f"is of type {type(value).__name__}, not text", example)
    if not value:
        raise InvalidName(kind, value, "is empty", example)
    if len(value) > limit:
        raise InvalidName(kind, value, f"has {len(value)} characters, at most {limit} are allowed", example)


def _characters(kind: str, value: str, bad: re.Pattern[str], example: str) -> None:
    found = bad.search(value)
    if found:
        allowed = "A-Z a-z 0-9 _ -" if bad is _TOKEN_BAD else "A-Z a-z 0-9 _ = / - and dots between tokens"
        raise InvalidName(
            kind,
            value,
            f"character {found.group()!r} at position {found.start() + 1} is not allowed ({allowed})",
            example,
        )
