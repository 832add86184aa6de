"""``tracecraft cost``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core.queries import CostReport, CostRow


@click.command()
@click.option(
    "--by",
    type=click.Choice(["agent", "model", "task", "day", "run"]),
    default="agent",
    show_default=True,
    help="What the calls are added up for.",
)
@click.option("--since", type=DURATION, help="Only calls of this time, for example 24h or 7d.")
@click.option("--run", "run_id", metavar="ID", help="Only calls of this run.", allow_from_autoenv=False)
@common
def command(common: Common, by: str, since: float | None, run_id: str | None) -> None:
    """Show what model calls used and cost, the most expensive first.

    A cost that a call reported wins over the price list. Calls without a known price are counted as unpriced, never as
    free. What replays and forks repeat is not counted.

    Example: tracecraft cost --by model --since 7d
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        import datetime

        import msgspec

        from tracecraft import timeline
        from tracecraft.queries import ask
        from tracecraft_core.queries import CostQuestion, CostReport

        start = None
        if since is not None:
            now = datetime.datetime.fromisoformat(await timeline.server_time(session.context.bus))
            start = (now - datetime.timedelta(seconds=min(since, 3e9))).isoformat()
        question = CostQuestion(by=by, run=run_id, since=start)
        report = await ask(session.context, "cost", question, CostReport)
        emit(common.as_json, msgspec.to_builtins(report), _text(report, by) if report.rows else None)
        if not report.rows:
            note(f"no model calls in project {session.project}")

    run(common, work, acts=False)


def _text(report: CostReport, by: str) -> str:
    from tracecraft_cli.amounts import decimal
    from tracecraft_cli.runs_view import prices

    lines = [
        table(
            [by, "calls", "input", "cache read", "cache write", "output", "reasoning", "cost"],
            [*(_row(row) for row in report.rows), _row(report.total, "total")],
        )
    ]
    if report.total.unpriced:
        have = "call has" if report.total.unpriced == 1 else "calls have"
        lines.append(f"{report.total.unpriced} {have} no known price: the costs with >= are lower bounds")
        lines += [f"  {line}" for line in prices.lines(report.unpriced)]
    if report.total.not_counted:
        calls = (
            "call of replays and forks, or reported twice, is"
            if report.total.not_counted == 1
            else ("calls of replays and forks, or reported twice, are")
        )
        lines.append(f"{report.total.not_counted} {calls} not counted")
    lines += [f"besides {decimal(amount)} {currency}" for currency, amount in report.other.items()]
    if report.price_versions:
        lines.append(f"prices: {', '.join(report.price_versions)}")
    return "\n".join(lines)


def _row(row: CostRow, name: str | None = None) -> list[str]:
    from tracecraft_cli.runs_view import numbers
    from tracecraft_core.quotation import oneline

    used = row.tokens
    buckets = (used.input, used.cache_read, used.cache_write, used.output, used.reasoning)
    cells = [str(row.calls), *map(numbers.count, buckets), numbers.cost(row.cost, row.unpriced)]
    return [oneline(name or row.key or "(none)", 60), *cells]
