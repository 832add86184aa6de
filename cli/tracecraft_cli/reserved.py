"""What the forms of ``tracecraft reserve`` do: reserve, release, list, check, and look at a commit under way."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, Final, Literal

from tracecraft import claims, leases, reserving
from tracecraft_cli import commit_guard, taking, task_view
from tracecraft_cli.output import emit, fail, note, table
from tracecraft_core import coding_session, reservations
from tracecraft_core.coding_session import Process
from tracecraft_core.errors import ClaimLost, FileReserved, NotFound
from tracecraft_core.reservations import is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft import AsyncSession
    from tracecraft.claims import Held
    from tracecraft_cli.held import Memo
    from tracecraft_cli.taking import Wish
    from tracecraft_core.coding_session import CodingSession
    from tracecraft_core.reservations import Reservation
    from tracecraft_core.settings import Settings

_AWAY: Final = "the process that keeps what this session holds is not there, or not on the bus yet"

MOST_SHOWN: Final = 20
"""Held files of one check that are named: a commit may have thousands."""


async def reserve(session: AsyncSession, memo: Memo, wish: Wish, as_json: bool) -> None:
    """Reserve all that is wished for, or nothing; print each. Raises `FileReserved`, `WaitTimeout`."""
    keeper = _keeper(session.settings)
    if keeper == "keeps":
        wish = dataclasses.replace(wish, ttl=min(wish.ttl, leases.LIVE_TTL_S))
    taken = await taking.take(session, wish)
    for held in taken:
        memo.remember(held.task)
    for held in taken:
        renewed = " (renewed as long as this session lives)" if keeper == "keeps" else ""
        emit(as_json, _held_json(held), task_view.reservation_text(held) + renewed)
    if keeper == "away":
        lease = task_view.duration(max(held.ttl for held in taken))
        note(f"tracecraft: nothing renews it just now ({_AWAY}): the lease is {lease}, and your commands renew it")


def _keeper(settings: Settings) -> Literal["keeps", "away"] | None:
    """Whether the sidecar of a coding agent's session keeps what we reserve; ``None``: no session reserves it.

    With one that does a short lease will do. A long one would outlive agent and sidecar, were both killed at once.
    """
    ours = [one for one in coding_session.sessions() if one.session == settings.session and _reserves(one, settings)]
    if any(one.agent and Process(one.sidecar, one.sidecar_started).lives() for one in ours):
        return "keeps"
    return "away" if ours else None


def _reserves(session: CodingSession, settings: Settings) -> bool:
    """Whether the session is, or when it is on the bus will be, the agent that these settings name, in its project."""
    agent, project = session.agent or settings.agent, session.project or settings.project
    told = settings.values["server"]
    server = session.settings.get("server", told)
    return (agent, project, server) == (settings.agent, settings.project, told)


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


async def check_commit(session: AsyncSession, staged: Sequence[str], as_json: bool) -> None:
    """Look at the files that the commit under way changes (`git_facts.staged_files`). Raises `FileReserved`."""
    found = await reserving.everything(session.context)
    others = [one for one in found if not is_ours(one, session.context.holder)]
    refusals = list(_held_files(staged, others))
    if refusals:
        note(f"tracecraft: this commit changes files that others hold ({commit_guard.WAY_ROUND})")
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
