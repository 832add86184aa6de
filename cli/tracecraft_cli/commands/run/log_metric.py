"""``tracecraft run log-metric``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.given import DashedWords
from tracecraft_cli.options import Common, common
from tracecraft_cli.run_writing import run_option, write
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_cli.run_book import Event


@click.command(cls=DashedWords)
@click.argument("name")
@click.argument("value")
@click.option("--step", type=int, metavar="N", help="The step it belongs to; left out, the next one of NAME.")
@run_option
@common
def command(common: Common, name: str, value: str, step: int | None, run_id: str | None) -> None:
    """Log the number VALUE (nan and inf too) as a point of the metric NAME.

    Without a bus it is kept on this machine and delivered later, once.

    Example: tracecraft run log-metric loss 0.31 --step 12
    """
    number: Any = None

    def check() -> None:
        nonlocal number
        number = _number(name, value)
        if step is not None:
            from tracecraft_core.metric_point import checked_step

            checked_step(name, step)

    def point() -> list[Event]:
        from tracecraft_cli.run_book import Event
        from tracecraft_cli.run_notes import now
        from tracecraft_core.run_events import Metric

        return [Event("metric", Metric(points=[(name, number, step, now())]))]

    guard(common.as_json, check)
    write(common, run_id, point, {"metric": name, "value": number, "step": step})


def _number(name: str, value: str) -> Any:
    """The value as it stands in the event."""
    from tracecraft_core.errors import UsageError

    if not name.strip():
        raise UsageError("NAME is empty; for example 'tracecraft run log-metric loss 0.31'")
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"VALUE {value!r} is not a number; for example 0.31, 1e-3, nan or -inf") from None
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    return number
