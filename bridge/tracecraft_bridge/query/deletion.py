"""``runs.delete``: says in the log that runs are not needed any more; the projections forget them because of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_bridge.query import runs
from tracecraft_bridge.query.refusal import away, bad_question
from tracecraft_core import bodies, names, subjects
from tracecraft_core.errors import InvalidName, WaitTimeout
from tracecraft_core.queries import Deleted
from tracecraft_core.run_events import RunDeleted

if TYPE_CHECKING:
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import DeleteQuestion

PROJECTED_S: Final = 20.0
"""Seconds that the projections may take to follow."""
LONGEST: Final = 4_000
"""Characters of a reason that are kept."""

_INSIDE: Final = """
    WITH RECURSIVE inside AS (
        SELECT run, epoch, last_seq, 0 AS depth FROM run WHERE project = %(project)s AND run = %(run)s
        UNION SELECT r.run, r.epoch, r.last_seq, i.depth + 1 FROM run r JOIN inside i ON r.parent = i.run
        WHERE r.project = %(project)s AND i.depth < 100
    )
    SELECT run, max(epoch), max(last_seq) FROM inside GROUP BY run ORDER BY min(depth), run
"""
"""The run and those inside of it; runs that name each other as parents end somewhere too."""


async def runs_delete(asked: Asked, question: DeleteQuestion) -> Deleted:
    """``runs.delete``; answers when the runs are gone. Their files go with the next sweep, once the grace is over."""
    try:
        by = names.agent(question.by)
    except InvalidName as error:
        raise bad_question(str(error)) from None
    async with asked.pool.snapshot() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
        cursor = await connection.execute(_INSIDE, {"project": asked.project, "run": run})
        inside = await cursor.fetchall()
    body = bodies.encode(RunDeleted(by=by, reason=question.reason and question.reason[:LONGEST]))
    for each, epoch, seq in reversed(inside):  # the run itself last: while it is there, the rest can be deleted again
        subject = subjects.run_event(asked.project, each, subjects.RESERVED_PROJECT, "deleted")
        await asked.bus.publish(subject, body, msg_id=f"deleted={asked.project}={each}={epoch}={seq}")
    try:
        await asked.progress.caught_up(asked.bus, PROJECTED_S)
    except WaitTimeout:
        raise away("the deletion is in the log and not carried out yet", "the bridge is behind; look soon") from None
    return Deleted(runs=[each for each, _, _ in inside])
