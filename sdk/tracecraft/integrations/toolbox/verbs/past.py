"""``runs``: what happened, from the bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from tracecraft.integrations.toolbox import bounds, seen
from tracecraft.integrations.toolbox.results import RunsResult
from tracecraft.queries import ask
from tracecraft_core.queries import RunsList, RunsPage, StepsList, StepsPage

if TYPE_CHECKING:
    from tracecraft.integrations.toolbox.arguments import RunsArguments
    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft_core.queries import RunDetail

MOST_PAIRS: Final = 40
"""Params, metrics and tags of a run that is shown alone."""
MOST_PARTS: Final = 30
"""Agents, files and child runs of a run."""


async def runs(turn: Turn, arguments: RunsArguments) -> RunsResult:
    """A page of runs, or one run."""
    if arguments.run is not UNSET:
        return await _one(turn, arguments, arguments.run)
    cursor = None if arguments.cursor is UNSET else arguments.cursor
    wanted = RunsList(filter=arguments.filter, sort=arguments.sort, limit=arguments.limit, cursor=cursor)
    page = await ask(turn.context, "runs.list", wanted, RunsPage)
    shown = bounds.fit([seen.run(row) for row in page.runs])
    left = len(page.runs) - len(shown)
    return RunsResult(
        runs=shown,
        next=UNSET if left else seen.or_unset(page.next),
        hints=[bounds.head(note, 300) for note in page.notes[:5]],
        left_out=f"{left} of these have no room: call again with limit={len(shown)}" if left else UNSET,
    )


async def _one(turn: Turn, arguments: RunsArguments, run: str) -> RunsResult:
    steps, following, left = [], None, 0
    if arguments.steps:
        wanted = StepsList(
            run=run,
            agent=None if arguments.agent is UNSET else arguments.agent,
            errors=arguments.errors,
            limit=arguments.limit,
            cursor=None if arguments.cursor is UNSET else arguments.cursor,
        )
        page = await ask(turn.context, "runs.steps", wanted, StepsPage)
        every = [seen.step(row) for row in page.steps]
        steps, following = bounds.fit(every), page.next
        left = len(every) - len(steps)
    detail = await turn.session.runs.get(run)
    return RunsResult(
        runs=[seen.run(detail.row, most=5 if arguments.steps else MOST_PAIRS)],
        agents=[seen.took_part(row) for row in detail.agents[:MOST_PARTS]],
        artifacts=_artifacts(detail),
        children=[row.run for row in detail.children[:MOST_PARTS]],
        steps=steps,
        next=UNSET if left else seen.or_unset(following),
        left_out=f"{left} of these steps have no room: call again with limit={len(steps)}" if left else UNSET,
    )


def _artifacts(detail: RunDetail) -> list[str]:
    shown = [f"{bounds.head(row.name, 200)} ({row.size:,} bytes)" for row in detail.artifacts[:MOST_PARTS]]
    more = len(detail.artifacts) - len(shown)
    return [*shown, *([f"and {more} more"] if more else [])]
