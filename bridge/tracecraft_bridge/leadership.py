"""One bridge mirrors, the others stand by: whoever holds an advisory lock of the database is active.

The lock belongs to the session of the connection that writes, so a bridge that lost its connection cannot write with a
lock that someone else has taken meanwhile; the checkpoint is a second fence (`writer`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection

LOCK: Final = 0x7463_6272
"""Key of the advisory lock of the active bridge (``tcbr``)."""

ASK_AGAIN_S: Final = 0.25
"""Seconds between two attempts of a standby."""


async def try_lead(connection: Connection) -> bool:
    """Whether this connection is now the one of the active bridge."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
    row = await cursor.fetchone()
    return bool(row and row[0])


async def lead(connection: Connection) -> None:
    """Wait until this connection is the one of the active bridge."""
    while True:
        if await try_lead(connection):
            return
        await asyncio.sleep(ASK_AGAIN_S)
