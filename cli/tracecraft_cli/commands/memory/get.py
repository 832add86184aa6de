"""``tracecraft memory get``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import compact, emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("key")
@click.option("--revision", type=click.IntRange(min=1), help="The value as it was at this revision.")
@click.option("--default", metavar="VALUE", help="Printed, with exit code 0, when the key has no value.")
@common
def command(common: Common, key: str, revision: int | None, default: str | None) -> None:
    """Print the value of KEY: strings bare, anything else as JSON. Exits with 1 when there is none.

    Example: tracecraft memory get findings.json --default 0
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_core.errors import NotFound

        entry = await session.memory.entry(key, revision=revision)
        if entry is None or entry.deleted:
            if default is None:
                raise NotFound("memory key", key, "'tracecraft memory list' shows what there is")
            emit(common.as_json, {"key": key, "value": default, "revision": None}, default)
            return
        result = {"key": key, "value": entry.value, "revision": entry.revision, "time": entry.time}
        emit(common.as_json, result, compact(entry.value))

    run(common, work, acts=False)
