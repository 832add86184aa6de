"""Which handler answers which verb. Its question and answer types are in `tracecraft_core.queries.VERBS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from tracecraft_bridge.query import (
    artifacts,
    bundles,
    cost,
    deletion,
    entries,
    listing,
    outline,
    plotting,
    run,
    search,
    state,
    steps,
    verification,
)
from tracecraft_bridge.query.asked import Asked
from tracecraft_core.queries import Answer

Handler = Callable[[Asked, Any], Awaitable[Answer]]
"""``async def handler(asked: Asked, question: <its Question>) -> <its Answer>``; raises `refusal.Refusal`."""

HANDLERS: Final[dict[str, Handler]] = {
    "runs.list": listing.runs_list,
    "runs.get": run.runs_get,
    "runs.steps": steps.runs_steps,
    "runs.outline": outline.runs_outline,
    "runs.search": search.runs_search,
    "runs.plot": plotting.runs_plot,
    "runs.points": plotting.runs_points,
    "log.entries": entries.log_entries,
    "cost": cost.cost,
    "runs.verify": verification.runs_verify,
    "runs.bundle": bundles.runs_bundle,
    "runs.import": bundles.runs_import,
    "runs.delete": deletion.runs_delete,
    "state.at": state.state_at,
    "artifacts.put": artifacts.artifacts_put,
    "artifacts.part": artifacts.artifacts_part,
    "artifacts.commit": artifacts.artifacts_commit,
    "artifacts.get": artifacts.artifacts_get,
    "artifacts.list": artifacts.artifacts_list,
}
