"""Reserving files: of any agents that want overlapping globs at one moment, exactly one gets them.

Claim first, then look: an agent writes its claim and then reads the claims of all others. Of two that overlap, the one
whose claim was written later sees the other's, and gives its own back; the earlier one may see the later one's or not,
and stays. docs/explanation/claims.md says why that holds also when one of them is paused, and for several globs.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft import board as boards
from tracecraft import claims, leases
from tracecraft_core import bodies, globs, reservations, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.errors import (
    ClaimLost,
    FileReserved,
    Malformed,
    NotFound,
    RevisionConflict,
    TaskHeld,
    TracecraftError,
    WaitTimeout,
)
from tracecraft_core.reservations import Reservation, Reserved, is_ours

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tracecraft.board import Board
    from tracecraft.claims import Held
    from tracecraft.context import Context
    from tracecraft.shared_board import SharedBoard

GIVE_WAY_S: Final = 2.0
"""Seconds that somebody who came later, and will see so, may take to give a glob back."""
_LOOK_AGAIN_S: Final = 0.02
_AT_ONCE: Final = 128
"""Records that are read together."""


# -- looking --------------------------------------------------------------------------------------------------------


async def everything(context: Context) -> list[Reservation]:
    """What anybody holds, in the order in which it was reserved, as the leader knows it."""
    return await read(context, await leased(context))


def on_board(board: Board) -> list[Reservation]:
    """What is in force as far as a board has heard, in the order in which it was reserved."""
    found = []
    for task in list(board.tasks.values()):  # a copy: the loop may be at work in another thread
        lease = board.leases.get(task.id)
        if lease is None or task.record.state != "claimed" or lease.nonce != task.record.nonce:
            continue
        one = reservations.reservation(task.id, task.record, task.revision, task.time)
        if one is not None and reservations.is_reservation(task.id):
            found.append(one)
    return sorted(found, key=lambda one: (one.rank, one.glob))


async def holders(context: Context, path: str) -> list[Reservation]:
    """Who holds a path of the repository; only what may match it is read."""
    tasks = await leased(context)
    near = [task for task in tasks if (glob := reservations.glob_of(task)) is None or _matches(glob, path)]
    return [found for found in await read(context, near) if found.matches(path)]


def _matches(glob: str, path: str) -> bool:
    return globs.matches(globs.parse(glob), path)


async def leased(context: Context) -> set[str]:
    """The reservations that have a lease, or had one a minute ago: there are never many."""
    stream, subject = context.kv(subjects.LEASES, reservations.ALL)
    return {context.key(subjects.LEASES, name) for name in await context.bus.list_subjects(stream, subject)}


async def read(context: Context, tasks: Collection[str]) -> list[Reservation]:
    """Those of these reservations that are in force, in the order in which they were made."""
    names, found = sorted(tasks), list[Reservation | None]()
    for start in range(0, len(names), _AT_ONCE):
        found += await asyncio.gather(*(_one(context, task) for task in names[start : start + _AT_ONCE]))
    return sorted((one for one in found if one is not None), key=lambda one: (one.rank, one.glob))


async def _one(context: Context, task: str) -> Reservation | None:
    """A reservation that is in force; one whose record is not written yet will rank behind whoever asks."""
    with contextlib.suppress(Malformed):
        lease, found = await asyncio.gather(leases.read(context, task), claims.read(context, task))
        if lease.lease is None or found is None or found.record.state != "claimed":
            return None
        if found.record.nonce == lease.lease.nonce:
            return reservations.reservation(task, found.record, found.revision, found.time, lease.expires_in)
    return None


# -- taking ---------------------------------------------------------------------------------------------------------


async def take(context: Context, wanted: Sequence[str], ttl: int) -> list[Held]:
    """Reserve all of these globs, or none; those within what this agent and session holds are renewed.

    Raises `FileReserved`, and what `claims.claim` does; then nothing new is held.
    """
    wanted = list(dict.fromkeys(wanted))
    found = await everything(context)
    kept = await _renew_own(context, [one for one in found if is_ours(one, context.holder)], wanted, ttl)
    taken = await take_new(context, [glob for glob in wanted if glob not in kept], ttl, found)
    return list({held.task: held for held in [*kept.values(), *taken]}.values())


async def take_new(context: Context, wanted: Sequence[str], ttl: int, found: Iterable[Reservation]) -> list[Held]:
    """Claim each of these globs, or none; ``found`` is what anybody held just now. Raises as `take` does."""
    refusal = reservations.refusal(wanted, found, context.holder)
    if refusal is not None:
        raise refusal
    taken: list[Held] = []
    try:
        await _take_new(context, wanted, ttl, taken)
    except BaseException:
        await give_back(context, [held for held in taken if not held.again])
        raise
    return taken


async def adopt(context: Context, task: str, most: int) -> Held | None:
    """Keep from now on what another process of this session reserved, with a lease of at most so many seconds.

    Who claimed it may have been killed before it looked, so it is looked here. ``None`` for a request that is not
    complete yet: of a process that was killed in the middle of it, it shall lapse. Raises `FileReserved` when somebody
    who overlaps came earlier, and what `claims.hold` raises.
    """
    held = await claims.hold(context, task)
    own = reservations.reservation(task, held.record, held.fence, "")
    if own is None or own.also:
        return None
    await _check(context, held, [own.glob])
    held.ttl = min(held.ttl, most)
    await claims.renew(context, held)
    return held


async def _renew_own(context: Context, own: Iterable[Reservation], wanted: Sequence[str], ttl: int) -> dict[str, Held]:
    kept: dict[str, Held] = {}
    own = list(own)
    for glob in wanted:
        cover = reservations.covering(glob, own)
        if cover is None:
            continue
        # It lapsed just now, or whoever claimed it was killed before it looked: reserve it anew.
        with contextlib.suppress(ClaimLost, NotFound, FileReserved):
            held = await claims.hold(context, cover.task)
            await _check(context, held, [cover.glob])
            held.ttl, held.again = max(ttl, held.ttl), True
            await claims.renew(context, held)
            kept[glob] = held
    return kept


async def _take_new(context: Context, fresh: Sequence[str], ttl: int, taken: list[Held]) -> None:
    """Claim each glob; the first claim speaks for all until they have been written."""
    rest = list(fresh)
    while rest:
        glob, *rest = rest
        first = await _claim(context, Reserved(glob, also=rest), ttl)
        taken.append(first)
        if first.again:  # another command of this session has it, in a request of its own
            await _check(context, first, [glob])
            continue
        await _check(context, first, [glob, *rest])
        rank = first.fence
        for other in rest:
            held = await _claim_patiently(context, Reserved(other, rank=rank), ttl)
            taken.append(held)
            if held.again:
                await _check(context, held, [other])
        if rest:
            await _rewrite(context, first, Reserved(glob, rank=rank))
        break
    for held in taken:  # had one lapsed while we looked, others may have looked past it
        await claims.renew(context, held)


async def _claim(context: Context, reserved: Reserved, ttl: int) -> Held:
    definition = TaskRecord(title=reserved.glob, data=reservations.data_of(reserved), created_by=context.agent)
    try:
        return await claims.claim(context, reservations.task_of(reserved.glob), ttl, definition)
    except TaskHeld as held:
        glob = reserved.glob
        raise FileReserved(glob, glob, held.owner, held.since, held.expires_in, glob) from None


async def _claim_patiently(context: Context, reserved: Reserved, ttl: int) -> Held:
    """Claim a glob that is ours by rank: who has claimed it meanwhile came later, and gives it back."""
    deadline = asyncio.get_running_loop().time() + GIVE_WAY_S
    while True:
        try:
            return await _claim(context, reserved, ttl)
        except FileReserved:
            if asyncio.get_running_loop().time() >= deadline:
                raise  # it died in between, and its lease must lapse first
            await asyncio.sleep(_LOOK_AGAIN_S)


async def _check(context: Context, held: Held, wanted: Sequence[str]) -> None:
    """Raise `FileReserved` when somebody who overlaps came earlier.

    Looked at twice: a request that is being completed may move from its first record into several between two reads.
    """
    own = reservations.reservation(held.task, held.record, held.fence, "")
    assert own is not None
    for _ in range(2):
        tasks = await leased(context) - {held.task}
        refusal = reservations.refusal(wanted, await read(context, tasks), context.holder, own.rank)
        if refusal is not None:
            raise refusal
        if not tasks:
            return


async def _rewrite(context: Context, held: Held, reserved: Reserved) -> None:
    record = msgspec.structs.replace(held.record, data=reservations.data_of(reserved))
    stream, subject = context.kv(subjects.TASKS, held.task)
    try:
        held.fence = await context.bus.cas(stream, subject, bodies.encode(record), held.fence)
    except RevisionConflict:
        raise await claims.lost(context, held.task) from None
    held.record = record


async def take_when_free(
    context: Context, wanted: Sequence[str], ttl: int, wait: float, shared: SharedBoard | None = None
) -> list[Held]:
    """Reserve the globs, waiting up to ``wait`` seconds until they are free together. Raises `WaitTimeout`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    watching = boards.watch(context, [reservations.ALL]) if shared is None else shared.use()
    async with watching as board:
        while True:
            board.changed.clear()
            refusal: TracecraftError | None = reservations.refusal(wanted, on_board(board), context.holder)
            if refusal is None:
                try:
                    return await take(context, wanted, ttl)
                except (FileReserved, ClaimLost) as error:
                    refusal = error
            if not await board.next_change(max(0.0, deadline - loop.time())):
                raise WaitTimeout(f"{' and '.join(wanted)} to become free ({refusal})", wait)


async def give_back(context: Context, taken: Iterable[Held]) -> None:
    """Release reservations; one that cannot be released just lapses."""
    for held in taken:
        with contextlib.suppress(TracecraftError):
            await claims.release(context, held)
