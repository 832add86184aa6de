"""What a model call used, in disjoint buckets of tokens, from what the providers' clients return.

Providers count differently: OpenAI's prompt tokens include those read from the cache and its completion tokens the
reasoning; Anthropic's input tokens are only those that no cache had a part in. `buckets` knows these shapes:

- OpenAI chat completions (and what imitates them; OpenRouter adds ``cost``): ``prompt_tokens``, ``completion_tokens``
- OpenAI responses: ``input_tokens`` with ``total_tokens`` or ``input_tokens_details``
- LangChain ``usage_metadata``: ``input_tokens`` with ``input_token_details``
- Anthropic: ``input_tokens`` with ``cache_read_input_tokens``, ``cache_creation_input_tokens``
- Amazon Bedrock: ``inputTokens`` with ``cacheReadInputTokens``, ``cacheWriteInputTokens``
- Google: ``prompt_token_count``, ``candidates_token_count``, ``thoughts_token_count``, ``cached_content_token_count``
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import MAX_COST, MAX_COUNT, MAX_NAME


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response or a usage object says."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cost: float | None = None
    model: str | None = None
    provider: str | None = None
    request: str | None = None


_HOLDERS: Final = ("usage", "usage_metadata")
_PROVIDERS: Final = ("anthropic", "openai")


def read(source: Any) -> Reading:
    """A reading of a usage object or dict, or of a whole response. Raises `UsageError` for what is neither."""
    usage = next((found for name in _HOLDERS if (found := _get(source, name)) is not None), source)
    whole = source if usage is not source else None
    buckets = _tokens(usage)
    if buckets is None:
        raise UsageError(
            f"{type(source).__name__} is no usage of a model call that is known here: "
            "give the numbers, for example log_usage(input=1200, output=300)"
        )
    cost = _get(usage, "cost")
    return Reading(
        **{name: max(0, count) for name, count in buckets.items()},
        cost=None if cost is None else amount(cost),
        model=_word(_get(whole, "model")) or _word(_get(whole, "model_version")),
        provider=_provider(source),
        request=(_word(_get(whole, "id")) or _word(_get(whole, "response_id")) or "")[:MAX_NAME] or None,
    )


def _tokens(usage: Any) -> dict[str, int] | None:
    for shape in (_openai_chat, _google, _bedrock, _input_tokens):
        found = shape(usage)
        if found is not None:
            return found
    return None


def _openai_chat(usage: Any) -> dict[str, int] | None:
    if not _has(usage, "prompt_tokens", "completion_tokens"):
        return None
    details = _get(usage, "prompt_tokens_details")
    cached, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    reasoning = _count(_get(usage, "completion_tokens_details"), "reasoning_tokens")
    return _inclusive(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), cached, written, reasoning)


def _google(usage: Any) -> dict[str, int] | None:
    if not _has(usage, "prompt_token_count", "candidates_token_count"):
        return None
    cached = _count(usage, "cached_content_token_count")
    return {
        "input": _count(usage, "prompt_token_count") + _count(usage, "tool_use_prompt_token_count") - cached,
        "cache_read": cached,
        "output": _count(usage, "candidates_token_count"),
        "reasoning": _count(usage, "thoughts_token_count"),
    }


def _bedrock(usage: Any) -> dict[str, int] | None:
    if not _has(usage, "inputTokens", "outputTokens"):
        return None
    return {
        "input": _count(usage, "inputTokens"),
        "cache_read": _count(usage, "cacheReadInputTokens"),
        "cache_write": _count(usage, "cacheWriteInputTokens"),
        "output": _count(usage, "outputTokens"),
    }


def _input_tokens(usage: Any) -> dict[str, int] | None:
    """OpenAI's responses and LangChain include the cache in ``input_tokens``, Anthropic does not."""
    if not _has(usage, "input_tokens", "output_tokens"):
        return None
    taken, given = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    for inside, outside, read_, written in (
        ("input_tokens_details", "output_tokens_details", "cached_tokens", "cache_write_tokens"),
        ("input_token_details", "output_token_details", "cache_read", "cache_creation"),
    ):
        if _get(usage, inside) is not None or _get(usage, outside) is not None:
            details, thought = _get(usage, inside), _get(usage, outside)
            reasoning = _count(thought, "reasoning_tokens") or _count(thought, "reasoning")
            return _inclusive(taken, given, _count(details, read_), _count(details, written), reasoning)
    return {
        "input": taken,
        "cache_read": _count(usage, "cache_read_input_tokens"),
        "cache_write": _count(usage, "cache_creation_input_tokens"),
        "output": given,
    }


def _inclusive(taken: int, given: int, cached: int, written: int, reasoning: int) -> dict[str, int]:
    """Buckets from totals that include their parts."""
    return {
        "input": taken - cached - written,
        "cache_read": cached,
        "cache_write": written,
        "output": given - reasoning,
        "reasoning": reasoning,
    }


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _has(source: Any, *names: str) -> bool:
    return any(_get(source, name) is not None for name in names)


def _count(source: Any, name: str) -> int:
    value = _get(source, name)
    return 0 if value is None else tokens(name, value)


def tokens(what: str, given: Any) -> int:
    """A number of tokens: whole, of any numeric type. Raises `UsageError`."""
    try:
        whole = isinstance(given, float) and given.is_integer()
        count = int(given) if whole else operator.index(given)
    except TypeError:
        count = -1
    if isinstance(given, bool) or not 0 <= count <= MAX_COUNT:
        raise UsageError(f"{what}={given!r}: a whole number of tokens from 0 to {MAX_COUNT:,} is expected")
    return count


def amount(cost: Any) -> float:
    """An amount of money, of any numeric type. Raises `UsageError`."""
    try:
        found = -1.0 if isinstance(cost, (bool, str, bytes)) else float(cost)
    except (TypeError, ValueError, OverflowError):
        found = -1.0
    if not 0 <= found <= MAX_COST:
        raise UsageError(f"cost={cost!r}: an amount from 0 to {MAX_COST:,.0f} is expected")
    return found


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _provider(source: Any) -> str | None:
    package = type(source).__module__.partition(".")[0]
    return package if package in _PROVIDERS else None
