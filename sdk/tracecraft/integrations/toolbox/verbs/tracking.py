"""``log``: what is recorded in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from tracecraft.integrations.toolbox.problem import INVALID_ARGUMENTS, ToolProblem
from tracecraft.integrations.toolbox.results import LogResult
from tracecraft.integrations.toolbox.tracking import below_here

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft.integrations.toolbox.arguments import LogArguments
    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft.recording.scope import Scope


async def log(turn: Turn, arguments: LogArguments) -> LogResult:
    """Begin a run, log into it, end it: what was asked for, in this order."""
    if arguments.start is not UNSET and arguments.run is not UNSET:
        raise ToolProblem(INVALID_ARGUMENTS, "log: start begins a run and run names one: give one of them", retry=True)
    file = None if arguments.artifact is UNSET else below_here(arguments.artifact)  # before anything is logged
    tracking, logged = turn.desk.tracking, []
    if arguments.start is not UNSET:
        scope: Scope = await tracking.begin(arguments.start, arguments.params, arguments.tags)
        logged += ["start", *(["params"] if arguments.params else []), *(["tags"] if arguments.tags else [])]
    else:
        scope = await tracking.scope(None if arguments.run is UNSET else arguments.run)
        logged += _pairs(scope, arguments)
    logged += _rest(scope, arguments, file)
    if arguments.end is not UNSET:
        waiting = await tracking.end(scope.run_id, arguments.end)
        return LogResult(run=scope.run_id, logged=[*logged, "end"], waiting=waiting, status=arguments.end)
    if not logged:
        raise ToolProblem(INVALID_ARGUMENTS, "log: there is nothing to log: give metrics, params, text, …", retry=True)
    return LogResult(run=scope.run_id, logged=logged, waiting=await tracking.flush(scope))


def _pairs(scope: Scope, arguments: LogArguments) -> list[str]:
    if arguments.params:
        scope.log_params(arguments.params)
    if arguments.tags:
        scope.set_tags(arguments.tags)  # type: ignore[attr-defined]
    return [name for name in ("params", "tags") if getattr(arguments, name)]


def _rest(scope: Scope, arguments: LogArguments, file: Path | None) -> list[str]:
    logged = []
    if arguments.metrics:
        scope.log_metrics(arguments.metrics, None if arguments.step is UNSET else arguments.step)
        logged.append("metrics")
    if arguments.text is not UNSET:
        scope.log(arguments.text, level=arguments.level)
        logged.append("text")
    if file is not None:
        scope.log_artifact(file)
        logged.append(f"artifact {file.name}")
    return logged
