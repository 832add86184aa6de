"""What a model call used, from the form that CrewAI gives it, which is not quite that of any provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft.recording.usage import read
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROMPT: Final = ("prompt_tokens", "input_tokens", "prompt_token_count")
COMPLETION: Final = ("completion_tokens", "output_tokens")
FLAT: Final = ("cached_prompt_tokens", "cache_creation_tokens", "reasoning_tokens")
"""CrewAI's own words: with any of them the prompt includes the caches, Anthropic's too, and the completion the
reasoning."""


def numbers(usage: Mapping[str, Any] | None) -> dict[str, int]:
    """The disjoint buckets; nothing when there is no number."""
    if not usage:
        return {}
    if any(name in usage for name in FLAT):
        prompt, completion = _first(usage, PROMPT), _first(usage, COMPLETION)
        cached, written, reasoning = (_first(usage, (name,)) for name in FLAT)
        return {
            "input": max(0, prompt - cached - written),
            "cache_read": cached,
            "cache_write": written,
            "output": max(0, completion - reasoning),
            "reasoning": reasoning,
        }
    try:  # of a model that CrewAI asks through LiteLLM, or of the user's own
        found = read(usage)
    except UsageError:
        return {}
    return {
        "input": found.input,
        "cache_read": found.cache_read,
        "cache_write": found.cache_write,
        "output": found.output,
        "reasoning": found.reasoning,
    }


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    found = (usage.get(name) for name in names)
    return next((int(value) for value in found if isinstance(value, int | float)), 0)
