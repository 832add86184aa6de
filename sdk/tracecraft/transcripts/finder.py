"""Where the transcripts of coding agents lie on this machine."""

from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracecraft.transcripts import naming, rows
from tracecraft.transcripts.mirror import session_of
from tracecraft.transcripts.sources import SOURCES
from tracecraft_core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft.transcripts.sources import Source

_FIRST: Final = 4_096
"""Bytes of a file by which its kind is known."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session that lies here."""

    source: Source
    session: str
    path: Path
    changed: float
    """Seconds since 1970."""
    size: int
    """Bytes; of a database's sessions, of the whole."""

    @property
    def run(self) -> str:
        """Id of its run."""
        return naming.run_id(self.source, self.session)


def find(sources: Sequence[Source] = SOURCES) -> list[Found]:
    """All sessions of these coding agents, the one that changed last first."""
    found = [one for source in sources for one in _FINDERS[source]()]
    return sorted(found, key=lambda one: one.changed, reverse=True)


def named(wanted: str, sources: Sequence[Source] = SOURCES) -> list[Found]:
    """The sessions that a person means by a path, a session's id, a run's id, or the beginning or end of one.

    Raises `NotFound`, and `UsageError` when several sessions are meant by a part of an id.
    """
    path = Path(wanted).expanduser()
    if path.is_file():
        return _at(path)
    every = find(sources)
    whole = [one for one in every if wanted in (one.session, one.run)]
    part = whole or [one for one in every if one.session.startswith(wanted) or one.session.endswith(wanted)]
    if not part:
        raise NotFound("session", wanted, "'tracecraft session list' shows those that are here")
    if len(part) > 1:
        meant = ", ".join(f"{one.run} in {one.path}" for one in part[:4])
        raise UsageError(f"{wanted!r} may be {meant}: say more of it, or name its file")
    return part


def _at(path: Path) -> list[Found]:
    about = path.stat()
    if path.suffix in (".jsonl", ".zst"):
        source: Source = "codex" if path.name.startswith("rollout-") or _is_rollout(path) else "claude"
        return [Found(source, session_of(source, path), path, about.st_mtime, about.st_size)]
    try:
        if found := [*_hermes_in(path), *_openclaw_in(path)]:
            return found
    except sqlite3.Error as error:
        raise UsageError(f"{path} is no transcript: {error}") from None
    raise UsageError(f"{path} has no session of Claude Code, Codex, Hermes or OpenClaw")


def _is_rollout(path: Path) -> bool:
    with path.open("rb") as file:
        return b'"session_meta"' in file.read(_FIRST)


def _claude() -> Iterator[Found]:
    home = Path(os.environ.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser()
    for path in home.glob("projects/*/*.jsonl"):
        if not path.name.startswith("agent-"):  # sub-agents of old versions
            yield from _file("claude", path)


def _codex() -> Iterator[Found]:
    home = Path(os.environ.get("CODEX_HOME") or "~/.codex").expanduser()
    seen = set()
    for pattern in ("sessions/**/rollout-*.jsonl*", "archived_sessions/rollout-*.jsonl*"):
        for path in home.glob(pattern):
            if path.name.endswith((".jsonl", ".jsonl.zst")) and (name := path.name.removesuffix(".zst")) not in seen:
                seen.add(name)
                yield from _file("codex", path)


def _file(source: Source, path: Path) -> Iterator[Found]:
    try:
        found = path.stat()
    except OSError:
        return
    if stat.S_ISREG(found.st_mode):
        yield Found(source, session_of(source, path), path, found.st_mtime, found.st_size)


def _hermes() -> Iterator[Found]:
    path = Path(os.environ.get("HERMES_HOME") or "~/.hermes").expanduser() / "state.db"
    yield from _quietly(_hermes_in, path)


def _openclaw() -> Iterator[Found]:
    home = Path(os.environ.get("OPENCLAW_STATE_DIR") or "~/.openclaw").expanduser()
    for path in home.glob("agents/*/agent/openclaw-agent.sqlite"):
        yield from _quietly(_openclaw_in, path)


def _quietly(look: object, path: Path) -> list[Found]:
    assert callable(look)
    try:
        return list(look(path)) if path.is_file() else []
    except sqlite3.Error:
        return []


def _hermes_in(path: Path) -> list[Found]:
    with rows.reading(path) as connection:
        if not _has(connection, "sessions", "messages"):
            return []
        size = path.stat().st_size
        newest = rows.hermes_newest(connection)
        return [
            Found("hermes", one.id, path, newest.get(one.id, one.started_at), size)
            for one in rows.hermes_sessions(connection)
        ]


def _openclaw_in(path: Path) -> list[Found]:
    with rows.reading(path) as connection:
        if not _has(connection, "transcript_events"):
            return []
        size = path.stat().st_size
        return [Found("openclaw", id, path, last, size) for id, _, last in rows.openclaw_sessions(connection)]


def _has(connection: sqlite3.Connection, *tables: str) -> bool:
    have = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return have.issuperset(tables)


_FINDERS: Final = {"claude": _claude, "codex": _codex, "hermes": _hermes, "openclaw": _openclaw}
