"""What belongs to a run: the runs inside of it, and the log from the first to the last entry of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecraft_bridge.bundles import spans

if TYPE_CHECKING:
    from tracecraft_bridge.bundles.spans import Epoch
    from tracecraft_bridge.database import Connection


@dataclass(frozen=True, slots=True)
class Extent:
    """A run with all that is inside of it."""

    project: str
    runs: tuple[str, ...]
    """The run, then those inside of it, in the order in which they began."""
    epoch: Epoch
    first_seq: int
    last_seq: int

    @property
    def run(self) -> str:
        """The run itself."""
        return self.runs[0]


async def extent(connection: Connection, project: str, run: str) -> Extent | None:
    """The extent of a run; ``None`` when there is no such run."""
    cursor = await connection.execute(
        """
        WITH RECURSIVE inside AS (
            SELECT run, epoch, first_seq, last_seq FROM run WHERE project = %(project)s AND run = %(run)s
            UNION SELECT r.run, r.epoch, r.first_seq, r.last_seq
            FROM run r JOIN inside i ON r.parent = i.run AND r.epoch = i.epoch WHERE r.project = %(project)s
        )
        SELECT run, epoch, first_seq, last_seq FROM inside ORDER BY run <> %(run)s, first_seq, run
        """,
        {"project": project, "run": run},
    )
    rows = await cursor.fetchall()
    if not rows:
        return None
    epoch = await spans.load(connection, rows[0][1])
    assert epoch is not None
    first, last = min(row[2] for row in rows), max(row[3] for row in rows)
    return Extent(project, tuple(row[0] for row in rows), epoch, first, last)
