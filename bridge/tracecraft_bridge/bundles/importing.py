"""Takes a bundle in: its entries become an epoch of their own, and go through the same projections as the log's."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.bundles.fetching import fetch
from tracecraft_bridge.bundles.making import note
from tracecraft_bridge.bundles.spans import IMPORTED
from tracecraft_bridge.copy_format import LogMessage
from tracecraft_bridge.database import connect
from tracecraft_bridge.import_entries import NotWhole, import_entries
from tracecraft_core.bundle.reader import BundleReader
from tracecraft_core.cut import raw_bytes
from tracecraft_core.errors import Damaged
from tracecraft_core.facts import microseconds
from tracecraft_core.queries import Imported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.bundles.making import Maker
    from tracecraft_bridge.database import Connection
    from tracecraft_core.bundle.layout import Manifest
    from tracecraft_core.queries import Entry

BATCH: Final = 2_000
"""Entries that are written at a time."""


class Conflict(Exception):
    """A bundle that cannot be taken in. Attribute: ``hint``."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class Importer:
    """Takes bundles in, each in one transaction over a connection of its own."""

    def __init__(self, dsn: str, store: ObjectStore, maker: Maker) -> None:
        self._dsn, self._blobs, self._maker = dsn, Blobs(store), maker

    async def run(self, project: str, sha256: str) -> Imported:
        """Take in a bundle that lies in the store; one that is here already changes nothing.

        Raises `Damaged`, `Conflict`, `ObjectMissing`, `StoreAway`, `psycopg.Error`.
        """
        with tempfile.TemporaryDirectory(prefix="tracecraft-import-") as folder:
            path = Path(folder) / "run.tcb"
            async with await connect(self._dsn, "import") as connection:
                await fetch(connection, self._blobs, sha256, path)
                reader = await asyncio.to_thread(_checked, path)
                with reader:
                    try:
                        return await self._take_in(connection, project, sha256, reader)
                    except NotWhole as error:
                        raise Conflict(str(error), "a rebuild takes minutes at most") from None

    async def _take_in(self, connection: Connection, project: str, sha256: str, reader: BundleReader) -> Imported:
        manifest = reader.manifest
        if manifest.project != project:
            raise Conflict(
                f"the bundle is of project {manifest.project}", f"import it there: 'runs import -p {manifest.project}'"
            )
        await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", ("import of a bundle",))
        new = await self._new(connection, manifest)
        if new:
            async with connection.transaction():
                epoch = await _begin(connection, manifest)
                entries, runs = reader.entries(), frozenset(manifest.runs)
                while batch := await asyncio.to_thread(lambda: [message(each) for each in islice(entries, BATCH)]):
                    await import_entries(connection, epoch, batch, runs)
                await note(connection, epoch, manifest, sha256, reader.size)
        return Imported(run=manifest.run, root=manifest.root, new=new, entries=manifest.entries)

    async def _new(self, connection: Connection, manifest: Manifest) -> bool:
        """Whether none of its runs is here. Raises `Conflict` when one is, with other content."""
        cursor = await connection.execute(
            "SELECT run FROM run WHERE project = %s AND run = ANY(%s)", (manifest.project, manifest.runs)
        )
        here = [row[0] for row in await cursor.fetchall()]
        if not here:
            return True
        if manifest.run not in here:
            raise Conflict(
                f"{', '.join(sorted(here)[:5])} of run {manifest.run} is here already, and {manifest.run} is not",
                "delete it first: it comes with the bundle",
            )
        mine = await self._maker.make(manifest.project, manifest.run)
        if mine is None or mine.root != manifest.root:
            raise Conflict(
                f"run {manifest.run} is here already, with other content",
                "it changed after one of the two was exported; delete it first if the bundle is the better one",
            )
        return False


def _checked(path: Path) -> BundleReader:
    reader = BundleReader.open(path)
    try:
        problems = reader.verify()
        if problems:
            raise Damaged("the bundle", "; ".join(problems[:5]))
    except BaseException:
        reader.close()
        raise
    return reader


async def _begin(connection: Connection, manifest: Manifest) -> int:
    cursor = await connection.execute(
        "INSERT INTO epoch (stream_epoch, first_seq, reason) VALUES (%s, %s, %s) RETURNING id",
        (f"import:{manifest.root}", manifest.first_seq, IMPORTED),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def message(entry: Entry) -> LogMessage:
    """An entry as the bridge would have read it from the log."""
    return LogMessage(
        subject=entry.subject.encode(),
        seq=entry.seq,
        time=microseconds(entry.time) * 1_000,
        headers=_headers(entry),
        body=_body(entry),
        reply=b"",
        pending=0,
    )


def _headers(entry: Entry) -> bytes:
    lines = list(_lines(entry))
    return "\r\n".join(["NATS/1.0", *lines, "", ""]).encode() if lines else b""


def _lines(entry: Entry) -> Iterator[str]:
    for name, value in entry.headers.items():
        for each in value if isinstance(value, list) else [value]:
            yield f"{name}: {each}"


def _body(entry: Entry) -> bytes:
    if entry.raw is not None:
        return raw_bytes(entry)
    return b"" if entry.body is None else msgspec.json.encode(entry.body)
