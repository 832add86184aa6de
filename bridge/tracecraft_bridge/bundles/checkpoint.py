"""The state at a sequence, whether the log was mirrored here or came in a bundle."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tracecraft_bridge.bundles.fetching import fetch
from tracecraft_bridge.bundles.spans import IMPORTED
from tracecraft_bridge.bundles.state import StateReader
from tracecraft_core import cut
from tracecraft_core.bundle.reader import BundleReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.artifacts.blobs import Blobs
    from tracecraft_bridge.bundles.spans import Epoch
    from tracecraft_bridge.database import Connection
    from tracecraft_core.queries import State


async def state(
    connection: Connection, blobs: Blobs, project: str, epoch: Epoch, seq: int, runs: Sequence[str] | None
) -> State:
    """The state of a project in one life of the log; with ``runs`` only their steps count.

    Raises `UsageError` for a sequence outside of a bundle that was imported, `ObjectMissing` and `StoreAway`.
    """
    if not epoch.imported:
        return await StateReader(connection, project, epoch, seq, runs).read()
    with tempfile.TemporaryDirectory(prefix="tracecraft-state-") as folder:
        path = Path(folder) / "run.tcb"
        await fetch(connection, blobs, await _bundle(connection, project, epoch), path)
        return await asyncio.to_thread(_folded, path, seq, runs)


def _folded(path: Path, seq: int, runs: Sequence[str] | None) -> State:
    with BundleReader.open(path) as reader:
        cut.check_range(seq, reader.manifest.first_seq - 1, reader.manifest.last_seq)
        return cut.fold(reader.checkpoint, reader.entries(0, seq), seq, runs=runs)


async def _bundle(connection: Connection, project: str, epoch: Epoch) -> str:
    """The hash of the bundle that an epoch was imported from."""
    root = epoch.stream_epoch.removeprefix("import:")
    cursor = await connection.execute(
        "SELECT sha256 FROM bundle WHERE project = %s AND root = %s LIMIT 1", (project, root)
    )
    row = await cursor.fetchone()
    return str(row[0]) if row is not None else f"bundle of {IMPORTED} epoch {epoch.id}"
