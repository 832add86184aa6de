"""Tokens and cost as attributes.

Our buckets are disjoint. In OpenTelemetry and OpenInference the input includes what was read from and written to a
cache, and the output includes reasoning: "SHOULD be included in gen_ai.usage.input_tokens" (semantic conventions of
gen_ai.usage.cache_read.input_tokens). Langfuse gets its own attribute, with disjoint buckets, as it adds them up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import semconv
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

LANGFUSE_TYPE: Final = "langfuse.observation.type"
LANGFUSE_USAGE: Final = "langfuse.observation.usage_details"
LANGFUSE_COST: Final = "langfuse.observation.cost_details"
LANGFUSE_TOTAL: Final = "llm.token_count.total"

_BUCKETS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")
_LANGFUSE: Final = {
    "input": "input",
    "cache_read": "input_cached_tokens",
    "cache_write": "input_cache_creation",
    "output": "output",
    "reasoning": "output_reasoning_tokens",
}


def attributes(tokens: Tokens, cost: float | None) -> dict[str, Any]:
    """What one span used, by every name that is read somewhere."""
    taken = tokens.input + tokens.cache_read + tokens.cache_write
    given = tokens.output + tokens.reasoning
    found: dict[str, Any] = {
        semconv.INPUT_TOKENS[0]: taken,
        semconv.OUTPUT_TOKENS[0]: given,
        semconv.OI_PROMPT_TOKENS: taken,
        semconv.OI_COMPLETION_TOKENS: given,
        LANGFUSE_TOTAL: taken + given,
        LANGFUSE_USAGE: json.dumps({_LANGFUSE[name]: count for name, count in _counts(tokens) if count}),
    }
    parts = (
        (tokens.cache_read, semconv.CACHE_READ_TOKENS[0], semconv.OI_CACHE_READ_TOKENS[0]),
        (tokens.cache_write, semconv.CACHE_WRITE_TOKENS[0], semconv.OI_CACHE_WRITE_TOKENS),
        (tokens.reasoning, semconv.REASONING_TOKENS[0], semconv.OI_REASONING_TOKENS),
    )
    found |= {name: count for count, *names in parts if count for name in names}
    if cost is not None:
        found |= dict.fromkeys((semconv.COST, semconv.COSTS[1], semconv.OI_COST), cost)
        found[LANGFUSE_COST] = json.dumps({"total": cost})
    return found


def any_of(tokens: Tokens | None, cost: float | None) -> bool:
    """Whether anything was used."""
    return bool(cost) or (tokens is not None and any(count for _, count in _counts(tokens)))


class Sum:
    """Adds up what steps used, so that what is left of a total can be told."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_BUCKETS, 0)
        self._cost = 0.0

    def add(self, tokens: Tokens | None, cost: float | None) -> None:
        """Something more was used."""
        for name, count in _counts(tokens or Tokens()):
            self._counts[name] += count
        self._cost += cost or 0.0

    def rest(self, tokens: Tokens, cost: float | None) -> tuple[Tokens, float | None] | None:
        """What a total has that was not added here; ``None`` when there is nothing, or less than nothing."""
        left = {name: count - self._counts[name] for name, count in _counts(tokens)}
        if any(count < 0 for count in left.values()):
            return None
        money = None if cost is None else round(cost - self._cost, 9)
        if not any(left.values()) and not (money is not None and money > 0):
            return None
        return Tokens(**left), money if money is not None and money > 0 else None


def _counts(tokens: Tokens) -> Iterable[tuple[str, int]]:
    return ((name, getattr(tokens, name)) for name in _BUCKETS)
