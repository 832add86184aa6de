"""What the forms of ``tracecraft reserve`` do: reserve, release, list, check, and look at a commit under way."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from tracecraft import claims, reserving
from tracecraft_cli import git_facts, taking, task_view
from tracecraft_cli.output import emit, fail, note, table
from tracecraft_core import reservations
from tracecraft_core.errors import ClaimLost, FileReserved, NotFound
from tracecraft_core.reservations import is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft import AsyncSession
    from tracecraft.claims import Held
    from tracecraft_cli.held import Memo
    from tracecraft_cli.taking import Wish
    from tracecraft_core.reservations import Reservation

MOST_SHOWN: Final = 20
"""Held files of one check that are named: a commit may have thousands."""


async def reserve(session: AsyncSession, memo: Memo, wish: Wish, as_json: bool) -> None:
    """Reserve all that is wished for, or nothing; print each. Raises `FileReserved`, `WaitTimeout`."""
    taken = await taking.take(session, wish)
    for held in taken:
        memo.remember(held.task)
    for held in taken:
        emit(as_json, _held_json(held), task_view.reservation_text(held))


def _held_json(held: Held) -> dict[str, Any]:
    known = {"glob": held.record.title, "task": held.task, "fence": held.fence}
    return known | {"lease": held.ttl, "again": held.again}


async def release(session: AsyncSession, memo: Memo, globs: Sequence[str], as_json: bool) -> None:
    """Release what this agent and session holds within the globs; without any, everything. Raises `NotFound`."""
    own = [one for one in await reserving.everything(session.context) if is_ours(one, session.context.holder)]
    within = {one.task for glob in globs for one in reservations.chosen(glob, own)}
    for one in own:
        if not globs or one.task in within:
            await _release(session, memo, one, as_json)
    for glob in globs:
        if not reservations.chosen(glob, own):
            raise NotFound("reservation", glob, f"{session.agent} holds nothing within it")


async def _release(session: AsyncSession, memo: Memo, one: Reservation, as_json: bool) -> None:
    try:
        await claims.release(session.context, await claims.hold(session.context, one.task))
    except (ClaimLost, NotFound) as lost:
        note(f"tracecraft: {lost}")
    else:
        emit(as_json, {"glob": one.glob, "task": one.task, "state": "released"}, f"{one.glob} released")
    memo.forget(one.task)


async def show(session: AsyncSession, wanted: Sequence[str], as_json: bool) -> None:
    """Print who holds what; with globs, what overlaps one of them."""
    found = [one for one in await session.reservations.list() if not wanted or _meets(one, wanted)]
    emit(as_json, [_as_json(one) for one in found], _table(found))


def _meets(one: Reservation, wanted: Sequence[str]) -> bool:
    return any(one.refusal(glob) is not None for glob in wanted)


def _as_json(one: Reservation) -> dict[str, Any]:
    names = ("glob", "owner", "session", "fence", "since", "expires_in", "task")
    return {name: getattr(one, name) for name in names}


def _table(found: Sequence[Reservation]) -> str:
    rows = [[one.glob, one.owner, task_view.moment(one.since), task_view.about(one.expires_in or 0)] for one in found]
    return table(["glob", "owner", "since", "lease"], rows) if rows else ""


# -- checking -------------------------------------------------------------------------------------------------------


async def check(session: AsyncSession, wanted: Sequence[str], as_json: bool) -> None:
    """Tell whether globs are free. Raises `FileReserved` when somebody else holds one of them."""
    found = await reserving.everything(session.context)
    refusals = (reservations.refusal([glob], found, session.context.holder) for glob in wanted)
    _tell([refusal for refusal in refusals if refusal is not None], as_json)
    own = [one for one in found if is_ours(one, session.context.holder)]
    emit(as_json, {"free": list(wanted)}, "\n".join(_free(glob, own) for glob in wanted))


def _free(glob: str, own: Sequence[Reservation]) -> str:
    cover = reservations.covering(glob, own)
    if cover is None:
        return f"{glob} is free"
    return f"{glob} is yours" + ("" if cover.glob == glob else f", by {cover.glob}")


async def check_commit(session: AsyncSession, given: Sequence[str] | None, as_json: bool) -> None:
    """Look at the files that the commit under way changes; both names of a renamed one. Raises `FileReserved`.

    ``given``: these are they, for somebody who cannot ask git.
    """
    staged = git_facts.staged_files() if given is None else list(given)
    found = await reserving.everything(session.context)
    others = [one for one in found if not is_ours(one, session.context.holder)]
    refusals = list(_held_files(staged, others))
    if refusals:
        note("tracecraft: this commit changes files that others hold ('git commit --no-verify' commits all the same)")
    _tell(refusals, as_json)
    emit(as_json, {"free": [_shown(path) for path in staged]}, None)


def _held_files(paths: Sequence[str], others: Sequence[Reservation]) -> Iterator[FileReserved]:
    for path in paths:
        one = next((one for one in others if one.matches(path)), None)
        if one is not None:
            shown = _shown(path)
            yield FileReserved(shown, one.glob, one.owner, one.since, one.expires_in, shown)


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _tell(refusals: Sequence[FileReserved], as_json: bool) -> None:
    for refusal in refusals[1:MOST_SHOWN]:
        fail(as_json, refusal)
    if len(refusals) > MOST_SHOWN:
        note(f"tracecraft: and {len(refusals) - MOST_SHOWN:,} more")
    if refusals:
        raise refusals[0]
