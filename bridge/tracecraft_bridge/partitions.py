"""Weekly partitions of the tables that grow with the log, made ahead.

A row for which there is none goes to the default partition (``log_default``), so neither a server's clock that is
years off nor a lock that a long query holds ever stops the mirror.
"""

from __future__ import annotations

import datetime
import logging
import time
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from tracecraft_bridge.copy_format import week_begins, week_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracecraft_bridge.database import Connection

logger = logging.getLogger(__name__)

PARTITIONED: Final = ("log", "step", "metric_chunk", "cost_entry", "message", "delivery", "memory_version")
"""The tables, each by the server's time in the column ``time``."""
AHEAD: Final = 2
"""Weeks made ahead of now."""
BEHIND: Final = 104
"""Weeks back from now for which a backlog gets partitions; anything older goes to the default partition."""
LOCK_S: Final = 2
"""Seconds to wait for the lock on the default partition that a new partition needs."""


class Partitions:
    """Which weeks have been seen to; one object for each connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: set[int] = set()

    async def ahead(self) -> None:
        """Make the partitions of this week and of the next `AHEAD`."""
        now = week_of(int(time.time()))
        await self.ensure(range(now, now + AHEAD + 1))

    async def ensure(self, weeks: Iterable[int]) -> None:
        """Make the partitions of these weeks where that is sensible and possible; never raises over one."""
        now = week_of(int(time.time()))
        for week in set(weeks) - self._seen:
            self._seen.add(week)
            if now - BEHIND <= week <= now + AHEAD:
                for table in PARTITIONED:
                    await self._make(table, week)

    async def _make(self, table: str, week: int) -> None:
        begins = week_begins(week)
        name = f"{table}_{begins:%Y%m%d}"
        if await self._exists(name):
            return
        try:
            await self._attach(table, name, begins)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.CheckViolation) as error:
            reason = error.diag.message_primary
            logger.warning("no partition %s yet, its rows go to %s_default: %s", name, table, reason)
        except psycopg.errors.DuplicateTable:
            pass

    async def _exists(self, name: str) -> bool:
        cursor = await self._connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def _attach(self, table: str, name: str, begins: datetime.date) -> None:
        """Create and attach: unlike ``PARTITION OF``, this lets queries on the table run on."""
        whole, part, ends = sql.Identifier(table), sql.Identifier(name), begins + datetime.timedelta(days=7)
        create = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE)").format(part, whole)
        attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            whole, part, sql.Literal(f"{begins} 00:00:00+00"), sql.Literal(f"{ends} 00:00:00+00")
        )
        async with self._connection.transaction():
            await self._connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{LOCK_S}s")))
            await self._connection.execute(create)
            await self._connection.execute(attach)
