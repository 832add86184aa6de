"""Rows of ``results.tsv``: what the agent says of each experiment.

The agent writes it by hand: ``commit``, metrics, ``status``, ``description``, with tabs. Forks of autoresearch have
other metrics, headers get lost or changed in the middle, and the last line may still be being written.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT: Final = ("commit", "val_bpb", "memory_gb", "status", "description")
"""Columns where no header is."""
KEEP: Final = "keep"
DISCARD: Final = "discard"
CRASH: Final = "crash"
_NAMED: Final = ("commit", "status", "description")
_COMMIT: Final = re.compile(r"[0-9a-f]{4,40}")
_NUMBER: Final = re.compile(r"([-+]?(?:\d[\d,_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*%?")
_SHORT: Final = 7
"""Digits of a commit that an agent writes down."""


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment, as it stands there."""

    commit: str
    """Lower-case hexadecimal digits as they were given; empty where there is no commit."""
    status: str
    """``keep``, ``discard``, ``crash``, or another word of the agent's, in small letters."""
    description: str
    number: int
    """Its place among the rows, from 1."""
    occurrence: int
    """How many rows before it have the same commit."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Columns that are no numbers, such as ``val_pass``."""
    text: str = ""
    """The line."""

    @property
    def key(self) -> str:
        """The commit as rows are told apart by it: an agent may write seven digits once and forty another time."""
        return self.commit[:_SHORT] or "none"

    @property
    def crashed(self) -> bool:
        """Whether it says that there is no result; its metrics are zeros then, which are no results."""
        return self.status == CRASH


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds."""

    rows: Sequence[Row] = ()
    problems: Sequence[str] = ()
    """Lines that are no rows, in words."""
    metric: str | None = None
    """The first column of numbers, which the agent goes by."""
    columns: Sequence[str] = ()
    """Those that may be metrics; none where nothing is written yet."""


def parse(text: str, *, settled: bool = True) -> Table:
    """The rows of a file. A last line without a line break counts only when the file is ``settled``."""
    lines = text.replace("\r\n", "\n").split("\n")
    last = lines.pop()
    if settled and last.strip():
        lines.append(last)
    return _Reader().read(lines)


class _Reader:
    def __init__(self) -> None:
        self._columns: Sequence[str] = DEFAULT
        self._rows: list[Row] = []
        self._problems: list[str] = []
        self._seen: Counter[str] = Counter()

    def read(self, lines: Sequence[str]) -> Table:
        for place, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            cells = [cell.strip() for cell in line.split("\t")]
            if _is_header(cells):
                self._columns = [cell.lower().replace(" ", "_") for cell in cells]
            elif (row := self._row(cells, line)) is not None:
                self._rows.append(row)
            else:
                self._problems.append(f"line {place} is no row: {line[:80]!r}")
        columns = [name for name in self._columns if name not in _NAMED]
        begun = any(line.strip() for line in lines)
        return Table(self._rows, self._problems, next(iter(columns), None), columns if begun else ())

    def _row(self, cells: list[str], line: str) -> Row | None:
        found = dict(zip(self._columns, self._fitted(cells), strict=False))
        commit, status = found.get("commit", "").strip("`").lower(), found.get("status", "").strip("`").lower()
        if len(cells) < 2 or not status or (commit and not _COMMIT.fullmatch(commit)):
            return None
        values = {name: cell for name, cell in found.items() if name not in _NAMED and cell}
        metrics = {name: number for name, cell in values.items() if (number := number_of(cell)) is not None}
        labels = {name: cell for name, cell in values.items() if name not in metrics}
        key = commit[:_SHORT] or "none"
        occurrence = self._seen[key]
        self._seen[key] += 1
        return Row(
            commit, status, found.get("description", ""), len(self._rows) + 1, occurrence,
            {} if status == CRASH else metrics, labels, line.strip(),
        )  # fmt: skip

    def _fitted(self, cells: list[str]) -> list[str]:
        """The cells with as many columns: tabs in the description belong to it, and columns may be left out."""
        more = len(cells) - len(self._columns)
        if more > 0 and self._columns[-1] == "description":
            return [*cells[: -more - 1], " ".join(cells[-more - 1 :])]
        place = next((n for n, cell in enumerate(cells) if cell.strip("`").lower() in (KEEP, DISCARD, CRASH)), None)
        if more < 0 and place is not None and "status" in self._columns:
            wanted = self._columns.index("status")
            return [*cells[:place], *[""] * (wanted - place), *cells[place:]]
        return cells


def _is_header(cells: Sequence[str]) -> bool:
    words = {cell.lower() for cell in cells}
    return "commit" in words and bool(words & {"status", "description"})


def number_of(cell: str) -> float | None:
    """A number, with its percent sign or thousands; ``None`` for what is none."""
    found = _NUMBER.fullmatch(cell.strip())
    return float(found[1].replace(",", "").replace("_", "")) if found else None
