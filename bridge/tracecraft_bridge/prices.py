"""What a model call costs by the price list of genai-prices, in USD.

The list ships with the package and is never fetched, so the same call has the same price until the package changes;
each amount is kept with the version that gave it. A price may depend on the time of day, so it is looked up once an
hour of calls, and for most models (those without tiers) it is then a rate for each kind of token.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from genai_prices.types import ModelPrice

MILLION: Final = 1_000_000
SOURCE: Final = "genai-prices"
REMEMBERED: Final = 5_000
HOUR_US: Final = 3_600 * MILLION
NANO_USD: Final = Decimal("0.000000001")
"""Amounts are rounded to this."""


class TokenCounts(NamedTuple):
    """Disjoint buckets of tokens, as in the event ``usage``."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int


_NOTHING: Final = TokenCounts(0, 0, 0, 0, 0)


class Prices:
    """The price list, with what was looked up."""

    def __init__(self) -> None:
        self.version = metadata.version("genai-prices")
        self._known: dict[tuple[str | None, str, int], Callable[[TokenCounts], Decimal] | None] = {}

    def amount(self, provider: str | None, model: str | None, time: int, tokens: TokenCounts) -> Decimal | None:
        """What a call at this time (microseconds since 1970) costs; ``None`` when the list does not know the model."""
        if not model:
            return None
        key = (provider, model, time // HOUR_US)
        if key in self._known:
            pricer = self._known[key]
        else:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            pricer = self._known[key] = _pricer(provider, model, key[2])
        return None if pricer is None else pricer(tokens)


def _pricer(provider: str | None, model: str, hour: int) -> Callable[[TokenCounts], Decimal] | None:
    from genai_prices.data_snapshot import get_snapshot  # takes a tenth of a second: only a bridge with costs pays it
    from genai_prices.types import TieredPrices

    when = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=hour)
    try:
        _, found = get_snapshot().find_provider_model(model, None, provider or None, None)
        price = found.get_prices(when)
    except (LookupError, ValueError):
        return None
    if any(isinstance(each, TieredPrices) for each in vars(price).values()):
        return lambda tokens: _rounded(_total(price, tokens))
    base = _total(price, _NOTHING)
    one = [_total(price, TokenCounts(*(MILLION * (i == place) for i in range(5)))) - base for place in range(5)]
    rates = tuple(rate / MILLION for rate in one)
    return lambda tokens: _rounded(base + sum(map(Decimal.__mul__, rates, map(Decimal, tokens)), Decimal(0)))


def missing(provider: str | None, model: str | None) -> str:
    """Why a call has no price, in words."""
    from genai_prices.data_snapshot import get_snapshot

    if not model:
        return "nobody said which model it was"
    snapshot = get_snapshot()
    try:
        snapshot.find_provider(model, provider or None, None)
    except (LookupError, ValueError):
        return f"the price list has no provider {provider}" if provider else f"the price list has no model {model}"
    try:
        snapshot.find_provider_model(model, None, provider or None, None)
    except (LookupError, ValueError):
        return f"the price list has no model {model}{f' of {provider}' if provider else ''}"
    return f"the price list had no price for {model} when it was recorded"


def _total(price: ModelPrice, tokens: TokenCounts) -> Decimal:
    from genai_prices import Usage

    usage = Usage(
        input_tokens=tokens.input + tokens.cache_read + tokens.cache_write,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output + tokens.reasoning,
    )
    return price.calc_price(usage)["total_price"]


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(NANO_USD)
