"""What may stand in a bundle: a run of one project, and nothing that is another's (docs/reference/bundle.md). Pure.

The hash tree tells damage; these rules keep a bundle that somebody made up from speaking of other projects and runs.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import names, subjects
from tracecraft_core.errors import InvalidName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tracecraft_core.bundle.layout import Manifest
    from tracecraft_core.queries import Entry

LAST_SEQ: Final = (1 << 62) - 1
"""Highest sequence."""
LAST_YEAR: Final = 2261
"""Nanoseconds since 1970 in 64 bits end in April 2262."""
DELETED: Final = "deleted"
"""A run is put into a bundle before it is deleted: this event never is of one."""

_TIME: Final = re.compile(r"([0-9]{4})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[^\r\n\0:]+")
_HEADER_VALUE: Final = re.compile(r"[^\r\n\0]*")


def manifest_problems(manifest: Manifest) -> Iterator[str]:
    """What is wrong with the names and the range of a manifest."""
    try:
        names.project(manifest.project)
        for run in manifest.runs:
            names.run(run)
    except InvalidName as error:
        yield f"the manifest: {error}"
    if not manifest.runs or manifest.runs[0] != manifest.run or len(set(manifest.runs)) != len(manifest.runs):
        yield "the manifest: 'runs' is not the run and then others, each once"
    if not 1 <= manifest.first_seq <= manifest.last_seq <= LAST_SEQ:
        yield f"the manifest: {manifest.first_seq} to {manifest.last_seq} is no range of sequences"


def entry_problem(entry: Entry, project: str, runs: Collection[str]) -> str | None:
    """Why an entry cannot be in a bundle of these runs, or ``None``."""
    if not 1 <= entry.seq <= LAST_SEQ:
        return f"its sequence is not from 1 to {LAST_SEQ}"
    problem = _time(entry.time) or subject_problem(entry.subject, project, runs) or _headers(entry.headers)
    if problem is None and entry.raw is not None:
        problem = _raw(entry)
    return problem


def subject_problem(subject: str, project: str, runs: Collection[str]) -> str | None:
    """Why a subject cannot be in a bundle of these runs, or ``None``."""
    root, _, rest = subject.partition(".")
    own, _, rest = rest.partition(".")
    family, _, rest = rest.partition(".")
    if root != subjects.ROOT or own != project:
        return f"{subject[:200]!r} is not of project {project}"
    try:
        return _family(family, rest, runs)
    except InvalidName as error:
        return f"{subject[:200]!r}: {error}"


def _family(family: str, rest: str, runs: Collection[str]) -> str | None:
    tokens = rest.split(".")
    match family, len(tokens):
        case ("memory", _):
            names.memory_key(rest)
        case ("task", _):
            names.task(rest)
        case ("all", 1) | ("msg" | "receipt", 2):
            for token in tokens:
                names.agent(token)
        case ("agent", count) if count >= 2:
            names.agent(tokens[0])
            _event(tokens[1:])
        case ("run", count) if count >= 3:
            return _run(tokens, runs)
        case _:
            return f"family {family[:64]!r} with {len(tokens)} tokens is none of a bundle"
    return None


def _run(tokens: list[str], runs: Collection[str]) -> str | None:
    names.run(tokens[0])
    names.agent(tokens[1])
    _event(tokens[2:])
    if tokens[0] not in runs:
        return f"run {tokens[0]} is not in the manifest"
    if tokens[2:] == [DELETED]:
        return f"it deletes run {tokens[0]}: a bundle is made before that"
    return None


def _event(tokens: list[str]) -> None:
    for token in tokens:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", token):
            raise InvalidName("event", ".".join(tokens)[:200], "has other characters", "step.ended")


def _time(time: str) -> str | None:
    found = _TIME.fullmatch(time)
    try:
        datetime.datetime.fromisoformat(time)
    except ValueError:
        found = None
    if found is None or not 1970 <= int(found[1]) <= LAST_YEAR:
        return f"its time {time[:64]!r} is not RFC 3339, in UTC, from 1970 to {LAST_YEAR}"
    return None


def _headers(headers: dict[str, Any]) -> str | None:
    for name, value in headers.items():
        for each in value if isinstance(value, list) and value else [value]:
            if not (_HEADER_NAME.fullmatch(name) and isinstance(each, str) and _HEADER_VALUE.fullmatch(each)):
                return f"header {name[:64]!r} is none: no CR, LF or NUL, no colon in the name, text in the value"
    return None


def _raw(entry: Entry) -> str | None:
    if entry.body is not None:
        return "it has both 'body' and 'raw'"
    try:
        base64.b64decode(entry.raw or "", validate=True)
    except (binascii.Error, ValueError):
        return "'raw' is not base64"
    return None
