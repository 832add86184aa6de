"""Entries of a bundle, as an epoch of their own: into the table ``log`` and the projections, like those of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_bridge.copy_format import COPY, NANOSECONDS, LogMessage, RowFormat, week_of
from tracecraft_bridge.partitions import Partitions
from tracecraft_bridge.projector import VERSION, Projector
from tracecraft_core import subjects
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.database import Connection


IMPORTED: Final = "imported"
"""Reason of the epoch of an imported bundle."""


class NotWhole(TracecraftError):
    """The projections are being made again just now; try later."""

    def __init__(self) -> None:
        super().__init__("the projections are being made again just now: try again later")


async def import_entries(
    connection: Connection, epoch: int, messages: Sequence[LogMessage], runs: frozenset[str] | None = None
) -> None:
    """Write entries of the epoch ``epoch`` (reason ``imported``), within the caller's transaction.

    With ``runs``, those of the bundle, a ``Tc-Run`` that names another one stays a header and is otherwise passed over.
    Which entries may come in at all is for the caller to check (`tracecraft_core.bundle.rules`). The mirror waits with
    its next commit until that transaction is through. Raises `NotWhole`, and `psycopg.Error` for what PostgreSQL
    refuses.
    """
    cursor = await connection.execute("SELECT version FROM projection FOR SHARE")
    row = await cursor.fetchone()
    if row is None or row[0] != VERSION:
        raise NotWhole
    await connection.execute(
        "WITH now AS (UPDATE checkpoint SET imports = imports + 1 WHERE stream = %s RETURNING epoch, seq) "
        "UPDATE epoch SET previous = now.epoch, imported_at = now.seq FROM now WHERE id = %s AND imported_at IS NULL",
        (subjects.LOG, epoch),
    )
    if not messages:
        return
    await Partitions(connection).ensure({week_of(message.time // NANOSECONDS) for message in messages})
    form, projector = RowFormat(epoch, runs), Projector()
    await projector.prepare(connection)
    rows = [form.row(message) for message in messages]
    async with connection.cursor() as writing, writing.copy(COPY) as copy:
        await copy.write(b"".join(row.line for row in rows))
    await projector.apply(connection, [row.entry for row in rows])
