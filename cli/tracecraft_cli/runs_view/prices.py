"""Model calls without a known price, in lines: which they are, why, and how they get one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracecraft_cli.amounts import counted
from tracecraft_core.quotation import oneline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft_core.queries import UnpricedRow

GIVEN: Final = (
    "a call has a price when it says its cost itself (log_usage(cost=...), 'tracecraft run log-step --cost', "
    "llm.cost.total in OpenTelemetry), or names provider and model as the price list does"
)


def lines(rows: Sequence[UnpricedRow]) -> Iterator[str]:
    """Nothing when there are none."""
    for row in rows:
        which = f"{row.model or 'an unnamed model'}{f' of {row.provider}' if row.provider else ''}"
        yield oneline(f"{counted(row.calls, 'call')} of {which}: {row.why}", 200)
    if rows:
        yield GIVEN
