"""What is true of a test's run: what the stub model has told to have used, and what that costs by the public list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stub_model.server import told

if TYPE_CHECKING:
    from tests.support.stub_model import Exchange, StubModel, Usage


class Truth:
    """``run.tokens == truth.tokens``, ``run.cost == truth.cost``."""

    def __init__(self, model: StubModel) -> None:
        self.model = model

    @property
    def tokens(self) -> Usage:
        """All tokens, in disjoint buckets."""
        return self.model.usage()

    @property
    def cost(self) -> Any:
        """USD, to be compared with a float; every model that was asked must be on the list."""
        return pytest.approx(sum(map(_price, self.model.exchanges)), abs=1e-9)

    @property
    def calls(self) -> int:
        """Model calls that were answered."""
        return sum(exchange.reply.error is None for exchange in self.model.exchanges)


def _price(exchange: Exchange) -> float:
    import genai_prices

    used = told(exchange.request.dialect, exchange.reply.usage)
    priced = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=used.input + used.cache_read + used.cache_write,
            cache_read_tokens=used.cache_read,
            cache_write_tokens=used.cache_write,
            output_tokens=used.output + used.reasoning,
        ),
        exchange.request.model,
        provider_id="anthropic" if exchange.request.dialect == "messages" else "openai",
    )
    return float(priced.total_price)
