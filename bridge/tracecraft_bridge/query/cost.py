"""``cost``: what was spent, by whom or for what."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge import prices
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.refusal import bad_question
from tracecraft_bridge.query.values import money
from tracecraft_core.queries import CostReport, CostRow, UnpricedRow

if TYPE_CHECKING:
    from tracecraft_bridge.database import Connection
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import CostQuestion

MOST: Final = 1_000
"""Rows of a report; ``total`` has the others too."""

UNPRICED: Final = 10
"""Models that are named as having no price."""

_BY: Final = {
    "agent": "agent",
    "model": "model",
    "task": "task",
    "run": "run",
    "day": "to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}
_TOTALS: Final = """
    count(*) FILTER (WHERE counted),
    sum(input_tokens) FILTER (WHERE counted), sum(cache_read_tokens) FILTER (WHERE counted),
    sum(cache_write_tokens) FILTER (WHERE counted), sum(output_tokens) FILTER (WHERE counted),
    sum(reasoning_tokens) FILTER (WHERE counted),
    sum(amount) FILTER (WHERE counted AND currency = 'USD'), count(*) FILTER (WHERE counted AND amount IS NULL),
    count(*) FILTER (WHERE NOT counted)
"""


async def cost(asked: Asked, question: CostQuestion) -> CostReport:
    """``cost``."""
    key = _BY.get(question.by)
    if key is None:
        raise bad_question(f"cannot add up by {question.by!r}", f"one of {', '.join(_BY)}")
    async with asked.pool.snapshot() as connection:
        where, bound = "project = %s", list[Any]([asked.project])
        if question.run is not None:
            where += " AND run = %s"
            bound.append(await runs.resolve(connection, asked.project, question.run))
        if question.since is not None:
            where += " AND time >= %s"
            bound.append(_since(question.since))
        source = f"FROM cost_entry WHERE {where}"
        ranked = f"{source} GROUP BY 1 ORDER BY 8 DESC NULLS LAST, 2 DESC, 1 LIMIT {MOST}"
        rows = await _all(connection, f"SELECT {key}, {_TOTALS} {ranked}", bound)
        (total,) = await _all(connection, f"SELECT {_TOTALS} {source}", bound)
        foreign = f"{source} AND counted AND currency <> 'USD' AND amount IS NOT NULL"
        other = await _all(connection, f"SELECT currency, sum(amount) {foreign} GROUP BY 1 ORDER BY 1", bound)
        priced = f"{source} AND price_version IS NOT NULL"
        unknown = f"{source} AND counted AND amount IS NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {UNPRICED}"
        unpriced = await _all(connection, f"SELECT provider, model, count(*) {unknown}", bound)
        versions = await _all(connection, f"SELECT DISTINCT price_version {priced} ORDER BY 1", bound)
    return CostReport(
        rows=[_row(*row) for row in rows],
        total=_row(None, *total),
        other={currency: float(amount) for currency, amount in other},
        price_versions=[version for (version,) in versions],
        unpriced=[
            UnpricedRow(provider=provider, model=model, calls=calls, why=prices.missing(provider, model))
            for provider, model, calls in unpriced
        ],
    )


async def _all(connection: Connection, query: str, bound: list[Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), bound)).fetchall()


def _row(key: str | None, calls: int, *rest: Any) -> CostRow:
    *tokens, amount, unpriced, not_counted = rest
    return CostRow(
        key=key,
        calls=calls,
        tokens=runs.token_counts(tokens),
        cost=money(amount),
        unpriced=unpriced,
        not_counted=not_counted,
    )


def _since(text: str) -> datetime.datetime:
    try:
        since = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise bad_question(f"since is no time: {text!r}", "for example 2026-11-22T19:30:00Z") from None
    return since.replace(tzinfo=datetime.UTC) if since.tzinfo is None else since
