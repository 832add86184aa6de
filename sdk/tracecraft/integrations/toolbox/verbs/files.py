"""``reserve``: files that only this agent should edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft.integrations.toolbox import bounds
from tracecraft.integrations.toolbox.results import ReserveResult

if TYPE_CHECKING:
    from tracecraft.integrations.toolbox.arguments import ReserveArguments
    from tracecraft.integrations.toolbox.desk import Turn


async def reserve(turn: Turn, arguments: ReserveArguments) -> ReserveResult:
    """Reserve all of them, or none."""
    found = await turn.session.reservations.reserve(
        *arguments.files, wait=arguments.wait or None, on_lost=turn.desk.lose
    )
    return ReserveResult(
        reserved=[bounds.head(one.glob, 512) for one in found][:50],
        until="released with release(files=…), or this session ends",
    )
