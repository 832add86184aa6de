"""Everything about a run on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.ages import ago, wall
from tracecraft_cli.amounts import counted
from tracecraft_cli.output import table
from tracecraft_cli.replay.wording import size
from tracecraft_cli.runs_view import numbers, prices, tree
from tracecraft_cli.runs_view.findings import LOST
from tracecraft_core.quotation import neutral, oneline, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracecraft_cli.runs_view.findings import Findings
    from tracecraft_core.queries import RunDetail, StepRow

METRICS: Final = 30
ARTIFACTS: Final = 40
ERRORS: Final = 10


def text(found: Findings, now: str, width: int, *, bars: bool) -> str:
    """The screen, section by section; what a run does not have is left out."""
    sections = [
        list(_head(found.detail, now)),
        list(_pairs("params", found.detail.row.params, width)),
        list(_pairs("tags", found.detail.row.tags, width)),
        list(_metrics(found)),
        list(_agents(found.detail)),
        list(_unpriced(found)),
        list(_steps(found, width, bars=bars)),
        list(_errors(found)),
        list(_artifacts(found.detail)),
        list(_children(found.detail, now)),
        list(_messages(found, now, width)),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def _head(detail: RunDetail, now: str) -> Iterator[str]:
    row, origin = detail.row, detail.origin
    yield neutral(f"{row.run}  {row.name}  {row.status}")
    if row.reason or detail.error:
        yield quoted(row.reason or (detail.error or {}).get("message", ""))
    words = [f"began {wall(row.started, now)} ({ago(row.started, now)})", f"took {numbers.duration(row.seconds)}"]
    words += [f"by {row.agent}"] + ([f"inside {row.parent}"] if row.parent else [])
    yield neutral(", ".join(words))
    if row.purpose != "original":
        yield neutral(
            f"{row.purpose} of {detail.forked_from} at {detail.forked_at}: its calls are not counted as spend"
        )
    if numbers.total(row.tokens):
        unpriced = f", {counted(row.unpriced, 'call')} without a known price" if row.unpriced else ""
        yield f"tokens {numbers.buckets(row.tokens)}; cost {numbers.cost(row.cost, row.unpriced)}{unpriced}"
    if commit := origin.get("git_commit"):
        branch = f" on {origin['git_branch']}" if origin.get("git_branch") else ""
        yield neutral(f"git {commit[:12]}{branch}{', with uncommitted changes' if origin.get('git_dirty') else ''}")
    if command := origin.get("command"):
        yield oneline(f"{origin.get('host', '')}$ {command}", 160)
    if detail.problems:
        unread = counted(detail.problems, "event")
        yield f"{unread} could not be read: 'tracecraft runs verify {row.run}' names them"


def _pairs(title: str, values: Mapping[str, Any], width: int) -> Iterator[str]:
    if values:
        yield title
        for key, value in values.items():
            yield f"  {oneline(f'{key} = {numbers.value(value)}', width - 2)}"


def _metrics(found: Findings) -> Iterator[str]:
    several = {one.key for one in found.detail.metrics if one.agent and one.points < found.whole(one.key)}
    metrics = [one for one in found.detail.metrics if not one.agent or one.key in several]
    if not metrics:
        return
    yield "metrics"
    rows = [
        [
            neutral(f"{one.key} ({one.agent})" if one.agent else one.key),
            *(numbers.value(value) for value in (one.value, one.min, one.max)),
            numbers.count(one.points) + (f" ({odd})" if (odd := numbers.unusual(one)) else ""),
            numbers.sparkline(found.curves.get((one.agent, one.key), [])),
        ]
        for one in metrics[:METRICS]
    ]
    yield _indented(table(["", "last", "min", "max", "points", ""], rows))
    if len(metrics) > METRICS:
        yield f"  ... and {len(metrics) - METRICS} more; --json has all"


def _agents(detail: RunDetail) -> Iterator[str]:
    if not detail.agents or (len(detail.agents) == 1 and not detail.agents[0].steps):
        return
    yield "agents"
    rows = [
        [
            neutral(agent.agent),
            agent.status,
            neutral(agent.role or "-"),
            neutral(agent.model or "-"),
            numbers.count(agent.steps),
            numbers.count(agent.errors),
            numbers.count(numbers.total(agent.tokens)),
            numbers.cost(agent.cost, agent.unpriced),
        ]
        for agent in detail.agents
    ]
    yield _indented(table(["", "status", "role", "model", "steps", "errors", "tokens", "cost"], rows))


def _unpriced(found: Findings) -> Iterator[str]:
    if found.unpriced:
        yield "without a known price"
        for line in prices.lines(found.unpriced):
            yield f"  {line}"


def _steps(found: Findings, width: int, *, bars: bool) -> Iterator[str]:
    row = found.detail.row
    if found.steps:
        yield f"steps ({row.steps})"
        for line in tree.lines(found.steps, row.started, row.seconds or 0.0, width - 2, bars=bars):
            yield f"  {line}"
    elif found.groups:
        yield f"steps ({row.steps}, equal ones together)"
        for line in tree.outline(found.groups, width - 2):
            yield f"  {line}"


def _errors(found: Findings) -> Iterator[str]:
    failed = [step for step in found.errors if step.status != LOST]
    lost = [step for step in found.errors if step.status == LOST]
    if failed:
        yield f"errors ({max(found.detail.row.errors, len(failed))})"
        for step in failed[:ERRORS]:
            yield neutral(f"  {_where(step)}")
            yield quoted(step.error or step.status)
    if found.lost:
        yield f"open when the run was over ({found.lost})"
        yield from (neutral(f"  {_where(step)}") for step in lost[:ERRORS])


def _where(step: StepRow) -> str:
    return f"{step.agent}  {step.name}  step {step.step}  seq {step.first_seq}"


def _artifacts(detail: RunDetail) -> Iterator[str]:
    if detail.artifacts:
        yield "artifacts"
        rows = [
            [neutral(one.name), size(one.size), neutral(one.media_type), one.sha256[:12]]
            for one in detail.artifacts[:ARTIFACTS]
        ]
        yield _indented(table(["", "size", "type", "sha256"], rows))
        if len(detail.artifacts) > ARTIFACTS:
            yield f"  ... and {len(detail.artifacts) - ARTIFACTS} more: 'tracecraft artifact list {detail.row.run}'"


def _children(detail: RunDetail, now: str) -> Iterator[str]:
    if detail.children:
        yield "runs inside"
        for child in detail.children:
            took = numbers.duration(child.seconds)
            yield neutral(f"  {child.run}  {child.name}  {child.status}  {ago(child.started, now)}  {took}")


def _messages(found: Findings, now: str, width: int) -> Iterator[str]:
    if found.messages:
        yield "messages"
        for one in found.messages:
            yield f"  {oneline(f'#{one.id}  {wall(one.time, now)}  {one.sender} to {one.to}: {one.text}', width - 2)}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
