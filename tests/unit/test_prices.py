"""What calls cost: every kind of token has its price, an unknown model has none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tracecraft_bridge.prices import Prices, TokenCounts, missing

JUNE_2026 = 1_780_000_000_000_000


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "dollars"),
    [
        ("openai", "gpt-4o", TokenCounts(1_000_000, 0, 0, 0, 0), "2.5"),
        ("openai", "gpt-4o", TokenCounts(0, 1_000_000, 0, 0, 0), "1.25"),
        ("openai", "gpt-4o", TokenCounts(0, 0, 0, 1_000_000, 0), "10"),
        ("openai", "gpt-4o", TokenCounts(0, 0, 0, 0, 1_000_000), "10"),
        ("anthropic", "claude-3-5-sonnet-20241022", TokenCounts(0, 0, 1_000_000, 0, 0), "3.75"),
        ("openai", "gpt-4o", TokenCounts(1_000, 100, 0, 50, 0), "0.003125"),
        (None, "gpt-4o", TokenCounts(1_000, 0, 0, 0, 0), "0.0025"),
        ("openai", "gpt-4o", TokenCounts(0, 0, 0, 0, 0), "0"),
    ],
)
def test_a_call_costs_what_the_list_says(provider: str | None, model: str, tokens: TokenCounts, dollars: str) -> None:
    assert Prices().amount(provider, model, JUNE_2026, tokens) == Decimal(dollars)


@pytest.mark.parametrize(("provider", "model"), [("openai", "no-such-model"), (None, None), ("openai", "")])
def test_an_unknown_model_has_no_price(provider: str | None, model: str | None) -> None:
    assert Prices().amount(provider, model, JUNE_2026, TokenCounts(1, 1, 1, 1, 1)) is None


def test_a_long_prompt_is_priced_by_its_tier() -> None:
    prices = Prices()
    short = prices.amount("google", "gemini-2.5-pro", JUNE_2026, TokenCounts(100_000, 0, 0, 0, 0))
    long = prices.amount("google", "gemini-2.5-pro", JUNE_2026, TokenCounts(300_000, 0, 0, 0, 0))
    assert short is not None
    assert long is not None
    assert long > 3 * short


@pytest.mark.parametrize(
    ("provider", "model", "why"),
    [
        pytest.param("stub", "gpt-4o", "the price list has no provider stub", id="provider"),
        pytest.param("openai", "no-such", "the price list has no model no-such of openai", id="model"),
        pytest.param(None, "no-such", "the price list has no model no-such", id="model of nobody"),
        pytest.param("openai", None, "nobody said which model it was", id="no model"),
    ],
)
def test_a_call_without_a_price_has_a_reason(provider: str | None, model: str | None, why: str) -> None:
    assert missing(provider, model) == why
