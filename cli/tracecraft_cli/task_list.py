"""The list of tasks, with the leases that tell whether an owner is still alive."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft import claims, leases
from tracecraft_cli import task_view
from tracecraft_cli.output import table
from tracecraft_core import subjects
from tracecraft_core.quotation import oneline
from tracecraft_core.tasks import unmet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft import AsyncSession
    from tracecraft.claims import Task
    from tracecraft.leases import LeaseState

TITLE_WIDTH: Final = 60
LAPSED: Final = "lapsed"


@dataclass(frozen=True, slots=True)
class Listed:
    """One task of the list."""

    task: Task
    lease: LeaseState
    waits_for: tuple[str, ...]
    """What must be done before it can be claimed."""

    @property
    def state(self) -> str:
        """Its state; ``lapsed`` when it is claimed and nobody holds the lease any more."""
        state = str(self.task.record.state)
        return LAPSED if state == "claimed" and self.lease.expires_in is None else state

    @property
    def row(self) -> list[str]:
        """Its line in the table."""
        record, state, left = self.task.record, self.state, self.lease.expires_in
        if state == "claimed" and left is not None:
            state = f"claimed {task_view.about(left)}"
        title = oneline(record.title or "", TITLE_WIDTH)
        waits = f"after {', '.join(self.waits_for[:3])}{', …' if len(self.waits_for) > 3 else ''}"
        return [self.task.id, state, record.owner or "-", title if not self.waits_for else f"{title} ({waits})".strip()]


async def read(session: AsyncSession, pattern: str, states: Sequence[str]) -> list[Listed]:
    """The tasks that match, in one of the states if any is named."""
    context = session.context
    found, held = await asyncio.gather(
        session.tasks.list(pattern), context.bus.last_values(*context.kv(subjects.LEASES, pattern))
    )
    alive = {context.key(subjects.LEASES, stored.subject): leases.state_of(stored) for stored in held}
    known = {task.id: str(task.record.state) for task in found}
    outside = {name for task in found for name in task.record.after if name not in known}
    if outside:
        known |= await claims.states(context, outside)
    nobody = leases.state_of(None)
    return [
        Listed(task, alive.get(task.id, nobody), unmet(task.record, known) if task.record.state == "open" else ())
        for task in found
        if not states or task.record.state in states
    ]


def as_json(listed: list[Listed]) -> list[dict[str, Any]]:
    """The list for programs."""
    return [
        task_view.task_json(one.task, one.lease) | ({"waits_for": list(one.waits_for)} if one.waits_for else {})
        for one in listed
    ]


def text(listed: list[Listed]) -> str:
    """The list for people."""
    if not listed:
        return ""
    return table(["task", "state", "owner", "title"], [one.row for one in listed])
