"""The steps of a run as a tree: each with when it began, how long it took, what it cost, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_cli.ages import seconds_between
from tracecraft_cli.amounts import counted
from tracecraft_cli.runs_view import numbers
from tracecraft_core.quotation import oneline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft_core.queries import OutlineGroup, StepRow

BAR: Final = 24
"""Characters of the line of time."""
GROUPS: Final = 100
"""Groups of an outline that are shown, those that took longest."""


def lines(steps: Sequence[StepRow], start: str, seconds: float, width: int, *, bars: bool) -> list[str]:
    """A line a step; with ``bars`` each has its place in the time of the run."""
    shown = []
    for depth, step in _walk(steps):
        began = seconds_between(start, step.started)
        bar = f"{_bar(began, step.seconds, seconds)}  " if bars else ""
        facts = [
            step.kind if step.kind != "other" else "",
            numbers.duration(step.seconds) if step.seconds is not None else step.status,
            step.model or "",
            numbers.tokens(step.tokens),
            numbers.cost(step.cost) if step.cost is not None else "",
            f"{step.status.upper()} {step.error or ''}".rstrip() if step.status in ("error", "lost") else "",
        ]
        head = f"+{numbers.duration(began):<9}{bar}{'  ' * depth}{step.agent}  {step.name}"
        shown.append(oneline("  ".join([head, *filter(None, facts)]), width))
    return shown


def outline(groups: Sequence[OutlineGroup], width: int) -> list[str]:
    """A line for all steps that have the same place, name and kind."""
    kept = set(sorted(range(len(groups)), key=lambda place: -groups[place].seconds)[:GROUPS])
    shown = []
    for place, group in enumerate(groups):
        if place not in kept:
            continue
        facts = [
            group.kind if group.kind != "other" else "",
            f"{group.steps} x" if group.steps > 1 else "",
            f"{numbers.duration(group.seconds)} in all, longest {numbers.duration(group.longest)}"
            if group.steps > 1
            else numbers.duration(group.seconds),
            numbers.tokens(group.tokens),
            numbers.cost(group.cost) if group.cost is not None else "",
            f"{group.errors} FAILED or lost" if group.errors else "",
            f"{group.open} open" if group.open else "",
        ]
        head = f"{'  ' * (len(group.path) - 1)}{group.agent}  {group.path[-1] if group.path else '-'}"
        shown.append(oneline("  ".join([head, *filter(None, facts)]), width))
    if len(groups) > len(kept):
        shown.append(f"... and {counted(len(groups) - len(kept), 'more kind')} of steps that took less time")
    return shown


def _walk(steps: Sequence[StepRow]) -> Iterator[tuple[int, StepRow]]:
    """Depth first, children in the order in which they began; a step whose parent is not here stands by itself."""
    here = {step.step for step in steps}
    below: dict[str | None, list[StepRow]] = {}
    for step in steps:
        below.setdefault(step.parent if step.parent in here and step.parent != step.step else None, []).append(step)
    waiting = [(0, step) for step in reversed(below.get(None, []))]
    seen: set[int] = set()
    while waiting:
        depth, step = waiting.pop()
        seen.add(id(step))
        yield depth, step  # one that ended and began again has two ends; what is inside of it stands below the first
        waiting += [(depth + 1, child) for child in reversed(below.pop(step.step, []))]
    yield from ((0, step) for step in steps if id(step) not in seen)  # steps that are inside of each other


def _bar(began: float, took: float | None, seconds: float) -> str:
    if seconds <= 0:
        return "│" + " " * BAR + "│"
    first = min(BAR - 1, int(began / seconds * BAR))
    length = max(1, min(BAR - first, round((took if took is not None else seconds - began) / seconds * BAR)))
    return "│" + (" " * first + "█" * length).ljust(BAR) + "│"
