"""A comparison of runs as one HTML page: everything is in the file, and it asks no network for anything."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from tracecraft_cli.runs_view import numbers
from tracecraft_cli.runs_view.comparison import MISSING, tails, twins
from tracecraft_cli.runs_view.comparison_text import cells, finite, same_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracecraft_cli.runs_view.comparison import Comparison
    from tracecraft_core.queries import Curve

COLORS: Final = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#0a7ea4", "#57606a")
_WIDTH, _HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 26

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --muted: #888; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1000px; padding: 0 1rem; }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
td { max-width: 28rem; overflow: hidden; text-overflow: ellipsis }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .4em }
.warnings { border-left: 3px solid #d4a72c; padding: .1rem 1rem; margin: 1rem 0 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 1.2rem }
figure { margin: 0 } figcaption { font-weight: 600 } svg { width: 100%; height: auto }
svg text { font-size: 11px; fill: var(--muted) } svg .grid { stroke: var(--line) }
svg polyline { fill: none; stroke-width: 1.6 } svg polygon { stroke: none; opacity: .15 }
.muted { color: var(--muted) }
"""


def page(found: Comparison) -> str:
    """The whole page."""
    names = tails(found.runs)
    title = " against ".join(names)
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table(
            ["run", "name", "status", "took", "steps", "tokens", "cost"],
            [
                [
                    _dot(place) + escape(run.row.run),
                    escape(run.row.name),
                    escape(run.row.status),
                    numbers.duration(run.row.seconds),
                    numbers.count(run.row.steps),
                    numbers.count(numbers.total(run.row.tokens)),
                    escape(numbers.cost(run.row.cost, run.row.unpriced)),
                ]
                for place, run in enumerate(found.runs)
            ],
        ),
    ]
    if found.warnings:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in found.warnings)
        parts.append(f'<div class="warnings"><ul>{items}</ul></div>')
    heads = [_dot(place) + escape(name) for place, name in enumerate(names)]
    parts.append("<h2>What differs</h2>")
    if found.differences:
        rows = [
            [escape(one.name), *(escape(MISSING if v is None else numbers.value(v)) for v in one.values)]
            for one in found.differences
        ]
        parts.append(_table(["", *heads], rows))
    parts.append(f'<p class="muted">{same_parameters(found.same)}.</p>')
    if found.measures:
        parts.append("<h2>Metrics</h2>")
        parts.append(_table(["", *heads], [[escape(one.key), *map(escape, cells(one))] for one in found.measures]))
    plots = [_plot(key, curves, names) for key, curves in found.curves.items()]
    if any(plots):
        parts.append(f'<h2>Curves</h2><div class="plots">{"".join(plots)}</div>')
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"</head><body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def _dot(place: int) -> str:
    return f'<span class="dot" style="background:{COLORS[place % len(COLORS)]}"></span>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _plot(key: str, curves: Sequence[Curve | None], names: Sequence[str]) -> str:
    """One metric over the steps; where points were taken together, a band shows their lowest and highest."""
    lines = [finite(curve) for curve in curves]
    points = [point for line in lines for point in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = _span(x for x, _ in points), _span(y for _, y in points)

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y1 - min(max(y, y0), y1)) / (y1 - y0) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{down:.1f}"

    drawn = []
    for tick in _ticks(y0, y1):
        across, down = place(x0, tick).split(",")
        drawn.append(f'<line class="grid" x1="{across}" x2="{_WIDTH - _RIGHT}" y1="{down}" y2="{down}"/>')
        drawn.append(f'<text x="{_LEFT - 6}" y="{float(down) + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in _ticks(x0, x1):
        across, _ = place(tick, y0).split(",")
        drawn.append(f'<text x="{across}" y="{_HEIGHT - 8}" text-anchor="middle">{tick:.6g}</text>')
    for number, (name, line, curve) in enumerate(zip(names, lines, curves, strict=True)):
        if not line or curve is None:
            continue
        color = COLORS[number % len(COLORS)]
        if not curve.raw:
            drawn.append(f'<polygon fill="{color}" points="{_band(curve, place)}"/>')
        path = " ".join(place(x, y) for x, y in line)
        if len(line) == 1:
            across, down = path.split(",")
            drawn.append(
                f'<circle cx="{across}" cy="{down}" r="3" fill="{color}"><title>{escape(name)}</title></circle>'
            )
        else:
            drawn.append(f'<polyline stroke="{color}" points="{path}"><title>{escape(name)}</title></polyline>')
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(key)}">{"".join(drawn)}</svg>'
    same = [
        f' <span class="muted">{escape(name)} (same as {escape(names[twin])})</span>'
        for name, twin in zip(names, twins(curves), strict=True)
        if twin is not None
    ]
    return f"<figure><figcaption>{escape(key)}{''.join(same)}</figcaption>{svg}</figure>"


def _band(curve: Curve, place: object) -> str:
    assert callable(place)
    low = [(x, numbers.number(y)) for x, y in zip(curve.steps, curve.min, strict=True)]
    high = [(x, numbers.number(y)) for x, y in zip(curve.steps, curve.max, strict=True)]
    return " ".join(place(x, y) for x, y in [*high, *reversed(low)] if math.isfinite(y))


def _span(values: Iterable[float]) -> tuple[float, float]:
    """The lowest and the highest, never the same."""
    found = list(values)
    low, high = float(min(found)), float(max(found))
    return (low, high) if high > low else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)


def _ticks(low: float, high: float) -> list[float]:
    """Some round numbers between two."""
    rough = (high - low) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next((size * factor for factor in (1, 2, 5) if size * factor >= rough), size * 10)
    first = math.ceil(low / step)
    return [place * step for place in range(first, math.floor(high / step) + 1)]
