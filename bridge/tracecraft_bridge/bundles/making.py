"""Makes the bundle of a run and keeps it in the artifact store."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.artifacts.errors import StoreAway
from tracecraft_bridge.bundles import rows
from tracecraft_bridge.bundles.checkpoint import state
from tracecraft_bridge.bundles.extent import extent
from tracecraft_bridge.database import connect
from tracecraft_core.bundle import bounds, rules
from tracecraft_core.bundle.layout import MEDIA_TYPE
from tracecraft_core.bundle.writer import BundleWriter
from tracecraft_core.queries import BundleRow

if TYPE_CHECKING:
    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.bundles.extent import Extent
    from tracecraft_bridge.database import Connection
    from tracecraft_core.bundle.layout import Manifest
    from tracecraft_core.queries import Entry

logger = logging.getLogger(__name__)

ROOM: Final = 1024 * 1024
"""Bytes of a chunk that are left for the subject and headers of a single entry."""
MADE: Final = "to_char(made AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


class Maker:
    """Makes bundles over connections of its own: a long one must not hold up anything else."""

    def __init__(self, dsn: str, store: ObjectStore, seed: bytes | None = None) -> None:
        self._dsn, self._store, self._blobs, self._seed = dsn, store, Blobs(store), seed

    async def make(self, project: str, run: str) -> BundleRow | None:
        """The bundle of all that is known of a run by now; ``None`` when there is no such run.

        One that has been made of the same entries is kept. Raises `StoreAway` and `psycopg.Error`.
        """
        async with await connect(self._dsn, "bundle") as connection:
            await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"bundle {project} {run}",))
            await _require_whole(connection)
            wanted = await extent(connection, project, run)
            if wanted is None:
                return None
            known = await find(connection, project, run)
            if known is not None and covers(known, wanted) and await self._blobs.keep(connection, known.sha256):
                return known
            with tempfile.TemporaryDirectory(prefix="tracecraft-bundle-") as folder:
                path = Path(folder) / "run.tcb"
                manifest = await self.write(connection, wanted, path)
                blob = await self._blobs.put(connection, path, MEDIA_TYPE)
            return await note(connection, wanted.epoch.id, manifest, blob.sha256, blob.size)

    async def write(self, connection: Connection, wanted: Extent, path: Path) -> Manifest:
        """Write the bundle of an extent to a file."""
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            before = await state(
                connection, self._blobs, wanted.project, wanted.epoch, wanted.first_seq - 1, wanted.runs
            )
            with path.open("wb") as file:
                writer = BundleWriter(
                    file,
                    project=wanted.project,
                    runs=wanted.runs,
                    first_seq=wanted.first_seq,
                    last_seq=wanted.last_seq,
                    checkpoint=before,
                    seed=self._seed,
                )
                await self._add(connection, wanted, writer)
                return await asyncio.to_thread(writer.finish)

    async def _add(self, connection: Connection, wanted: Extent, writer: BundleWriter) -> None:
        def add(batch: list[Entry]) -> None:
            for each in batch:
                problem = _problem(each, wanted)
                if problem is None:
                    writer.add(each)
                else:
                    logger.warning("not in the bundle of run %s: entry %d: %s", wanted.run, each.seq, problem)

        span = wanted.first_seq, wanted.last_seq
        async with rows.batches(connection, wanted.project, wanted.epoch, wanted.runs, *span) as found:
            async for batch in found:
                await asyncio.to_thread(add, batch)


def _problem(entry: Entry, wanted: Extent) -> str | None:
    """Why a reader would refuse an entry: anybody can write a name or a number into the log that we would not."""
    size = len(entry.body) if isinstance(entry.body, msgspec.Raw) else len(entry.raw or "")
    if size > bounds.MAX_CHUNK - ROOM:
        return f"its body has {size:,} bytes"
    return rules.entry_problem(entry, wanted.project, wanted.runs)


async def _require_whole(connection: Connection) -> None:
    """While the projections are made again, nobody knows which runs are inside of which."""
    row = await (await connection.execute("SELECT version FROM projection")).fetchone()
    if row is None or row[0] == 0:
        raise StoreAway("the projections are being made again", "ask again in a few minutes")


async def find(connection: Connection, project: str, run: str) -> BundleRow | None:
    """The newest bundle of a run that there is."""
    cursor = await connection.execute(
        f"SELECT sha256, size, root, first_seq, last_seq, {MADE} FROM bundle WHERE project = %s AND run = %s",
        (project, run),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    sha256, size, root, first, last, made = row
    return BundleRow(sha256=sha256, size=size, root=root, first_seq=first, last_seq=last, made=made)


def covers(known: BundleRow, wanted: Extent) -> bool:
    """Whether nothing has come since the bundle was made; it may reach further back than what the log still has."""
    return known.first_seq <= wanted.first_seq and known.last_seq == wanted.last_seq


async def note(connection: Connection, epoch: int, manifest: Manifest, sha256: str, size: int) -> BundleRow:
    """Remember a bundle that lies in the store."""
    await connection.execute(
        "INSERT INTO bundle (project, run, sha256, size, root, epoch, first_seq, last_seq) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (project, run) DO UPDATE SET sha256 = excluded.sha256, "
        "size = excluded.size, root = excluded.root, epoch = excluded.epoch, first_seq = excluded.first_seq, "
        "last_seq = excluded.last_seq, made = now()",
        (
            *(manifest.project, manifest.run, sha256, size, manifest.root),
            *(epoch, manifest.first_seq, manifest.last_seq),
        ),
    )
    made = await find(connection, manifest.project, manifest.run)
    assert made is not None
    return made
