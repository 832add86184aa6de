"""Numbers of runs as people and models read them: durations, tokens, costs, metrics, and small curves of them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.amounts import decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracecraft_core.queries import MetricSummary, Tokens

_BARS: Final = "▁▂▃▄▅▆▇█"


def duration(seconds: float | None) -> str:
    """``55 us``, ``340 ms``, ``2.1 s``, ``3 m 12 s`` or ``2 h 5 m``; ``-`` when it is not known."""
    if seconds is None:
        return "-"
    if 0 < seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} m {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} m"


def cost(amount: float | None, unpriced: int = 0) -> str:
    """``$0.0123``; with ``>=`` when some calls have no known cost; ``-`` when nothing is known."""
    if amount is None:
        return "-"
    shown = f"${amount:.2f}" if amount >= 100 else f"${decimal(amount)}"
    return f">={shown}" if unpriced else shown


def total(tokens: Tokens | None) -> int:
    """All tokens, in whatever bucket."""
    if tokens is None:
        return 0
    return tokens.input + tokens.cache_read + tokens.cache_write + tokens.output + tokens.reasoning


def count(number: int) -> str:
    """``980``, ``12.3k``, ``4.56M``."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def unusual(metric: MetricSummary) -> str:
    """How many points are no numbers, ``2 nan, 1 infinite``; empty when all are."""
    found = {"nan": metric.nans, "infinite": metric.infinite}
    return ", ".join(f"{numbers:,} {name}" for name, numbers in found.items() if numbers)


def tokens(used: Tokens | None) -> str:
    """``1.2k tokens``; nothing when there were none."""
    number = total(used)
    return f"{count(number)} tokens" if number else ""


def buckets(used: Tokens) -> str:
    """The buckets that are not empty."""
    names = {
        "input": used.input,
        "cache read": used.cache_read,
        "cache write": used.cache_write,
        "output": used.output,
        "reasoning": used.reasoning,
    }
    return ", ".join(f"{name} {count(number)}" for name, number in names.items() if number)


def value(given: Any) -> str:
    """A metric or a parameter in one word or line."""
    if isinstance(given, float):
        return f"{given:.5g}"
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def number(given: Any) -> float:
    """A metric's value as a number; the strings of JSON's missing numbers, too."""
    try:
        return float(given)
    except (TypeError, ValueError):
        return math.nan


def sparkline(values: Sequence[Any], width: int = 24) -> str:
    """A small curve; points that are no numbers are gaps."""
    points = [number(one) for one in values]
    if len(points) > width:
        points = [points[place * (len(points) - 1) // (width - 1)] for place in range(width)]
    finite = [point for point in points if math.isfinite(point)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    top = len(_BARS) - 1
    return "".join(
        (_BARS[round((point - low) / span * top)] if span else _BARS[0]) if math.isfinite(point) else " "
        for point in points
    )
