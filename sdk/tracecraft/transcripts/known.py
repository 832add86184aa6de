"""What the log has of a session's run, when the checkpoint cannot say it: after a crash, or when it is lost."""

from __future__ import annotations

import asyncio  # commands import this module when they run
from typing import TYPE_CHECKING, Final

from tracecraft.transcripts.scribe import Known
from tracecraft_core import subjects
from tracecraft_core.errors import BridgeAway, NotFound

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.transcripts.checkpoint import Had
    from tracecraft_core.queries import StepRow

MIRRORED_S: Final = 10.0
"""Seconds in which the bridge has to have what the log has."""
LOOK_S: Final = 0.2
DELIVERED_S: Final = 30.0
"""Seconds that the delivery of what one dead process has left may take."""


class NotYet(Exception):
    """It cannot be known now; the text says why."""


async def recorded(session: AsyncSession, run: str) -> Known:
    """The steps that the log has of a run, and what it counts. Raises `NotYet`, and what the bus raises."""
    await _deliver(session, run)
    last = await session.context.bus.leader_get(subjects.LOG, f"{subjects.ROOT}.{session.project}.run.{run}.>")
    if last is None and not await _forgetful(session):
        return Known()
    try:
        if last is not None:
            await _mirrored(session, last.seq)
        return await _ask(session, run)
    except BridgeAway as away:
        raise NotYet(f"only the bridge knows what was recorded before: {away}") from None


async def _deliver(session: AsyncSession, run: str) -> None:
    """What a dead process has left of this run goes to the log first."""
    from tracecraft.recording import spool, wires
    from tracecraft.recording.takeover import deliver_folder

    folders = list(spool.folders(None, session.project, run))
    if not folders:
        return
    wire = wires.take(session.settings)
    try:
        await wire.up()
        for folder in folders:
            taken = await deliver_folder(wire, folder, DELIVERED_S, to=session.settings)
            if taken is not None and taken.problem and not taken.left_uploads:
                raise NotYet(f"what was recorded before lies in {folder}: {taken.problem}")
    finally:
        wires.give_back(session.settings)


async def _forgetful(session: AsyncSession) -> bool:
    """Whether the log does not have all any more that was ever written."""
    info = await session.context.bus.api(f"STREAM.INFO.{subjects.LOG}")
    return int(info["state"]["first_seq"]) > 1


async def _mirrored(session: AsyncSession, seq: int) -> None:
    """Wait until the bridge has an entry of the log."""
    from tracecraft.queries import ask
    from tracecraft_core.queries import EntriesPage, EntriesQuestion

    question = EntriesQuestion(first_seq=seq, last_seq=seq, limit=1)
    until = asyncio.get_running_loop().time() + MIRRORED_S
    while not (await ask(session.context, "log.entries", question, EntriesPage)).entries:
        if asyncio.get_running_loop().time() > until:
            raise NotYet("the bridge has not caught up with the log")
        await asyncio.sleep(LOOK_S)


async def _ask(session: AsyncSession, run: str) -> Known:
    known = Known()
    try:
        async for row in session.runs.steps(run):
            known.steps[row.step] = _had(row)
        costs = await session.runs.costs("model", run=run)
    except NotFound:
        return Known()
    for one in costs.rows:
        tokens = one.tokens
        spent = (
            tokens.input,
            tokens.cache_read,
            tokens.cache_write,
            tokens.output + tokens.reasoning,
            tokens.reasoning,
        )
        known.spent[one.key or ""] = [*map(float, spent), one.cost or 0.0]
    return known


def _had(row: StepRow) -> Had:
    if row.status in ("open", "lost"):
        return "open"
    return "ended" if row.tokens is None else "paid"
