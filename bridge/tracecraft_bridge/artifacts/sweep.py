"""Removing what nobody references: blobs and unfinished uploads that were last wanted longer ago than the grace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import WaitTimeout

if TYPE_CHECKING:
    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.progress import Progress
    from tracecraft_core.bus import Bus

AT_ONCE: Final = 100
"""Blobs removed in one transaction."""

_UNREFERENCED: Final = """
    wanted < now() - %(grace)s * interval '1 second'
    AND NOT EXISTS (SELECT FROM artifact a WHERE a.sha256 = b.sha256)
    AND NOT EXISTS (SELECT FROM bundle u WHERE u.sha256 = b.sha256)
    AND NOT EXISTS (SELECT FROM step s WHERE s.input_blob = b.sha256)
    AND NOT EXISTS (SELECT FROM step s WHERE s.output_blob = b.sha256)
    AND NOT EXISTS (SELECT FROM step_open o WHERE o.input_blob = b.sha256 OR o.output_blob = b.sha256)
"""


class Sweep:
    """Frees space in the store. Only whole projections can tell what is unreferenced: else it waits for its next turn.

    Args:
        grace: seconds for which a file may lie unreferenced.
    """

    def __init__(self, bus: Bus, connection: Connection, progress: Progress, store: ObjectStore, grace: float) -> None:
        self._bus, self._connection, self._progress, self._store, self._grace = bus, connection, progress, store, grace

    async def sweep(self) -> int:
        """One round; returns how many objects went. Raises `StoreAway` and what the two servers raise."""
        try:
            await self._progress.caught_up(self._bus)
        except WaitTimeout:
            return 0
        return await self._blobs() + await self._uploads()

    async def _projections_are_whole(self) -> bool:
        """The lock keeps them so until the transaction ends: a rebuild begins by setting the version to 0."""
        cursor = await self._connection.execute("SELECT version FROM projection FOR SHARE")
        row = await cursor.fetchone()
        return row is not None and row[0] > 0

    async def _blobs(self) -> int:
        cursor = await self._connection.execute(
            f"SELECT sha256 FROM blob b WHERE {_UNREFERENCED}", {"grace": self._grace}
        )
        hashes = [row[0] for row in await cursor.fetchall()]
        return sum([await self._batch(hashes[at : at + AT_ONCE]) for at in range(0, len(hashes), AT_ONCE)])

    async def _batch(self, hashes: list[str]) -> int:
        """The rows are locked until the objects are gone: whoever puts one of them again waits, and then uploads it."""
        async with self._connection.transaction():
            if not await self._projections_are_whole():
                return 0
            cursor = await self._connection.execute(
                f"DELETE FROM blob b WHERE sha256 = ANY(%(hashes)s) AND {_UNREFERENCED} RETURNING object_key",
                {"grace": self._grace, "hashes": hashes},
            )
            keys = [row[0] for row in await cursor.fetchall()]
            await self._store.delete(keys)
        return len(keys)

    async def _uploads(self) -> int:
        cursor = await self._connection.execute(
            "SELECT id FROM blob_upload WHERE asked < now() - %s * interval '1 second'", (self._grace,)
        )
        return sum([await self._upload(row[0]) for row in await cursor.fetchall()])

    async def _upload(self, id: str) -> int:
        async with self._connection.transaction():
            cursor = await self._connection.execute(
                "DELETE FROM blob_upload WHERE id = %s AND asked < now() - %s * interval '1 second' "
                "RETURNING object_key, multipart",
                (id, self._grace),
            )
            row = await cursor.fetchone()
            if row is None:  # somebody goes on with it
                return 0
            key, multipart = row
            if multipart is not None:
                await self._store.abort(key, multipart)
            await self._store.delete([key])
        return 1
