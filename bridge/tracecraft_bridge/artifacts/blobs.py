"""What lies in the store, by content: table ``blob`` knows where each hash is."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from tracecraft_bridge.artifacts.errors import ObjectDamaged, ObjectMissing
from tracecraft_bridge.artifacts.store import MEDIA_TYPE
from tracecraft_core import ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from tracecraft_bridge.artifacts.store import ObjectStore, SignedUrl
    from tracecraft_bridge.database import Connection

_R = TypeVar("_R")

_AT_ONCE: Final = 8
"""Objects asked for at the same time."""

_DOUBTED: Final = "'-infinity'"
"""``verified`` of a content that was found damaged since."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A content that lies in the store."""

    sha256: str
    size: int
    object_key: str


def object_key(sha256: str, upload: str) -> str:
    """Where an upload goes. Two of the same content never meet: one cannot spoil or delete what the other put."""
    return f"sha256/{sha256[:2]}/{sha256}.{upload}"


class Blobs:
    """Contents by hash. Methods raise `StoreAway`, `ObjectMissing`, `ObjectDamaged` and `psycopg.Error`.

    One that was found damaged keeps its row, and is not relied upon when the same content is put again (`doubt`).
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, connection: Connection, source: bytes | Path, media_type: str = MEDIA_TYPE) -> Blob:
        """Keep a content, once; it must be referenced within the grace (`sweep`)."""
        sha256, size = await asyncio.to_thread(_measure, source)
        known = await self.keep(connection, sha256)
        if known is not None:
            return known
        mine = Blob(sha256, size, object_key(sha256, ids.fresh()))
        await self._store.put(mine.object_key, source, media_type)
        return await self.add(connection, mine)

    async def add(self, connection: Connection, blob: Blob) -> Blob:
        """Note a content whose hash was seen to be right; another that was first stays, unless it was found damaged."""
        cursor = await connection.execute(
            f"WITH old AS (SELECT object_key FROM blob WHERE sha256 = %s AND verified = {_DOUBTED}) "
            "INSERT INTO blob (sha256, size, object_key) VALUES (%s, %s, %s) "
            "ON CONFLICT (sha256) DO UPDATE SET wanted = now(), "
            f"object_key = CASE WHEN blob.verified = {_DOUBTED} THEN excluded.object_key ELSE blob.object_key END, "
            f"verified = CASE WHEN blob.verified = {_DOUBTED} THEN now() ELSE blob.verified END "
            "RETURNING sha256, size, object_key, (SELECT object_key FROM old)",
            (blob.sha256, blob.sha256, blob.size, blob.object_key),
        )
        row = await cursor.fetchone()
        assert row is not None
        stays = Blob(*row[:3])
        over = {blob.object_key, row[3]} - {stays.object_key, None}
        await self._store.delete(sorted(over))
        return stays

    async def doubt(self, connection: Connection, blob: Blob) -> None:
        """Note that it was found damaged: who puts this content next is to upload it."""
        await connection.execute(f"UPDATE blob SET verified = {_DOUBTED} WHERE object_key = %s", (blob.object_key,))

    async def keep(self, connection: Connection, sha256: str) -> Blob | None:
        """The blob, kept for another grace; ``None`` when there is none. One that the store has lost is forgotten."""
        blob = await self.want(connection, sha256)
        if blob is None or await self.is_there(blob):
            return blob
        await self.forget(connection, blob)
        return None

    async def want(self, connection: Connection, sha256: str) -> Blob | None:
        """The blob, kept for another grace, unless it was found damaged; the store is not asked."""
        cursor = await connection.execute(
            f"UPDATE blob SET wanted = now() WHERE sha256 = %s AND verified <> {_DOUBTED} "
            "RETURNING sha256, size, object_key",
            (sha256,),
        )
        row = await cursor.fetchone()
        return None if row is None else Blob(*row)

    async def is_there(self, blob: Blob) -> bool:
        """Whether the store has it, with as many bytes."""
        return await self._store.size(blob.object_key) == blob.size

    async def forget(self, connection: Connection, blob: Blob) -> None:
        """Note that the store has lost it."""
        await connection.execute("DELETE FROM blob WHERE object_key = %s", (blob.object_key,))

    async def find(self, connection: Connection, sha256: str) -> Blob | None:
        """The blob of a hash; the store is not asked."""
        cursor = await connection.execute("SELECT sha256, size, object_key FROM blob WHERE sha256 = %s", (sha256,))
        row = await cursor.fetchone()
        return None if row is None else Blob(*row)

    async def get(self, connection: Connection, sha256: str) -> bytes:
        """The whole content; it must fit into memory."""
        return await self._store.get((await self._needed(connection, sha256)).object_key)

    async def range(self, connection: Connection, sha256: str, first: int, length: int) -> bytes:
        """Bytes from ``first`` on, fewer than ``length`` at the end."""
        return await self._store.range((await self._needed(connection, sha256)).object_key, first, length)

    async def url(
        self, connection: Connection, sha256: str, *, name: str | None = None, media_type: str | None = None
    ) -> SignedUrl:
        """Where to GET it."""
        blob = await self._needed(connection, sha256)
        return await self._store.get_url(blob.object_key, name=name, media_type=media_type)

    async def missing(self, connection: Connection, hashes: Collection[str]) -> list[str]:
        """Those of which the store has nothing, or not as many bytes as there were."""
        known = await self._known(connection, hashes)
        sizes = await self._each(known, lambda blob: self._store.size(blob.object_key))
        lost = {blob.sha256 for blob, size in zip(known, sizes, strict=True) if size != blob.size}
        return sorted(lost | (set(hashes) - {blob.sha256 for blob in known}))

    async def damaged(self, connection: Connection, hashes: Collection[str]) -> list[str]:
        """Those whose content, read again, has another hash or cannot be read; what is missing is not among them."""
        known = await self._known(connection, hashes)
        found = await self._each(known, self._hash)
        pairs = zip(known, found, strict=True)
        wrong = [blob for blob, sha256 in pairs if sha256 not in {blob.sha256, None}]
        for blob in wrong:
            await self.doubt(connection, blob)
        return sorted(blob.sha256 for blob in wrong)

    async def _hash(self, blob: Blob) -> str | None:
        try:
            return (await self._store.hash(blob.object_key))[0]
        except ObjectMissing:
            return None
        except ObjectDamaged:
            return ""

    async def _known(self, connection: Connection, hashes: Collection[str]) -> list[Blob]:
        cursor = await connection.execute(
            "SELECT sha256, size, object_key FROM blob WHERE sha256 = ANY(%s)", (list(hashes),)
        )
        return [Blob(*row) for row in await cursor.fetchall()]

    async def _each(self, blobs: list[Blob], ask: Callable[[Blob], Awaitable[_R]]) -> list[_R]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(blob: Blob) -> _R:
            async with limit:
                return await ask(blob)

        return list(await asyncio.gather(*(one(blob) for blob in blobs)))

    async def _needed(self, connection: Connection, sha256: str) -> Blob:
        blob = await self.find(connection, sha256)
        if blob is None:
            raise ObjectMissing(sha256)
        return blob


def _measure(source: bytes | Path) -> tuple[str, int]:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
