"""``tracecraft memory merge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.given import DashedWords, parse_json, read_value
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import compact, emit
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command(cls=DashedWords)
@click.argument("key")
@click.argument("patch", metavar="JSON|-")
@common
def command(common: Common, key: str, patch: str) -> None:
    """Apply a JSON merge patch (RFC 7396) to the value of KEY and print the merged value.

    Members of an object are added or replaced, null removes one; '-' reads the patch from standard input. A key
    without a value counts as null. However many agents merge at once, no update is lost.

    Example: tracecraft memory merge plan '{"owner": "writer", "draft": null}'
    """
    change: Any = None

    def check() -> None:
        nonlocal change
        change = _check(key, patch)

    async def work(session: AsyncSession, memo: Memo) -> None:
        merged = await session.memory.merge(key, change)
        emit(common.as_json, {"key": key, "value": merged}, compact(merged))

    guard(common.as_json, check)
    run(common, work)


def _check(key: str, patch: str) -> Any:
    from tracecraft_core import names

    names.memory_key(key)
    return parse_json(read_value(patch, "the patch"), "the patch", """'{"papers": 48, "draft": null}'""")
