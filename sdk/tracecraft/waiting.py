"""Waiting: for a task that can be claimed, for tasks to be done, for mail. One blocking call, woken by the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tracecraft import board as boards
from tracecraft import claims, leases
from tracecraft_core import names, tasks
from tracecraft_core.errors import (
    BodyTooLarge,
    Malformed,
    NotFound,
    NothingLeft,
    OwnerLost,
    Refused,
    TaskFailed,
    TaskHeld,
    TaskNotReady,
    TaskSettled,
    TracecraftError,
    UsageError,
    WaitTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tracecraft.board import Board
    from tracecraft.claims import Held, Task
    from tracecraft.context import Context
    from tracecraft.shared_board import SharedBoard


@dataclass(frozen=True, slots=True)
class WaitResult:
    """Why a wait ended."""

    reason: Literal["done", "message"]
    tasks: dict[str, Task] = field(default_factory=dict)
    """The tasks that are done, with their handoff notes, by id."""


async def claim_when_free(
    context: Context, task: str, ttl: int, wait: float, shared: SharedBoard | None = None
) -> Held:
    """Claim a task; while somebody holds it or a dependency is missing, wait up to ``wait`` seconds for a change."""
    async with _board(context, shared) as board:
        refusal = Refused(f"{task} is not free")

        async def attempt() -> Held:
            nonlocal refusal
            if not board.may_be_claimed(task):
                raise refusal
            try:
                return await claims.claim(context, task, ttl)
            except Refused as error:
                refusal = error
                raise

        try:  # the board may not have heard yet what stands in the way
            return await claims.claim(context, task, ttl)
        except (TaskHeld, TaskNotReady) as error:
            refusal = error
        return await _retry(board, attempt, wait, f"{task} to become free")


def _board(context: Context, shared: SharedBoard | None) -> contextlib.AbstractAsyncContextManager[Board]:
    return boards.watch(context, [">"]) if shared is None else shared.use()


async def claim_next(
    context: Context, pattern: str, ttl: int, wait: float | None, shared: SharedBoard | None = None
) -> Held:
    """Claim the first task that can be claimed among those that match, waiting up to ``wait`` seconds for one.

    Raises `NothingLeft` when no task that matches is left to do, `Refused` when what is left is held or waits for
    others (without ``wait``), `WaitTimeout`. A task whose record leaves no room for a claim, or cannot be understood,
    is passed over.
    """
    names.pattern(pattern)
    async with _board(context, shared) as board:

        async def attempt() -> Held:
            return await _claim_first(context, board, pattern, ttl, waiting=wait is not None)

        if wait is None:
            return await attempt()
        return await _retry(board, attempt, wait, f"a task of {pattern} to become free")


async def _claim_first(context: Context, board: Board, pattern: str, ttl: int, *, waiting: bool) -> Held:
    candidates = board.claimable(pattern)
    skipped: dict[str, TracecraftError] = {}
    while candidates:
        task = candidates.pop(0)
        try:
            return await claims.claim(context, task.id, ttl)
        except Refused:
            random.shuffle(candidates)  # others are at it too: do not follow them down the same list
        except (BodyTooLarge, Malformed) as error:
            skipped[task.id] = error
    raise _nothing(board, pattern, skipped, waiting=waiting)


def _nothing(board: Board, pattern: str, skipped: Mapping[str, TracecraftError], *, waiting: bool) -> Exception:
    matching = board.matching(pattern)
    unsettled = [task for task in matching if task.record.state not in tasks.SETTLED]
    if not unsettled and (matching or not waiting):
        settled = f"all {len(matching)} that match are settled" if matching else "none matches"
        return NothingLeft("task left to claim", pattern, settled)
    if not unsettled:
        return Refused(f"no task matches {pattern} yet")
    return Refused(f"nothing to claim in {pattern} right now: {'; '.join(_why_not(board, unsettled, skipped))}")


def _why_not(board: Board, unsettled: Sequence[Task], skipped: Mapping[str, TracecraftError]) -> list[str]:
    states = {task.id: task.record.state for task in board.tasks.values()}
    reasons = []
    for task in unsettled[:5]:
        missing = tasks.unmet(task.record, states)
        held = board.leases[task.id].owner if task.id in board.leases else task.record.owner or "somebody"
        if task.id in skipped:
            reasons.append(str(skipped[task.id]))
        elif missing:
            reasons.append(f"{task.id} waits for {tasks.awaited(missing, states) or ', '.join(missing)}")
        else:
            reasons.append(f"{task.id} is held by {held}")
    more = len(unsettled) - len(reasons)
    return reasons + ([f"and {more} more"] if more else [])


async def _retry(board: Board, attempt: Callable[[], Awaitable[Held]], wait: float, what: str) -> Held:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        board.changed.clear()
        try:
            return await attempt()
        except TaskSettled:
            raise
        except Refused as refusal:
            if not await board.next_change(deadline - loop.time()):
                raise WaitTimeout(f"{what} ({refusal})", wait) from None


async def wait_for(
    context: Context,
    wanted: Sequence[str],
    *,
    any_: bool = False,
    timeout: float | None = None,
    fail_on_lost: bool = False,
    mail: Callable[[], Awaitable[None]] | None = None,
) -> WaitResult:
    """Wait until all the tasks (with ``any_``: one of them) are done, or until ``mail`` returns.

    Without tasks it waits for mail alone.
    A pattern stands for all tasks that match when the wait begins, at least one. Raises `TaskFailed` as soon as a
    task failed or is blocked (with ``any_``: when all are), `OwnerLost` when ``fail_on_lost`` and a lease lapses (also
    when another agent has taken the task over, and even finished it, by the time we hear of it),
    `Malformed` for a task whose record cannot be understood, `WaitTimeout`,
    `UsageError` when there is nothing to wait for.
    """
    if not wanted:
        return await _wait_for_mail_only(mail, timeout)
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    async with contextlib.AsyncExitStack() as stack:
        board = await stack.enter_async_context(boards.watch(context, wanted))
        ids = _expand(board, wanted)
        arrival = asyncio.create_task(_wait_mail(mail, board)) if mail is not None else None
        if arrival is not None:
            stack.push_async_callback(boards.stop, arrival)
        while True:
            board.changed.clear()
            if fail_on_lost:
                _check_takeovers(board, ids)
            done = _verdict(board, ids, any_=any_)
            if done is not None:
                return WaitResult("done", done)
            if fail_on_lost:
                await _check_owners(context, board, ids)
            if arrival is not None and arrival.done():
                arrival.result()
                return WaitResult("message")
            left = None if deadline is None else max(0.0, deadline - loop.time())
            if not await board.next_change(left):
                raise WaitTimeout(_unfinished(board, ids), timeout or 0)


async def _wait_for_mail_only(mail: Callable[[], Awaitable[None]] | None, timeout: float | None) -> WaitResult:
    if mail is None:
        raise UsageError("nothing to wait for: name a task, for example S1.parse, or wait for a message")
    try:
        async with asyncio.timeout(timeout):
            await mail()
    except TimeoutError:
        raise WaitTimeout("a message", timeout or 0) from None
    return WaitResult("message")


async def _wait_mail(mail: Callable[[], Awaitable[None]], board: Board) -> None:
    try:
        await mail()
    finally:
        board.changed.set()


def _expand(board: Board, wanted: Sequence[str]) -> list[str]:
    ids: list[str] = []
    for item in wanted:
        if "*" in item or ">" in item:
            found = [task.id for task in board.matching(item)]
            if not found:
                raise NotFound("task", item, "nothing matches the pattern now")
            ids += found
        else:
            ids.append(item)
    return list(dict.fromkeys(ids))


def _verdict(board: Board, ids: Sequence[str], *, any_: bool) -> dict[str, Task] | None:
    for id_ in ids:
        if id_ in board.unreadable:
            raise board.unreadable[id_]
    known = {id_: board.tasks[id_] for id_ in ids if id_ in board.tasks}
    done = {id_: task for id_, task in known.items() if task.record.state == "done"}
    if len(done) == len(ids) or (any_ and done):
        return done
    hopeless = [task for task in known.values() if task.record.state in tasks.HOPELESS]
    if hopeless and (not any_ or len(hopeless) == len(ids)):
        first = hopeless[0]
        handoff = first.record.handoff
        raise TaskFailed(first.id, first.record.state, handoff.note if handoff else None)
    return None


def _check_takeovers(board: Board, ids: Sequence[str]) -> None:
    """Raise `OwnerLost` for a task that was taken over while we watched, whatever the thief has made of it since."""
    for id_ in ids:
        if id_ in board.takeovers:
            raise OwnerLost(id_, board.takeovers[id_].owner)


async def _check_owners(context: Context, board: Board, ids: Sequence[str]) -> None:
    """Raise `OwnerLost` for a task whose lease lapsed: while we watched, or before, with nobody taking it over.

    Tasks and leases are heard on two consumers, in no common order, so a suspicion is checked at the leader.
    """
    for id_ in ids:
        task = board.tasks.get(id_)
        silent = task is not None and task.record.state == "claimed" and id_ not in board.leases
        if not silent and id_ not in board.lapses:
            continue
        now, lease = await asyncio.gather(claims.read(context, id_), leases.read(context, id_))
        if now is None or now.record.state in tasks.SETTLED:
            continue
        if now.record.state == "claimed" and lease.lease is None:
            raise OwnerLost(id_, now.record.owner)
        if id_ in board.lapses and now.record.nonce != board.lapses[id_].nonce:
            raise OwnerLost(id_, board.lapses[id_].owner)


def _unfinished(board: Board, ids: Sequence[str]) -> str:
    shown = [f"{id_} ({board.tasks[id_].record.state if id_ in board.tasks else 'unknown'})" for id_ in ids]
    waiting = [text for text in shown if not text.endswith("(done)")]
    return ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
