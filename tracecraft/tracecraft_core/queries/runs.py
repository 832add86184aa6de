"""Runs: lists of them, all about one, and its end for ever."""

from __future__ import annotations

from typing import Any

import msgspec

from tracecraft_core.queries.artifacts import ArtifactRow  # noqa: TC001  # msgspec reads it
from tracecraft_core.queries.bundles import BundleRow  # noqa: TC001  # msgspec reads it
from tracecraft_core.queries.costs import Tokens
from tracecraft_core.queries.metrics import MetricSummary  # noqa: TC001  # msgspec reads it
from tracecraft_core.queries.question import PAGE, Answer, Question, RunQuestion


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list."""

    run: str
    name: str
    status: str
    """``running``, ``finished``, ``failed``, ``killed`` or ``crashed``."""
    agent: str
    """Who started it."""
    started: str
    ended: str | None = None
    seconds: float | None = None
    """From start to end; of a running one, until it was last heard."""
    purpose: str = "original"
    parent: str | None = None
    steps: int = 0
    errors: int = 0
    tokens: Tokens = Tokens()
    cost: float | None = None
    """USD; null when nothing is known."""
    unpriced: int = 0
    """Model calls whose cost is not known: with them ``cost`` is a lower bound."""
    reason: str | None = None
    """Why it crashed or failed."""
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    """Newest value of each (``NaN``, ``Infinity``, ``-Infinity`` as strings); at most 50 keys, all in `RunDetail`."""


class RunsList(Question, frozen=True, kw_only=True):
    """``runs.list`` → `RunsPage`."""

    filter: str = ""
    """``metrics.loss < 0.3 and tags.team = "a"`` (docs/reference/filters.md)."""
    sort: str = "-started"
    """``started``, ``ended``, ``name``, ``cost``, ``seconds``, ``metrics.<key>``, ``params.<key>``; ``-``: down."""
    limit: int = PAGE
    cursor: str | None = None


class RunsPage(Answer, frozen=True, kw_only=True):
    """One page of runs."""

    runs: list[RunRow]
    next: str | None = None
    notes: list[str] = msgspec.field(default_factory=list)
    """With the first page: what the question probably did not mean, as ``no run has metric lss: did you mean loss?``"""


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that took part in a run."""

    agent: str
    status: str
    """``running``, ``ok`` or ``error``; when its run is over and nobody said how it ended, ``ended``, and ``lost``
    after a crash."""
    started: str
    ended: str | None = None
    model: str | None = None
    role: str | None = None
    steps: int = 0
    errors: int = 0
    last_step: str | None = None
    tokens: Tokens = Tokens()
    cost: float | None = None
    unpriced: int = 0
    """Model calls whose cost is not known."""


class RunDetail(Answer, frozen=True, kw_only=True):
    """``runs.get`` (a `RunQuestion`): everything about a run but its steps and points."""

    row: RunRow
    project: str
    epoch: int
    first_seq: int
    last_seq: int
    events: int
    points: int
    problems: int
    trace: str
    origin: dict[str, Any]
    """host, pid, command, python, tracecraft, git_commit, git_branch, git_dirty."""
    error: dict[str, str] | None
    last_step: str | None
    forked_from: str | None
    forked_at: int | None
    agents: list[AgentRow]
    metrics: list[MetricSummary]
    artifacts: list[ArtifactRow]
    children: list[RunRow]
    bundle: BundleRow | None
    cut: list[str] = msgspec.field(default_factory=list)
    """Fields of very large runs that are not whole: ``metrics``, ``artifacts``, ``row.params``, …"""


class DeleteQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.delete`` → `Deleted`; its children are deleted with it."""

    by: str
    reason: str | None = None


class Deleted(Answer, frozen=True, kw_only=True):
    """What was deleted."""

    runs: list[str]
