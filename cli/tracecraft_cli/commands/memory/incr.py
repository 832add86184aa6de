"""``tracecraft memory incr``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from tracecraft_cli.given import DashedWords
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import compact, emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command(cls=DashedWords)
@click.argument("key")
@click.argument("number", metavar="[N]", default="1")
@common
def command(common: Common, key: str, number: str) -> None:
    """Add N (default 1, may be negative or a fraction) to the number under KEY and print the sum.

    A key without a value counts as 0. However many agents add at once, no update is lost.

    Example: tracecraft memory incr budget.usd -0.25
    """
    by: int | float = 0

    def check() -> None:
        nonlocal by
        by = _check(key, number)

    async def work(session: AsyncSession, memo: Memo) -> None:
        total = await session.memory.incr(key, by)
        emit(common.as_json, {"key": key, "value": total}, compact(total))

    guard(common.as_json, check)
    run(common, work)


def _check(key: str, number: str) -> int | float:
    from tracecraft_cli.given import parse_json
    from tracecraft_core import names
    from tracecraft_core.errors import UsageError

    names.memory_key(key)
    with contextlib.suppress(UsageError):
        by = parse_json(number.removeprefix("+"), "N", "3")
        if isinstance(by, (int, float)) and not isinstance(by, bool):
            return by
    raise UsageError(f"N {number!r} is not a number; for example 3 or -0.25")
