"""A metric point: which step it may have."""

from __future__ import annotations

import operator
from typing import Any, Final

from tracecraft_core.errors import UsageError

MAX_STEP: Final = 2**62
"""Highest step: nanoseconds since 1970 are lower until 2116, and the sum of two fits into 64 bits."""


def checked_step(key: str, step: Any) -> int:
    """The step of a point of the metric ``key``: 0 to `MAX_STEP`. Raises `UsageError`, for a bool too."""
    try:
        number = -1 if isinstance(step, bool) else operator.index(step)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_STEP:
        raise UsageError(f"metric {key}: step {step!r} is not a whole number from 0 to 2**62, for example 12")
    return number
