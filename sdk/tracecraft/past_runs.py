"""Runs as the bridge knows them: found, read and compared; all it takes is the connection to the bus."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from tracecraft.queries import ask
from tracecraft.states import state_at
from tracecraft_core.errors import UsageError
from tracecraft_core.queries import (
    MAX_PAGE,
    CostQuestion,
    CostReport,
    GetQuestion,
    Plot,
    PlotQuestion,
    PointsPage,
    PointsQuestion,
    RunDetail,
    RunQuestion,
    RunsList,
    RunsPage,
    RunVerification,
    State,
    StateQuestion,
    StepsList,
    StepsPage,
    VerifyQuestion,
)

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncGenerator

    from tracecraft.context import Context
    from tracecraft_core.queries import Curve, RunRow, StepRow


class AsyncRuns:
    """The runs of the project, from the mirror; ``run`` is an id or its unmistakable end.

    Every method raises `BridgeAway` when no bridge answers, and `NotFound` for a run that is not there.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def list(self, filter: str = "", *, sort: str = "-started", limit: int = 100) -> list[RunRow]:
        """The first ``limit`` runs that a filter finds, such as ``metrics.loss < 0.3 and tags.team = "a"``.

        ``sort`` is ``started``, ``name``, ``cost``, ``seconds``, ``metrics.<key>`` or ``params.<key>``, with ``-`` for
        downwards. Raises `UsageError` that points at what is wrong with the filter.
        """
        if limit < 1:
            raise UsageError(f"limit is {limit}: expected 1 or more, for example 20")
        found: list[RunRow] = []
        cursor: str | None = None
        while len(found) < limit:
            wanted = RunsList(filter=filter, sort=sort, limit=min(limit - len(found), MAX_PAGE), cursor=cursor)
            page = await ask(self._context, "runs.list", wanted, RunsPage)
            found += page.runs
            cursor = page.next
            if cursor is None:
                break
        return found

    async def get(self, run: str) -> RunDetail:
        """Everything about a run but its steps and points."""
        return await ask(self._context, "runs.get", RunQuestion(run=run), RunDetail)

    async def steps(self, run: str, *, agent: str | None = None, errors: bool = False) -> AsyncGenerator[StepRow]:
        """The steps of a run in the order in which they began; ``errors``: only those that did not end well."""
        cursor: str | None = None
        while True:
            wanted = StepsList(run=run, agent=agent, errors=errors, limit=MAX_PAGE, cursor=cursor)
            page = await ask(self._context, "runs.steps", wanted, StepsPage)
            for row in page.steps:
                yield row
            cursor = page.next
            if cursor is None:
                return

    async def curves(self, run: str, *keys: str, agent: str = "", points: int = 500) -> builtins.list[Curve]:
        """Curves of metrics for a plot, each of at most ``points`` points, however many were logged."""
        wanted = PlotQuestion(run=run, keys=list(keys), agent=agent, points=points)
        return (await ask(self._context, "runs.plot", wanted, Plot)).curves

    async def points(self, run: str, key: str) -> AsyncGenerator[tuple[int, float, str, str]]:
        """Every point of a metric as it was logged: step, value, time (RFC 3339), agent (``""``: of the run)."""
        cursor: str | None = None
        while True:
            page = await ask(self._context, "runs.points", PointsQuestion(run=run, key=key, cursor=cursor), PointsPage)
            for step, value, time, agent in page.points:
                yield step, float(value), time, agent
            cursor = page.next
            if cursor is None:
                return

    async def verify(self, run: str, *, deep: bool = False) -> RunVerification:
        """Is everything of a run there, once? With ``deep`` every file is read again and its hash compared."""
        return await ask(self._context, "runs.verify", VerifyQuestion(run=run, deep=deep), RunVerification)

    async def fetch(self, run: str, name: str, path: str | Path) -> Path:
        """Fetch the file ``name`` of a run into ``path``, which is replaced; a folder: there, under its last part.

        Returns where it lies, whole and with the hash it had. What was interrupted goes on where it stopped. Raises
        `Damaged` when the store has another content or cannot read it, and `FileProblem` when there is no room.
        """
        from tracecraft import artifacts

        target = await asyncio.to_thread(_target, Path(path), name)
        await artifacts.get_file(self._context, GetQuestion(run=run, name=name), target)
        return target

    async def costs(self, by: str = "agent", *, run: str | None = None, since: str | None = None) -> CostReport:
        """What was spent, by ``agent``, ``model``, ``task``, ``day`` or ``run``, highest first."""
        return await ask(self._context, "cost", CostQuestion(by=by, run=run, since=since), CostReport)

    async def state(
        self, *, seq: int | None = None, time: str | None = None, step: str | None = None, run: str | None = None
    ) -> State:
        """Memory, tasks, mailboxes and last steps as they were at a sequence of the log, a time or a step's start."""
        wanted = StateQuestion(seq=seq, time=time, step=step, run=run)
        return await state_at(self._context, wanted)


def _target(path: Path, name: str) -> Path:
    return path / name.rpartition("/")[2] if path.is_dir() else path
