"""Amounts in words: how many of something, in the singular or the plural, and numbers however small they are."""

from __future__ import annotations

import math
from typing import Final

SMALL: Final = 1e-4
"""From here down Python's shortest form has an exponent."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 call``, ``2 calls``, ``1,200 calls``; ``plural`` where it is more than an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def decimal(amount: float, digits: int = 4) -> str:
    """So many digits that count, and no exponent for what is small: ``0.0000975``."""
    if not 0 < amount < SMALL:
        return f"{amount:.{digits}g}"
    places = digits - 1 - math.floor(math.log10(amount))
    return f"{amount:.{places}f}".rstrip("0")
