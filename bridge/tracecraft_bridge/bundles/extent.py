"""What belongs to a run: the runs inside of it, and the log from the first to the last thing that any of them did.

A run's events are not all that it does: its messages, memory writes and claims name it in the header ``Tc-Run``. Of a
coding agent's session they may come before its first event, which is written when its transcript is read; so the run
begins with the first of them, however old that is. It is the same session: a run that was deleted does not come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_bridge.bundles import spans
from tracecraft_bridge.bundles.rows import MEANWHILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_bridge.bundles.spans import Epoch
    from tracecraft_bridge.database import Connection

LAST: Final = 2**63 - 1
"""Highest sequence that there can be."""

_RUNS: Final = """
    WITH RECURSIVE inside AS (
        SELECT run, epoch, first_seq, last_seq, status FROM run WHERE project = %(project)s AND run = %(run)s
        UNION SELECT r.run, r.epoch, r.first_seq, r.last_seq, r.status
        FROM run r JOIN inside i ON r.parent = i.run AND r.epoch = i.epoch
        WHERE r.project = %(project)s AND NOT %(alone)s
    )
    SELECT run, epoch, first_seq, last_seq, status FROM inside ORDER BY run <> %(run)s, first_seq, run
"""
_DID: Final = """
    SELECT min(x.seq), max(x.seq)
    FROM unnest(%(epochs)s::integer[], %(lows)s::bigint[], %(highs)s::bigint[]) AS s (epoch, low, high)
    CROSS JOIN unnest(%(runs)s::text[]) AS i (run)
    CROSS JOIN LATERAL (
        SELECT l.seq FROM log l WHERE l.project = %(project)s AND l.run = i.run AND l.epoch = s.epoch
        AND l.seq BETWEEN s.low AND s.high AND l.family = ANY(%(families)s) OFFSET 0
    ) x
"""
"""``OFFSET 0``: to find the smallest, PostgreSQL would read the log from its beginning until it meets the run, if ever;
like this it looks each run up in ``log_run_idx``."""


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


async def extent(connection: Connection, project: str, run: str, *, alone: bool = False) -> Extent | None:
    """The extent of a run, or of it without the runs inside (``alone``); ``None`` when there is no such run.

    It ends with the last event, because a run that has ended says so last, and its bundle must not become outdated by
    whoever still names it. One that goes on reaches to the newest thing that it did.
    """
    cursor = await connection.execute(_RUNS, {"project": project, "run": run, "alone": alone})
    rows = await cursor.fetchall()
    if not rows:
        return None
    epoch = await spans.load(connection, rows[0][1])
    assert epoch is not None
    runs = tuple(row[0] for row in rows)
    first, last = min(row[2] for row in rows), max(row[3] for row in rows)
    beyond = [(0, min(first - 1, last))]
    if rows[0][4] == "running":
        beyond.append((last + 1, LAST))
    did = await _did(connection, project, runs, epoch, beyond)
    return Extent(project, runs, epoch, min([first, *did]), max([last, *did]))


async def _did(
    connection: Connection, project: str, runs: Sequence[str], epoch: Epoch, ranges: Sequence[tuple[int, int]]
) -> list[int]:
    """Of what runs did in ranges of the log besides their events, the first and the last; or nothing."""
    places = [
        (id_, max(first, low), last if high is None else min(last, high))
        for first, last in ranges
        for id_, low, high in epoch.spans
    ]
    cursor = await connection.execute(
        _DID,
        {
            "epochs": [id_ for id_, _, _ in places],
            "lows": [low for _, low, _ in places],
            "highs": [high for _, _, high in places],
            "runs": list(runs),
            "project": project,
            "families": MEANWHILE,
        },
    )
    row = await cursor.fetchone()
    return [] if row is None else [seq for seq in row if seq is not None]
