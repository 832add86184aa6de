"""Uploads by clients: begun, resumed by whoever asks for the same content, committed when the hash is right."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from tracecraft_bridge.artifacts.blobs import Blob, object_key
from tracecraft_bridge.artifacts.errors import BadUpload, ObjectDamaged, ObjectMissing, UploadRefused
from tracecraft_bridge.artifacts.store import PUT_HEADERS
from tracecraft_core import ids
from tracecraft_core.queries import Committed, PartUrls, Upload

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tracecraft_bridge.artifacts.blobs import Blobs
    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.database import Connection

MIB: Final = 1 << 20
ONE_PIECE: Final = 32 * MIB
"""What is larger goes in parts."""
PART: Final = 16 * MIB
MOST_PARTS: Final = 10_000
"""What S3 allows; larger files have larger parts."""
MOST_BYTES: Final = 5 << 40
"""What S3 allows."""
PARTS_AT_ONCE: Final = 100

_COLUMNS: Final = "id, sha256, size, object_key, multipart, part_size"
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Connections(Protocol):
    """A pool of connections."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """One of them, in autocommit, for as long as the block lasts."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A row of ``blob_upload``."""

    id: str
    sha256: str
    size: int
    object_key: str
    multipart: str | None
    part_size: int | None

    def part_count(self) -> int:
        """Number of its parts."""
        return -(-self.size // (self.part_size or self.size or 1))

    def part_length(self, number: int) -> int:
        """Bytes of a part: the last one has the rest."""
        assert self.part_size is not None
        return min(self.part_size, self.size - (number - 1) * self.part_size)


def part_size_of(size: int) -> int:
    """16 MiB, or as many whole MiB as it takes to get along with `MOST_PARTS`."""
    return max(PART, -(-size // (MOST_PARTS * MIB)) * MIB)


class Uploads:
    """The uploads of one project. Methods raise `UploadRefused`, `ObjectMissing` (of an upload), `StoreAway`."""

    def __init__(self, project: str, connections: Connections, store: ObjectStore, blobs: Blobs) -> None:
        self._project, self._connections, self._store, self._blobs = project, connections, store, blobs

    async def begin(self, sha256: str, size: int, media_type: str) -> Upload:
        """Where to put a content; nothing to do when the store has it."""
        _check(sha256, size)
        if await self._has(sha256):
            return Upload(exists=True)
        begun = await self._resumed(sha256, size) or await self._new(sha256, size, media_type)
        if begun.multipart is None:
            url = await self._store.put_url(begun.object_key, size)
            return Upload(exists=False, id=begun.id, url=url.url, expires=url.expires, headers=PUT_HEADERS)
        try:
            parts = await self._store.parts(begun.object_key, begun.multipart)
        except ObjectMissing:
            return await self._completed(begun)
        done = [p.number for p in parts if p.number <= begun.part_count() and p.size == begun.part_length(p.number)]
        return Upload(exists=False, id=begun.id, part_size=begun.part_size, done=sorted(done))

    async def part_urls(self, id: str, numbers: list[int]) -> PartUrls:
        """Where to put some parts."""
        begun = await self.find(id)
        if begun.multipart is None:
            raise UploadRefused(f"upload {id} is in one piece", "PUT the file to its url")
        count = begun.part_count()
        if not 1 <= len(numbers) <= PARTS_AT_ONCE or not all(1 <= number <= count for number in numbers):
            raise BadUpload(f"parts {numbers[:5]}", f"ask for 1 to {PARTS_AT_ONCE} numbers from 1 to {count}")
        sizes = {number: begun.part_length(number) for number in numbers}
        urls = await self._store.part_urls(begun.object_key, begun.multipart, sizes)
        return PartUrls(
            urls={str(number): url.url for number, url in urls.items()},
            expires=min(url.expires for url in urls.values()),
        )

    async def commit(self, id: str) -> Committed:
        """Read it back; a right hash makes it a blob, a wrong one removes it. Holds no connection meanwhile."""
        begun = await self.find(id)
        if begun.multipart is not None:
            await self._complete(begun, begun.multipart)
        try:
            found, size = await self._store.hash(begun.object_key)
        except ObjectMissing:
            raise UploadRefused("nothing was put there yet", "PUT the file first") from None
        except ObjectDamaged as error:
            await self._remove(begun)
            raise UploadRefused(f"what was put is damaged: {error.problem}", "it was removed; put it again") from None
        if (found, size) != (begun.sha256, begun.size):
            await self._remove(begun)
            raise UploadRefused(
                f"what was put has {size:,} bytes and hash {found}; announced: {begun.size:,} and {begun.sha256}",
                "it was removed; put it again",
            )
        async with self._connections.connection() as connection, connection.transaction():
            blob = await self._blobs.add(connection, Blob(begun.sha256, begun.size, begun.object_key))
            await connection.execute("DELETE FROM blob_upload WHERE id = %s", (id,))
        return Committed(sha256=blob.sha256, size=blob.size)

    async def find(self, id: str) -> Begun:
        """An upload of this project that is under way. Raises `ObjectMissing`."""
        begun = await self._row(
            f"SELECT {_COLUMNS} FROM blob_upload WHERE id = %s AND project = %s", (id, self._project)
        )
        if begun is None:
            raise ObjectMissing(id)
        return begun

    async def _has(self, sha256: str) -> bool:
        """No connection is held while the store is asked: it may take its time."""
        async with self._connections.connection() as connection:
            blob = await self._blobs.want(connection, sha256)
        if blob is None or await self._blobs.is_there(blob):
            return blob is not None
        async with self._connections.connection() as connection:
            await self._blobs.forget(connection, blob)
        return False

    async def _resumed(self, sha256: str, size: int) -> Begun | None:
        return await self._row(
            "UPDATE blob_upload SET asked = now() WHERE id = (SELECT id FROM blob_upload "
            "WHERE project = %s AND sha256 = %s AND size = %s ORDER BY asked DESC LIMIT 1) "
            f"RETURNING {_COLUMNS}",
            (self._project, sha256, size),
        )

    async def _new(self, sha256: str, size: int, media_type: str) -> Begun:
        id = ids.fresh()
        key = object_key(sha256, id)
        multipart = await self._store.begin_parts(key, media_type) if size > ONE_PIECE else None
        begun = await self._row(
            "INSERT INTO blob_upload (project, id, sha256, size, object_key, multipart, part_size) "
            f"VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
            (self._project, id, sha256, size, key, multipart, part_size_of(size) if multipart else None),
        )
        assert begun is not None
        return begun

    async def _completed(self, begun: Begun) -> Upload:
        """All its parts were put together, but the commit did not end: go on with that, unless the store lost it."""
        if await self._store.size(begun.object_key) == begun.size:
            numbers = list(range(1, begun.part_count() + 1))
            return Upload(exists=False, id=begun.id, part_size=begun.part_size, done=numbers)
        await self._execute("DELETE FROM blob_upload WHERE id = %s", (begun.id,))
        raise UploadRefused("the store has lost the parts of this upload", "put it again")

    async def _complete(self, begun: Begun, multipart: str) -> None:
        try:
            parts = await self._store.parts(begun.object_key, multipart)
        except ObjectMissing:  # an earlier commit came that far
            return
        sizes = {part.number: part.size for part in parts}
        open_ = [n for n in range(1, begun.part_count() + 1) if sizes.get(n) != begun.part_length(n)]
        if open_:
            raise UploadRefused(f"{len(open_)} parts are not there yet, the first is {open_[0]}", "PUT them first")
        await self._store.complete(begun.object_key, multipart, parts)

    async def _remove(self, begun: Begun) -> None:
        """An upload in one piece stays open: its URL is good until it expires, and what it brings must be found."""
        await self._store.delete([begun.object_key])
        if begun.multipart is not None:
            await self._execute("DELETE FROM blob_upload WHERE id = %s", (begun.id,))

    async def _execute(self, sql: str, values: tuple[object, ...]) -> None:
        async with self._connections.connection() as connection:
            await connection.execute(sql, values)

    async def _row(self, sql: str, values: tuple[object, ...]) -> Begun | None:
        async with self._connections.connection() as connection:
            row = await (await connection.execute(sql, values)).fetchone()
        return None if row is None else Begun(*row)


class Commits:
    """Commits under way: asked again while the file is still being read, the second waits for the first."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[Committed]] = {}

    async def run(self, uploads: Uploads, id: str) -> Committed:
        """`Uploads.commit`, once at a time for each upload."""
        task = self._under_way.get(id)
        if task is None:
            task = asyncio.create_task(uploads.commit(id))
            self._under_way[id] = task
            task.add_done_callback(lambda _: self._under_way.pop(id, None))
        return await asyncio.shield(task)


def _check(sha256: str, size: int) -> None:
    if not _HASH.fullmatch(sha256):
        raise BadUpload(f"sha256 is {sha256[:80]!r}", "expected 64 hexadecimal digits in lower case")
    if not 0 <= size <= MOST_BYTES:
        raise BadUpload(f"size is {size}", f"expected 0 to {MOST_BYTES:,} bytes")
