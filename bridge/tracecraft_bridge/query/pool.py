"""A few connections to PostgreSQL for questions, so that these never hold up the mirror."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.database import Connection, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE: Final = 4
"""Most connections."""
STATEMENT_S: Final = 20
"""Seconds that one statement may take: whoever asks waits no longer than 30."""

_SESSION: Final = f"""
    SET statement_timeout = '{STATEMENT_S}s'; SET idle_in_transaction_session_timeout = '60s';
    SET work_mem = '32MB'; SET jit = off;
    SET max_parallel_workers_per_gather = 0; SET plan_cache_mode = force_custom_plan
"""
"""Compiling costs more than these queries take, and the plan depends on how many rows have a key."""


class Pool:
    """Connections that are made when they are first needed and used again; `close` ends the idle ones."""

    def __init__(self, dsn: str, size: int = SIZE) -> None:
        self._dsn = dsn
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit, for as long as the block lasts. Raises `psycopg.Error`."""
        async with self._free:
            connection = await self._take()
            try:
                yield connection
            finally:
                await self._give_back(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A connection that reads one state of the database throughout, and cannot write."""
        async with self.connection() as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield connection
            finally:
                if not connection.closed:
                    await connection.rollback()

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and not connection.broken:
                return connection
        connection = await connect(self._dsn, "questions")
        await connection.execute(_SESSION)
        return connection

    async def _give_back(self, connection: Connection) -> None:
        clean = connection.info.transaction_status.name == "IDLE"
        if self._closed or connection.closed or connection.broken or not clean:
            await connection.close()
        else:
            self._idle.append(connection)
