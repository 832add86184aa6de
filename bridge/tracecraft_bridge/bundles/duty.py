"""Makes the bundles of runs that have ended, one after the other."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.artifacts.errors import StoreAway

if TYPE_CHECKING:
    from tracecraft_bridge.bundles.making import Maker
    from tracecraft_bridge.database import Connection

logger = logging.getLogger(__name__)

ROUND_S: Final = 2.0
"""Seconds between two looks."""
QUIET_S: Final = 10.0
"""Seconds after the last event of a run that ended, for writers that never said that they were done."""
AT_MOST: Final = 50
"""Runs of one look."""

_DUE: Final = """
    SELECT r.project, r.run FROM run r
    LEFT JOIN bundle b ON b.project = r.project AND b.run = r.run
    WHERE r.status <> 'running' AND (SELECT version FROM projection) > 0 AND (b.run IS NULL OR b.last_seq < r.last_seq)
      AND (r.project, r.run) <> ALL (SELECT * FROM unnest(%s::text[], %s::text[]))
      AND (r.heard < now() - make_interval(secs => %s) OR NOT EXISTS (
          SELECT FROM run_writer w WHERE w.project = r.project AND w.run = r.run
          AND (w.final IS NULL OR w.received < w.final)))
    ORDER BY r.heard LIMIT %s
"""


class Bundles:
    """The duty; a run whose bundle cannot be made is told once and tried again when the bridge begins anew."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._given_up: list[tuple[str, str]] = []

    async def run(self, connection: Connection) -> None:
        """Make bundles for ever. Raises `psycopg.Error`."""
        while True:
            try:
                made = await self.round(connection)
            except StoreAway as error:
                logger.debug("no bundles: %s", error)
                made = 0
            await asyncio.sleep(0 if made == AT_MOST else ROUND_S)

    async def round(self, connection: Connection) -> int:
        """Make those that are due, at most `AT_MOST`; returns how many. Raises `StoreAway`."""
        projects, runs = [project for project, _ in self._given_up], [run for _, run in self._given_up]
        cursor = await connection.execute(_DUE, (projects, runs, QUIET_S, AT_MOST))
        due = await cursor.fetchall()
        for project, run in due:
            await self._one(project, run)
        return len(due)

    async def _one(self, project: str, run: str) -> None:
        try:
            await self._maker.make(project, run)
        except (StoreAway, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("no bundle of run %s of project %s", run, project)
            self._given_up.append((project, run))
