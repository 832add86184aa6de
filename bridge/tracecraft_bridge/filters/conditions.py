"""What a filter says, as a tree. A condition holds when one of the field's values fulfils it; absent ones never do."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tracecraft_bridge.filters.fields import Field

Value = str | float | bool | datetime.datetime
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "like", "not like", "ilike", "not ilike", "~", "!~"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator value``; several values with ``in`` only."""

    field: Field
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """``field is not null``."""

    field: Field


@dataclass(frozen=True, slots=True)
class IsNan:
    """``field is nan``."""

    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class All:
    """``and``."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """``or``."""

    conditions: tuple[Condition, ...]


Condition = Comparison | Present | IsNan | Not | All | Any
