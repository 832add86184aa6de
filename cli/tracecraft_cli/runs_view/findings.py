"""What the bridge knows about a run, asked together."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.queries import ask
from tracecraft_core import queries, subjects

if TYPE_CHECKING:
    from tracecraft.context import Context
    from tracecraft_core.queries import OutlineGroup, RunDetail, StepRow, UnpricedRow

TREE: Final = 200
"""A run of more steps is shown as an outline."""
CURVES: Final = 30
"""Metrics whose curves are asked for."""
MESSAGES: Final = 30
LOST: Final = "lost"
"""The status of a step that was open when its run was over."""
_POINTS: Final = 48
_LISTS: Final = ("steps", "groups", "errors", "messages", "unpriced")


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was sent in the run."""

    id: int
    time: str
    sender: str
    to: str
    """An agent, or ``all``."""
    text: str


@dataclass(slots=True)
class Findings:
    """One run."""

    detail: RunDetail
    steps: list[StepRow] = field(default_factory=list)
    """All of them, when there are at most `TREE`."""
    groups: list[OutlineGroup] = field(default_factory=list)
    """Otherwise these."""
    errors: list[StepRow] = field(default_factory=list)
    """The first that failed or were lost."""
    lost: int = 0
    """Steps that were open when the run was over: they are no errors, nobody knows how they would have ended."""
    curves: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """Agent and key of a metric, and its values, at most some dozens."""
    messages: list[Told] = field(default_factory=list)
    unpriced: list[UnpricedRow] = field(default_factory=list)
    """Calls without a known price."""

    def whole(self, key: str) -> int:
        """Points of a metric in the whole run, whichever agents logged them."""
        return next((one.points for one in self.detail.metrics if one.key == key and not one.agent), 0)

    def entries(self) -> frozenset[int]:
        """Sequences of the log that the steps tell of: they may be newer than ``detail``, which was asked for first."""
        places = ((step.first_seq, step.last_seq, step.input_seq, step.output_seq) for step in self.steps)
        return frozenset(seq for place in places for seq in place if seq is not None)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        found: dict[str, Any] = msgspec.to_builtins(self.detail)
        found |= {name: msgspec.to_builtins(getattr(self, name)) for name in _LISTS}
        return found | {"lost": self.lost}


async def find(context: Context, run: str) -> Findings:
    """Ask. Raises `NotFound`, `BridgeAway`."""
    detail = await ask(context, "runs.get", queries.RunQuestion(run=run), queries.RunDetail)
    found = Findings(detail)
    await asyncio.gather(
        _steps(context, found), _curves(context, found), _messages(context, found), _unpriced(context, found)
    )
    return found


async def _steps(context: Context, found: Findings) -> None:
    run, number = found.detail.row.run, found.detail.row.steps
    if number <= TREE:
        question = queries.StepsList(run=run, limit=queries.MAX_PAGE)
        found.steps = (await ask(context, "runs.steps", question, queries.StepsPage)).steps
        found.errors = [step for step in found.steps if step.status in ("error", LOST)]
        found.lost = sum(step.status == LOST for step in found.errors)
        return
    errors = queries.StepsList(run=run, errors=True, limit=20)
    outline, page = await asyncio.gather(
        ask(context, "runs.outline", queries.RunQuestion(run=run), queries.Outline),
        ask(context, "runs.steps", errors, queries.StepsPage),
    )
    found.groups, found.errors = outline.groups, page.steps
    found.lost = max(
        sum(step.status == LOST for step in found.errors),
        sum(group.errors for group in found.groups) - found.detail.row.errors,  # a group counts both
    )


async def _unpriced(context: Context, found: Findings) -> None:
    if found.detail.row.unpriced:
        question = queries.CostQuestion(run=found.detail.row.run)
        found.unpriced = (await ask(context, "cost", question, queries.CostReport)).unpriced


async def _curves(context: Context, found: Findings) -> None:
    by_agent: dict[str, list[str]] = {}
    for metric in found.detail.metrics[:CURVES]:
        if metric.points > 1 and (not metric.agent or metric.points < found.whole(metric.key)):
            by_agent.setdefault(metric.agent, []).append(metric.key)
    questions = [
        queries.PlotQuestion(run=found.detail.row.run, keys=keys, agent=agent, points=_POINTS)
        for agent, keys in list(by_agent.items())[:8]
    ]
    plots = await asyncio.gather(*(ask(context, "runs.plot", question, queries.Plot) for question in questions))
    for question, plot in zip(questions, plots, strict=True):
        found.curves |= {(question.agent, curve.key): curve.mean for curve in plot.curves}


async def _messages(context: Context, found: Findings) -> None:
    question = queries.EntriesQuestion(
        run=found.detail.row.run, only_run=True, families=["msg", "all"], limit=MESSAGES, epoch=found.detail.epoch
    )
    page = await ask(context, "log.entries", question, queries.EntriesPage)
    found.messages = [told for entry in page.entries if (told := _told(entry)) is not None]


def _told(entry: queries.Entry) -> Told | None:
    tokens = entry.subject.split(".")
    if len(tokens) < 4 or tokens[0] != subjects.ROOT or tokens[2] not in ("msg", "all"):
        return None
    text = entry.body.get("text", "") if isinstance(entry.body, dict) else entry.body
    return Told(entry.seq, entry.time, tokens[-1], tokens[3] if tokens[2] == "msg" else "all", str(text))
