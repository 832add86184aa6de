"""A content of the artifact store as a local file, with flat memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.artifacts.errors import ObjectMissing

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_bridge.artifacts.blobs import Blobs
    from tracecraft_bridge.database import Connection

PIECE: Final = 8 * 1024 * 1024
"""Bytes asked for at a time."""


async def fetch(connection: Connection, blobs: Blobs, sha256: str, path: Path) -> None:
    """Write a content to a file; what it is is for the caller to check. Raises `ObjectMissing` and `StoreAway`."""
    blob = await blobs.find(connection, sha256)
    if blob is None:
        raise ObjectMissing(sha256)
    with path.open("wb") as file:
        for first in range(0, blob.size, PIECE):
            data = await blobs.range(connection, sha256, first, min(PIECE, blob.size - first))
            await asyncio.to_thread(file.write, data)
