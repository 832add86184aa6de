"""What PostgreSQL refuses of a batch is found by halving it, so that no entry can hold up the ones behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projector import Projector

REFUSED: Final = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, psycopg.IntegrityError)
"""What PostgreSQL raises over the content of a row."""


def reason_of(error: psycopg.Error) -> str:
    """Why it refused."""
    return error.diag.message_primary or type(error).__name__


async def apply_carefully(
    connection: Connection,
    projector: Projector,
    entries: Sequence[Entry],
    then: Callable[[], Awaitable[None]],
) -> None:
    """Apply entries in a transaction of their own and do what follows in it; what is refused is noted in its run."""
    try:
        async with connection.transaction():
            await projector.apply(connection, entries)
            await then()
        return
    except REFUSED:
        projector.forget()
    except BaseException:
        projector.forget()
        raise
    try:
        async with connection.transaction():
            await apply_in_halves(connection, projector, entries)
            await then()
    except BaseException:
        projector.forget()
        raise


async def apply_in_halves(connection: Connection, projector: Projector, entries: Sequence[Entry]) -> None:
    """Apply entries within a transaction, leaving out the ones that are refused."""
    try:
        async with connection.transaction():
            await projector.apply(connection, entries)
        return
    except REFUSED as error:
        projector.forget()
        if len(entries) == 1:
            await projector.refuse(connection, entries[0], f"PostgreSQL refused it: {reason_of(error)}")
            return
    middle = len(entries) // 2
    await apply_in_halves(connection, projector, entries[:middle])
    await apply_in_halves(connection, projector, entries[middle:])
