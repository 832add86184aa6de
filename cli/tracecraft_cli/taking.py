"""Taking tasks: one, several of which all or none are held in the end, or the next of a pattern."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecraft import claims, leases
from tracecraft_cli.output import note
from tracecraft_core import tasks
from tracecraft_core.bodies import Handoff
from tracecraft_core.errors import Refused, TaskHeld, TaskNotReady, TaskSettled, TracecraftError, WaitTimeout

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.claims import Held
    from tracecraft.context import Context


@dataclass(frozen=True, slots=True)
class Wish:
    """What to claim: ``tasks``, or the first that can be claimed of ``pattern``, or files."""

    tasks: tuple[str, ...]
    pattern: str | None
    ttl: int
    """Seconds of the lease."""
    wait: float | None
    """Seconds to wait while somebody else has it."""
    globs: tuple[str, ...] = ()
    """Files to reserve instead."""


async def take(session: AsyncSession, wish: Wish) -> list[Held]:
    """Claim what is wished for. Raises `Refused` and its kind, `NotFound`, `WaitTimeout`; then nothing new is held."""
    try:
        return await _take(session.context, wish)
    except TaskHeld as refusal:
        if refusal.owner == session.context.holder.agent:
            note(f"tracecraft: {refusal.task} is held in another session of {refusal.owner}, which is not yours")
        raise


async def _take(context: Context, wish: Wish) -> list[Held]:
    if wish.globs:
        from tracecraft import reserving

        if wish.wait:
            return await reserving.take_when_free(context, wish.globs, wish.ttl, wish.wait)
        return await reserving.take(context, wish.globs, wish.ttl)
    if wish.pattern is not None:
        from tracecraft import waiting

        return [await waiting.claim_next(context, wish.pattern, wish.ttl, wish.wait)]
    if len(wish.tasks) > 1:
        return await _take_together(context, wish)
    try:
        return [await claims.claim(context, wish.tasks[0], wish.ttl)]
    except (TaskHeld, TaskNotReady):
        if not wish.wait:
            raise
    from tracecraft import waiting

    return [await waiting.claim_when_free(context, wish.tasks[0], wish.ttl, wish.wait)]


async def _take_together(context: Context, wish: Wish) -> list[Held]:
    if not wish.wait:
        return await _take_all(context, wish)
    from tracecraft import board as boards

    loop = asyncio.get_running_loop()
    deadline = loop.time() + wish.wait
    async with boards.watch(context, [">"]) as board:
        while True:
            board.changed.clear()
            try:
                return await _take_all(context, wish)
            except TaskSettled:
                raise
            except Refused as refusal:
                if not await board.next_change(max(0.0, deadline - loop.time())):
                    what = f"{' and '.join(wish.tasks)} to become free together ({refusal})"
                    raise WaitTimeout(what, wish.wait) from None


async def _take_all(context: Context, wish: Wish) -> list[Held]:
    """Claim all, in the order of their names so that two who want the same never wait for each other; or none."""
    await asyncio.gather(*(_check_free(context, task) for task in wish.tasks))
    taken: list[Held] = []
    try:
        for task in sorted(set(wish.tasks)):
            taken.append(await claims.claim(context, task, wish.ttl))
    except BaseException:
        await give_back(context, [held for held in taken if not held.again])
        raise
    order = {task: place for place, task in enumerate(wish.tasks)}
    return sorted(taken, key=lambda held: order[held.task])


async def _check_free(context: Context, task: str) -> None:
    """Refuse before anything is written, when it is plain.

    A claim that is given back leaves its traces: a task that nobody planned, and a change that wakes who waits.
    """
    found, lease = await asyncio.gather(claims.read(context, task), leases.read(context, task))
    owner = lease.lease
    if owner is not None and (owner.owner, owner.session) != (context.holder.agent, context.holder.session):
        raise TaskHeld(task, owner.owner, found.time if found else None, lease.expires_in)
    if found is not None:
        tasks.check_claimable(task, found.record, await claims.states(context, found.record.after))


async def give_back(context: Context, taken: list[Held], note: str | None = None) -> None:
    """Release tasks; one that cannot be released just lapses."""
    for held in taken:
        try:
            await claims.release(context, held, Handoff(note=note) if note else None)
        except TracecraftError:
            continue
