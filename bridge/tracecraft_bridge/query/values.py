"""How values of the database are written in an answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import datetime
    from decimal import Decimal


@overload
def moment(value: datetime.datetime) -> str: ...
@overload
def moment(value: None) -> None: ...
def moment(value: datetime.datetime | None) -> str | None:
    """RFC 3339, UTC, with microseconds."""
    return None if value is None else f"{value.year:04d}-{value:%m-%dT%H:%M:%S}.{value.microsecond:06d}Z"


def number(value: float | None) -> float | str | None:
    """A number, or the word for one that JSON does not have."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def money(value: Decimal | None) -> float | None:
    """An amount as a JSON number."""
    return None if value is None else float(value)
