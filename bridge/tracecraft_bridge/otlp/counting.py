"""What a model call used, in disjoint buckets, whatever dialect told it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracecraft_bridge.otlp.telemetry import first
from tracecraft_core import semconv, values
from tracecraft_core.run_events import MAX_COST, MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tokens(NamedTuple):
    """Disjoint buckets, as in the event ``usage``."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


_NOTHING: Final = Tokens()


def tokens_of_span(found: Mapping[str, Any]) -> Tokens:
    """What the attributes of a span tell: OpenTelemetry GenAI, OpenInference and Claude Code."""
    if first(found, *semconv.INPUT_TOKENS, *semconv.OUTPUT_TOKENS) is not None:
        return contained(
            _count(found, *semconv.INPUT_TOKENS),
            _count(found, *semconv.CACHE_READ_TOKENS),
            _count(found, *semconv.CACHE_WRITE_TOKENS),
            _count(found, *semconv.OUTPUT_TOKENS),
            _count(found, *semconv.REASONING_TOKENS),
        )
    if first(found, semconv.OI_PROMPT_TOKENS, semconv.OI_COMPLETION_TOKENS) is not None:
        return contained(
            _count(found, semconv.OI_PROMPT_TOKENS),
            _count(found, *semconv.OI_CACHE_READ_TOKENS),
            _count(found, semconv.OI_CACHE_WRITE_TOKENS),
            _count(found, semconv.OI_COMPLETION_TOKENS),
            _count(found, semconv.OI_REASONING_TOKENS),
        )
    return _NOTHING


def tokens_of_claude(found: Mapping[str, Any]) -> Tokens:
    """What Claude Code tells of a call, on spans and in log records: disjoint already."""
    return Tokens(
        _count(found, semconv.CLAUDE_INPUT_TOKENS),
        _count(found, semconv.CLAUDE_CACHE_READ_TOKENS),
        _count(found, semconv.CLAUDE_CACHE_WRITE_TOKENS),
        _count(found, semconv.CLAUDE_OUTPUT_TOKENS),
    )


def tokens_of_codex(found: Mapping[str, Any]) -> Tokens:
    """What Codex tells of a response."""
    return contained(
        _count(found, semconv.CODEX_INPUT_TOKENS),
        _count(found, semconv.CODEX_CACHE_READ_TOKENS),
        _count(found, semconv.CODEX_CACHE_WRITE_TOKENS),
        _count(found, semconv.CODEX_OUTPUT_TOKENS),
        _count(found, semconv.CODEX_REASONING_TOKENS),
    )


def contained(input: int, cache_read: int, cache_write: int, output: int, reasoning: int) -> Tokens:
    """Buckets of counts in which the input contains the cached tokens, and the output the reasoning.

    An input that is smaller than its parts cannot contain them: then the source counts them apart after all.
    """
    cached = cache_read + cache_write
    return Tokens(
        input - cached if input >= cached else input,
        cache_read,
        cache_write,
        output - reasoning if output >= reasoning else output,
        reasoning,
    )


def cost_of(found: Mapping[str, Any]) -> tuple[float | None, str]:
    """What the source says that it cost, and the currency."""
    amount = number(first(found, *semconv.COSTS, semconv.OI_COST, semconv.CLAUDE_COST))
    if amount is None or not 0 <= amount <= MAX_COST:
        return None, "USD"
    currency = found.get(semconv.CURRENCY)
    known = isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()
    return amount, str(currency) if known and found.get(semconv.COST) is not None else "USD"


def number(said: Any) -> float | None:
    """A finite number, also where it was sent as text."""
    if isinstance(said, bool) or not isinstance(said, (int, float, str)):
        return None
    try:
        found = float(said)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def impossible(found: Mapping[str, Any]) -> str:
    """The first number of tokens that cannot be one, in words; empty when there is none."""
    for name in _COUNTS:
        said = found.get(name)
        if said is None or said == "" or _exact(said) is not None:
            continue
        return f"{name} is {values.as_text(said)[:40]}: not counted, expected 0 to {MAX_COUNT}"
    return ""


def _count(found: Mapping[str, Any], *names: str) -> int:
    return _exact(first(found, *names)) or 0


def _exact(said: Any) -> int | None:
    exact = said if isinstance(said, int) and not isinstance(said, bool) else number(said)
    return None if exact is None or not 0 <= exact <= MAX_COUNT else int(exact)


_COUNTS: Final = (
    *(*semconv.INPUT_TOKENS, *semconv.CACHE_READ_TOKENS, *semconv.CACHE_WRITE_TOKENS),
    *(*semconv.OUTPUT_TOKENS, *semconv.REASONING_TOKENS),
    *(semconv.OI_PROMPT_TOKENS, *semconv.OI_CACHE_READ_TOKENS, semconv.OI_CACHE_WRITE_TOKENS),
    *(semconv.OI_COMPLETION_TOKENS, semconv.OI_REASONING_TOKENS),
    *(semconv.CLAUDE_INPUT_TOKENS, semconv.CLAUDE_CACHE_READ_TOKENS, semconv.CLAUDE_CACHE_WRITE_TOKENS),
    *(semconv.CLAUDE_OUTPUT_TOKENS, semconv.CODEX_INPUT_TOKENS, semconv.CODEX_CACHE_READ_TOKENS),
    *(semconv.CODEX_CACHE_WRITE_TOKENS, semconv.CODEX_OUTPUT_TOKENS, semconv.CODEX_REASONING_TOKENS),
)
"""Every attribute that is a number of tokens in some dialect."""
