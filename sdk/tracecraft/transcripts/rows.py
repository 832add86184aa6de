"""Rows of the databases of Hermes and OpenClaw: opened read-only, for every question anew, from a number on."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from tracecraft.transcripts.hermes import Message, Session, Spending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S: Final = 1.0
"""Seconds for which a database that somebody writes to is waited for."""
MOST_EVENT: Final = 8 * 1024 * 1024
"""Bytes of one event that was compressed."""

_MESSAGES: Final = """
    SELECT id, role, content, tool_call_id, tool_calls, tool_name, timestamp, reasoning, compacted, active
    FROM messages WHERE session_id = ? AND id > ? ORDER BY id LIMIT ?
"""
_SPENDING: Final = """
    SELECT model, sum(api_call_count), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
           sum(output_tokens), sum(reasoning_tokens), sum(max(estimated_cost_usd, actual_cost_usd)),
           sum(coalesce(cost_status, 'unknown') <> 'unknown') > 0
    FROM session_model_usage WHERE session_id = ? GROUP BY model ORDER BY model
"""
_EVENTS: Final = """
    SELECT seq, event_json, event_zstd FROM transcript_events WHERE session_id = ? AND seq >= ? ORDER BY seq LIMIT ?
"""
_OLD_EVENTS: Final = """
    SELECT seq, event_json, NULL FROM transcript_events WHERE session_id = ? AND seq >= ? ORDER BY seq LIMIT ?
"""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read, in one transaction. Raises ``sqlite3.Error``."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def hermes_session(connection: sqlite3.Connection, session: str) -> Session | None:
    """The row of a session; columns that an older version does not have are left out."""
    return next(iter(_hermes_sessions(connection, "WHERE id = ?", (session,))), None)


def hermes_sessions(connection: sqlite3.Connection) -> list[Session]:
    """All sessions, the oldest first."""
    return _hermes_sessions(connection, "ORDER BY started_at", ())


def _hermes_sessions(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Session]:
    have = {row[1] for row in connection.execute("PRAGMA table_info(sessions)")}
    columns = [name for name in Session.__struct_fields__ if name in have]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM sessions {where}", values)
    return [Session(**dict(zip(columns, row, strict=True))) for row in rows]


def hermes_newest(connection: sqlite3.Connection) -> dict[str, float]:
    """The time of the newest message of each session."""
    return dict(connection.execute("SELECT session_id, max(timestamp) FROM messages GROUP BY 1").fetchall())


def hermes_messages(connection: sqlite3.Connection, session: str, after: int, limit: int) -> list[Message]:
    """Messages of a session behind a number."""
    rows = connection.execute(_MESSAGES, (session, after, limit))
    return [Message(**dict(zip(Message.__struct_fields__, row, strict=True))) for row in rows]


def hermes_spending(connection: sqlite3.Connection, session: str) -> list[Spending]:
    """What a session has used so far, by model."""
    rows = connection.execute(_SPENDING, (session,))
    return [Spending(**dict(zip(Spending.__struct_fields__, row, strict=True))) for row in rows]


def openclaw_events(
    connection: sqlite3.Connection, session: str, first: int, limit: int
) -> Iterator[tuple[int, bytes]]:
    """Events of a session from a number on."""
    have = {row[1] for row in connection.execute("PRAGMA table_info(transcript_events)")}
    query = _EVENTS if "event_zstd" in have else _OLD_EVENTS
    for seq, text, packed in connection.execute(query, (session, first, limit)):
        yield seq, text.encode() if text is not None else _unpacked(packed)


def openclaw_generation(connection: sqlite3.Connection, session: str) -> str:
    """What changes when the events of a session are written again."""
    query = "SELECT generation FROM transcript_rewrite_watermarks WHERE session_id = ?"
    row = connection.execute(query, (session,)).fetchone()
    return str(row[0]) if row else ""


def openclaw_sessions(connection: sqlite3.Connection) -> list[tuple[str, float, float]]:
    """Sessions that have events: id, and the times of the first and the last of them in seconds since 1970."""
    query = "SELECT session_id, min(created_at), max(created_at) FROM transcript_events GROUP BY 1 ORDER BY 2"
    return [(session, first / 1000, last / 1000) for session, first, last in connection.execute(query)]


def _unpacked(packed: bytes) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MOST_EVENT)
    except zstandard.ZstdError:
        return b"?"
