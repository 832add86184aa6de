"""What model calls used and cost.

A source's own cost wins over the price list; what neither knows is NULL. A call that repeats what was paid for (in a
fork or a replay), or that was reported before, is there and not counted.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from tracecraft_bridge import prices
from tracecraft_bridge.projection import poison
from tracecraft_bridge.projection.copy_text import NULL, number, stamp, text
from tracecraft_core.run_events import MAX_COST

if TYPE_CHECKING:
    from tracecraft_bridge.projection.batch import Batch
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.run_row import RunRow
    from tracecraft_bridge.projection.run_state import RunState
    from tracecraft_core.run_events import Usage

COPY_COSTS: Final = (
    "COPY cost_entry (project, run, agent, step, task, epoch, seq, time, provider, model, input_tokens, "
    "cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, amount, currency, source, price_version, "
    "cause, request, counted) FROM STDIN"
)
FIND_REQUESTS: Final = """
    SELECT DISTINCT ON (c.project, c.request) c.project, c.request, c.run
    FROM json_to_recordset(%s::json) AS k(project text, request text)
    JOIN cost_entry c ON c.project = k.project AND c.request = k.request AND c.counted
"""
REPORTED: Final = "reported"
USD: Final = "USD"


def on_usage(batch: Batch, run: RunState, entry: Entry, event: Usage) -> None:
    """``usage``."""
    assert run.row is not None
    tokens = _tokens(event)
    request = None if event.request is None else poison.name(event.request, "request")
    time = batch.time(run, entry, event.time)
    amount, currency, source, version = _amount(batch, event, time, tokens)
    counted = event.cause in ("original", "retry") and run.row.purpose != "replay"
    if request is not None:
        counted = counted and (run.project, request) not in batch.requests
        if counted:
            batch.requests[run.project, request] = run.run
    if counted:
        _add(run.row, tokens, amount, currency)
    step = None if event.step is None else text(event.step[:64])
    batch.costs.setdefault((run.project, run.run), []).append(
        f"{run.prefix}{text(entry.parts.agent)}\t{step or NULL}\t"
        f"{NULL if event.task is None else text(event.task[:250])}\t{entry.epoch}\t{entry.seq}\t{stamp(entry.time)}\t"
        f"{NULL if event.provider is None else text(event.provider[:100])}\t"
        f"{NULL if event.model is None else text(event.model[:200])}\t"
        f"{tokens.input}\t{tokens.cache_read}\t{tokens.cache_write}\t{tokens.output}\t{tokens.reasoning}\t"
        f"{number(amount)}\t{NULL if amount is None else text(currency)}\t{source or NULL}\t{version or NULL}\t"
        f"{event.cause}\t{NULL if request is None else text(request)}\t{'t' if counted else 'f'}\n"
    )


def _tokens(event: Usage) -> prices.TokenCounts:
    found = (event.input, event.cache_read, event.cache_write, event.output, event.reasoning)
    return prices.TokenCounts(*(poison.count(tokens, "a number of tokens") for tokens in found))


def _amount(
    batch: Batch, event: Usage, time: int, tokens: prices.TokenCounts
) -> tuple[Decimal | None, str, str | None, str | None]:
    """Amount, currency, where it is from, and the version of the price list."""
    if event.cost is not None:
        if not (math.isfinite(event.cost) and 0 <= event.cost <= MAX_COST):
            raise poison.Poison("cost is out of range")
        if not (len(event.currency) == 3 and event.currency.isascii() and event.currency.isupper()):
            raise poison.Poison("currency is not three capital letters")
        return Decimal(repr(event.cost)).quantize(prices.NANO_USD), event.currency, REPORTED, None
    amount = batch.prices.amount(event.provider, event.model, time, tokens)
    if amount is None or amount >= MAX_COST:
        return None, USD, None, None
    return amount, USD, prices.SOURCE, batch.prices.version


def _add(row: RunRow, tokens: prices.TokenCounts, amount: Decimal | None, currency: str) -> None:
    row.input_tokens += tokens.input
    row.cache_read_tokens += tokens.cache_read
    row.cache_write_tokens += tokens.cache_write
    row.output_tokens += tokens.output
    row.reasoning_tokens += tokens.reasoning
    if amount is None:
        row.unpriced += 1
    elif currency == USD:
        row.cost = amount if row.cost is None else row.cost + amount
