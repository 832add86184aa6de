"""`Runs`: the blocking face of `AsyncRuns`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft.past_runs import AsyncRuns
    from tracecraft.portal import Portal
    from tracecraft_core.queries import CostReport, Curve, RunDetail, RunRow, RunVerification, State, StepRow


class Runs:
    """The runs of a project, past and present; see `AsyncRuns`."""

    def __init__(self, portal: Portal, inner: AsyncRuns) -> None:
        self._portal, self._inner = portal, inner

    def list(self, filter: str = "", *, sort: str = "-started", limit: int = 100) -> list[RunRow]:
        """The first ``limit`` runs that a filter finds; see `AsyncRuns.list`."""
        return self._portal.run(self._inner.list(filter, sort=sort, limit=limit))

    def get(self, run: str) -> RunDetail:
        """Everything about a run but its steps and points."""
        return self._portal.run(self._inner.get(run))

    def steps(self, run: str, *, agent: str | None = None, errors: bool = False) -> Iterator[StepRow]:
        """The steps of a run in the order in which they began."""
        return self._portal.iterate(self._inner.steps(run, agent=agent, errors=errors))

    def curves(self, run: str, *keys: str, agent: str = "", points: int = 500) -> builtins.list[Curve]:
        """Curves of metrics for a plot, each of at most ``points`` points."""
        return self._portal.run(self._inner.curves(run, *keys, agent=agent, points=points))

    def points(self, run: str, key: str) -> Iterator[tuple[int, float, str, str]]:
        """Every point of a metric as it was logged: step, value, time, agent."""
        return self._portal.iterate(self._inner.points(run, key))

    def verify(self, run: str, *, deep: bool = False) -> RunVerification:
        """Is everything of a run there, once?"""
        return self._portal.run(self._inner.verify(run, deep=deep))

    def fetch(self, run: str, name: str, path: str | Path) -> Path:
        """Fetch the file ``name`` of a run into ``path``, a file or a folder; where it lies. See `AsyncRuns.fetch`."""
        return self._portal.run(self._inner.fetch(run, name, path))

    def costs(self, by: str = "agent", *, run: str | None = None, since: str | None = None) -> CostReport:
        """What was spent, by ``agent``, ``model``, ``task``, ``day`` or ``run``."""
        return self._portal.run(self._inner.costs(by, run=run, since=since))

    def state(
        self, *, seq: int | None = None, time: str | None = None, step: str | None = None, run: str | None = None
    ) -> State:
        """Memory, tasks, mailboxes and last steps as they were."""
        return self._portal.run(self._inner.state(seq=seq, time=time, step=step, run=run))
