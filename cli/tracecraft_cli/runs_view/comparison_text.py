"""A comparison of runs in the terminal: tables, and curves made of letters."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.amounts import counted
from tracecraft_cli.output import table
from tracecraft_cli.runs_view import numbers
from tracecraft_cli.runs_view.comparison import MISSING, tails, twins
from tracecraft_core.quotation import neutral, oneline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft_cli.runs_view.comparison import Comparison, Measure
    from tracecraft_core.queries import Curve

PLOTS: Final = 4
"""Curves that are drawn when nobody said which."""
HEIGHT: Final = 14
_CELL: Final = 36


def text(found: Comparison, width: int, *, curves: bool) -> str:
    """All of it; curves when they are wanted."""
    names = [f"{letter} {tail}" for letter, tail in zip(letters(len(found.runs)), tails(found.runs), strict=True)]
    sections = [
        _runs(found, names),
        "\n".join(f"! {neutral(warning)}" for warning in found.warnings),
        _differences(found, names),
        _metrics(found, names),
        *(_plots(found, names, width) if curves else ()),
    ]
    return "\n\n".join(filter(None, sections))


def letters(count: int) -> list[str]:
    """What runs are called in curves."""
    return [string.ascii_letters[place % 52] for place in range(count)]


def _runs(found: Comparison, names: Sequence[str]) -> str:
    rows = [
        [
            name,
            oneline(run.row.name, _CELL),
            run.row.status,
            numbers.duration(run.row.seconds),
            numbers.count(run.row.steps),
            numbers.count(numbers.total(run.row.tokens)),
            numbers.cost(run.row.cost, run.row.unpriced),
        ]
        for name, run in zip(names, found.runs, strict=True)
    ]
    return table(["run", "name", "status", "took", "steps", "tokens", "cost"], rows)


def same_parameters(number: int) -> str:
    """How many parameters do not differ, in words."""
    return f"{counted(number, 'parameter')} {'is' if number == 1 else 'are'} the same in all"


def _differences(found: Comparison, names: Sequence[str]) -> str:
    same = same_parameters(found.same) if found.same else ""
    if not found.differences:
        return same or "no parameters"
    rows = [
        [
            neutral(one.name),
            *(MISSING if value is None else oneline(numbers.value(value), _CELL) for value in one.values),
        ]
        for one in found.differences
    ]
    return "\n".join(filter(None, [table(["differs", *names], rows), same]))


def _metrics(found: Comparison, names: Sequence[str]) -> str:
    if not found.measures:
        return ""
    rows = [[neutral(one.key), *cells(one)] for one in found.measures]
    return table(["metric", *names], rows)


def cells(measure: Measure) -> list[str]:
    """The newest value in each run, and by how much it is over the first run's."""
    first = numbers.number(measure.values[0])
    shown = []
    for place, (value, delta) in enumerate(zip(measure.values, measure.deltas, strict=True)):
        text = MISSING if value is None else numbers.value(value)
        if place and value is not None and delta is not None and math.isfinite(delta):
            percent = f", {delta / abs(first):+.1%}" if first else ""
            text += f" ({delta:+.4g}{percent})"
        shown.append(text)
    return shown


def _plots(found: Comparison, names: Sequence[str], width: int) -> Iterator[str]:
    for key, curves in found.curves.items():
        drawn = _plot(curves, names, width)
        if drawn:
            same = [
                f"   {name} (same as {names[twin][0]})"
                for name, twin in zip(names, twins(curves), strict=True)
                if twin is not None
            ]
            yield f"{neutral(key)}{''.join(same)}\n{drawn}"


def _plot(curves: Sequence[Curve | None], names: Sequence[str], width: int) -> str:
    """The curves over their steps; nothing when no curve has two points."""
    import plotext

    figure: Any = plotext.figure
    figure.clear()
    figure.plot_size(max(40, min(width, 110)), HEIGHT)
    figure.legend(False)
    drawn = 0
    for name, curve, twin in zip(names, curves, twins(curves), strict=True):
        points = finite(curve)
        if len(points) > 1 and twin is None:
            signal = figure.signal([step for step, _ in points], [value for _, value in points], marker=name[0])
            signal.lines()
            figure.draw(signal)
            drawn += 1
    if not drawn:
        return ""
    lines = str(plotext.uncolorize(str(figure.build()))).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def finite(curve: Curve | None) -> list[tuple[int, float]]:
    """The points of a curve that are numbers."""
    if curve is None:
        return []
    pairs = zip(curve.steps, map(numbers.number, curve.mean), strict=True)
    return [(step, value) for step, value in pairs if math.isfinite(value)]
