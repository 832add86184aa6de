"""What tokens were spent and what they cost."""

from __future__ import annotations

import msgspec

from tracecraft_core.queries.question import Answer, Question


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Disjoint buckets of tokens that count (not those of replays, forks and repeated reports)."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


class CostQuestion(Question, frozen=True, kw_only=True):
    """``cost`` → `CostReport`."""

    by: str = "agent"
    """``agent``, ``model``, ``task``, ``day`` or ``run``."""
    run: str | None = None
    since: str | None = None


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one of them cost."""

    key: str | None
    calls: int
    tokens: Tokens
    cost: float | None
    unpriced: int
    not_counted: int
    """Calls of replays and forks, and repeated reports."""


class UnpricedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Calls whose cost is not known."""

    provider: str | None
    model: str | None
    calls: int
    why: str
    """In words: ``the price list has no provider stub``."""


class CostReport(Answer, frozen=True, kw_only=True):
    """Costs, highest first, in USD; other currencies are in ``other``."""

    rows: list[CostRow]
    total: CostRow
    other: dict[str, float]
    price_versions: list[str]
    unpriced: list[UnpricedRow] = msgspec.field(default_factory=list)
    """Which calls have no known price, the most frequent first, at most 10."""
