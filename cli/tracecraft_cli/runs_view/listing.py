"""The list of runs: one line each, with the columns that say something."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.ages import ago
from tracecraft_cli.output import table
from tracecraft_cli.runs_view import numbers
from tracecraft_core.errors import UsageError
from tracecraft_core.quotation import oneline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracecraft_core.queries import RunRow

WIDEST: Final = 40
"""Characters of a cell."""
METRICS: Final = 3
"""Metrics that are shown when nobody said which."""

_FIELDS: Final[dict[str, Callable[[RunRow], str]]] = {
    "run": lambda row: row.run,
    "name": lambda row: row.name,
    "status": lambda row: row.status,
    "agent": lambda row: row.agent,
    "seconds": lambda row: numbers.duration(row.seconds),
    "took": lambda row: numbers.duration(row.seconds),
    "purpose": lambda row: row.purpose,
    "parent": lambda row: row.parent or "-",
    "steps": lambda row: numbers.count(row.steps),
    "errors": lambda row: numbers.count(row.errors),
    "tokens": lambda row: numbers.count(numbers.total(row.tokens)),
    "cost": lambda row: numbers.cost(row.cost, row.unpriced),
    "reason": lambda row: row.reason or "-",
}
_KEYED: Final = ("params", "metrics", "tags")
_NAMED = re.compile(r"\b(?:params|metrics|tags)\.(?:[A-Za-z_][\w./-]*|`[^`]+`|\"[^\"]+\")")


def check(columns: str | None) -> list[str] | None:
    """The columns that were asked for. Raises `UsageError` for one that there is not."""
    if columns is None:
        return None
    wanted = [column.strip() for column in columns.split(",") if column.strip()]
    for column in wanted:
        group, _, key = column.partition(".")
        if column not in _FIELDS and column != "started" and not (group in _KEYED and key):
            raise UsageError(
                f"--columns: there is no column {column!r}; there are {', '.join(['started', *_FIELDS])}, "
                "params.KEY, metrics.KEY and tags.KEY"
            )
    return wanted


def usual(rows: Sequence[RunRow], filter_: str, sort: str) -> list[str]:
    """What tells these runs apart: what was asked about first, then the metrics that most of them have."""
    asked = [name.replace("`", "").replace('"', "") for name in _NAMED.findall(f"{sort.lstrip('-')} {filter_}")]
    common = [f"metrics.{key}" for key, _ in Counter(key for row in rows for key in row.metrics).most_common(METRICS)]
    columns = ["run", "name", "status", "started", "took"]
    columns += ["steps"] if any(row.steps for row in rows) else []
    columns += ["errors"] if any(row.errors for row in rows) else []
    columns += ["cost"] if any(row.cost is not None for row in rows) else []
    columns += dict.fromkeys([*asked, *common[: max(0, METRICS - len(asked))]])
    return columns + (["reason"] if any(row.reason for row in rows) else [])


def text(rows: Sequence[RunRow], columns: Sequence[str], now: str) -> str:
    """The table."""
    header = [column.partition(".")[2] if column.partition(".")[0] == "metrics" else column for column in columns]
    return table(header, [[oneline(_cell(row, column, now), WIDEST) for column in columns] for row in rows])


def _cell(row: RunRow, column: str, now: str) -> str:
    if column == "started":
        return ago(row.started, now)
    if column in _FIELDS:
        return _FIELDS[column](row)
    group, _, key = column.partition(".")
    values: dict[str, Any] = getattr(row, group)
    return numbers.value(values[key]) if key in values else "-"
