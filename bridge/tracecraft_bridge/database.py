"""Connections to PostgreSQL that notice when the other side is gone."""

from __future__ import annotations

from typing import Any, Final

import psycopg

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

CONNECT_S: Final = 5
"""Seconds for one attempt to connect."""

ANSWER_S: Final = 60.0
"""Seconds within which a transaction must be through; a frozen server keeps its sockets open and never answers."""

_SESSION: Final = """
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET TimeZone = 'UTC'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0
"""
"""The server, too, must notice that a bridge is gone with its machine: it would hold the lock for two hours."""


async def connect(dsn: str, purpose: str) -> Connection:
    """A connection in autocommit; ``purpose`` shows in ``pg_stat_activity``. Raises `psycopg.OperationalError`."""
    connection: Connection = await psycopg.AsyncConnection.connect(
        dsn,
        autocommit=True,
        application_name=f"tracecraft-bridge {purpose}",
        connect_timeout=CONNECT_S,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
    )
    try:
        await connection.execute(_SESSION)
    except BaseException:
        await connection.close()
        raise
    return connection


class NoAnswer(psycopg.OperationalError):
    """PostgreSQL did not answer within `ANSWER_S`."""
