"""Forgetting what is older than the retention of runs: whole partitions are dropped, which frees their space."""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from tracecraft_bridge.partitions import LOCK_S, PARTITIONED
from tracecraft_bridge.projection.writing import RUN_TABLES
from tracecraft_core import subjects

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection

logger = logging.getLogger(__name__)

_PARTITIONS: Final = """
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = %s::regclass AND c.relname ~ '_[0-9]{8}$' ORDER BY 1
"""
_OTHERS: Final = (*(table for table in RUN_TABLES if table != "run"), "bundle", "run")
"""Tables of a run; the row of the run itself goes last."""


class RunRetention:
    """Forgets; one object for each connection."""

    def __init__(self, connection: Connection, retention: float) -> None:
        self._connection, self._retention = connection, retention

    async def apply(self) -> int:
        """Forget once; returns how many partitions went."""
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=self._retention)
        dropped = 0
        for table in PARTITIONED:
            cursor = await self._connection.execute(_PARTITIONS, (table,))
            for (name,) in await cursor.fetchall():
                begins = datetime.datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=datetime.UTC)
                if begins + datetime.timedelta(days=7) <= before:
                    dropped += await self._drop(name)
            await self._connection.execute(
                sql.SQL("DELETE FROM {} WHERE time < %s").format(sql.Identifier(f"{table}_default")), (before,)
            )
        await self._forget_runs(before)
        return dropped

    async def _drop(self, name: str) -> bool:
        try:
            async with self._connection.transaction():
                await self._connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{LOCK_S}s")))
                await self._connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        except psycopg.errors.LockNotAvailable:
            logger.info("partition %s is in use and is dropped the next time", name)
            return False
        logger.info("dropped partition %s, older than the retention of runs", name)
        return True

    async def _forget_runs(self, before: datetime.datetime) -> None:
        async with self._connection.transaction():
            cursor = await self._connection.execute(
                "SELECT project, run FROM run WHERE heard < %s AND status <> 'running' LIMIT 10000", (before,)
            )
            old = await cursor.fetchall()
            if not old:
                return
            await self._connection.execute(  # the mirror forgets what it remembers of them
                "UPDATE checkpoint SET imports = imports + 1 WHERE stream = %s", (subjects.LOG,)
            )
            projects, runs = [row[0] for row in old], [row[1] for row in old]
            for table in _OTHERS:
                await self._connection.execute(
                    sql.SQL(
                        "DELETE FROM {} t USING unnest(%s::text[], %s::text[]) AS k(project, run) "
                        "WHERE t.project = k.project AND t.run = k.run"
                    ).format(sql.Identifier(table)),
                    (projects, runs),
                )
            await self._connection.execute("DELETE FROM task_attempt WHERE coalesce(ended, claimed) < %s", (before,))
