"""How runs are sorted, and the place in that order where the next page begins.

An order has up to three sections, each read on its own: the runs with a value, those whose value is NaN, those without
one. Inside a section the keyset is (value, run), so that a deep page costs what the first one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.filters.fields import Field, UnknownField, field
from tracecraft_bridge.query.refusal import bad_question

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_SORTED: Final = ("run_agent", "artifact")


@dataclass(frozen=True, slots=True)
class Section:
    """One part of an order, as SQL."""

    value: str
    """What it is sorted by."""
    join: str = ""
    """Of the table ``x`` that has it; a value is to follow for the key."""
    where: str = "true"
    down: bool = False
    kind: str = "text"
    """Type of the value in PostgreSQL."""
    keyed: bool = False
    """Whether ``join`` has a place for the key."""


def sections(sort: str) -> tuple[Sequence[Section], str | None]:
    """The sections of an order, and the key of the metric, parameter or tag in it. Refuses unknown fields."""
    down, found = sort.startswith("-"), sorted_by(sort)
    return (_of_run(found, down) if not found.table else _of_key(found, down)), found.key


def sorted_by(sort: str) -> Field:
    """The field of an order. Refuses unknown ones."""
    path = sort.lstrip("+-").strip()
    try:
        found = field(path)
    except UnknownField as error:
        raise bad_question(f"cannot sort by {path!r}: {error}", error.hint) from None
    if found.table in _NOT_SORTED:
        raise bad_question(f"cannot sort by {path!r}", "a run has several of them")
    return found


_TYPES: Final = {"time": "timestamptz", "number": "numeric", "seconds": "double precision", "flag": "boolean"}


def _of_run(found: Field, down: bool) -> list[Section]:
    kind = _TYPES.get(found.kind, "text")
    known = Section(found.sql, down=down, kind=kind, where=f"{found.sql} IS NOT NULL" if found.nullable else "true")
    unknown = Section("r.started", down=True, kind="timestamptz", where=f"{found.sql} IS NULL")
    return [known, unknown] if found.nullable else [known]


def _of_key(found: Field, down: bool) -> list[Section]:
    agent = " AND x.agent = ''" if found.table == "metric_latest" else ""
    rows = f"{found.table} x ON x.project = r.project AND x.run = r.run AND x.key = %s{agent}"
    join = f"JOIN {rows}"
    unknown = f"(x.key IS NULL OR {found.sql} IS NULL)" if found.table == "metric_latest" else "x.key IS NULL"
    none = Section("r.started", f"LEFT JOIN {rows}", unknown, True, "timestamptz", True)
    if found.table == "metric_latest":
        return [*_numbers(found.sql, join, down), none]
    if found.kind == "either":
        text = Section("left(x.text, 200)", join, "x.number IS NULL", down, "text", True)
        return [*_numbers("x.number", join, down), text, none]
    return [Section("left(x.value, 200)", join, "true", down, "text", True), none]


def _numbers(sql: str, join: str, down: bool) -> list[Section]:
    """Numbers in their order; NaN behind them, whichever way it goes."""
    finite = Section(sql, join, f"{sql} < 'NaN'", down, "double precision", True)
    nan = Section("r.started", join, f"{sql} = 'NaN'", True, "timestamptz", True)
    return [finite, nan]


def behind(section: Section) -> str:
    """The condition of what comes after a place; value and run follow as parameters."""
    sign = "<" if section.down else ">"
    return f"({section.value}, r.run) {sign} (%s::{section.kind}, %s)"


def order(section: Section) -> str:
    """``ORDER BY`` of a section."""
    way = "DESC" if section.down else "ASC"
    return f"{section.value} {way}, r.run {way}"


def place(value: Any) -> str:
    """A value as text that PostgreSQL reads back as the same."""
    return value.isoformat() if hasattr(value, "isoformat") else repr(value) if isinstance(value, float) else str(value)
