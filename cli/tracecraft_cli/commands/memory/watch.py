"""``tracecraft memory watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import DURATION, Common, Whole, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("pattern")
@click.option("--count", type=Whole(min=1), help="End after N lines.")
@click.option("--timeout", type=DURATION, help="End after this time, for example 90s or 15m.")
@click.option("--initial", is_flag=True, help="First the values that are there now.")
@common
def command(common: Common, pattern: str, count: int | None, timeout: float | None, initial: bool) -> None:
    """Print changes of the keys that match PATTERN as they happen: key, revision, value, one line each.

    PATTERN takes NATS wildcards on the tokens of a key: '*' stands for one, a last '>' for the rest. Runs until
    interrupted, --count or --timeout; exits with 124 when --timeout came before --count was reached.

    Example: tracecraft memory watch 'findings.>' --count 1 --timeout 5m
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        import asyncio

        from tracecraft_core.errors import WaitTimeout

        try:
            async with asyncio.timeout(timeout):
                await _follow(session, pattern, count, initial, common.as_json)
        except TimeoutError:
            if count is not None:
                raise WaitTimeout(f"{count} change{'s'[: count != 1]} of {pattern}", timeout or 0) from None

    guard(common.as_json, lambda: _check(pattern))
    run(common, work, acts=False)


def _check(pattern: str) -> None:
    from tracecraft_core import names

    names.pattern(pattern)


async def _follow(session: AsyncSession, pattern: str, count: int | None, initial: bool, as_json: bool) -> None:
    import contextlib

    from tracecraft_cli.commands.memory import rows

    seen = 0
    async with contextlib.aclosing(session.memory.watch(pattern, initial=initial)) as changes:
        async for entry in changes:
            emit(as_json, rows.as_json(entry), rows.line(entry))
            seen += 1
            if seen == count:
                return
