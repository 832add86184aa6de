"""``tracecraft memory get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.commands.memory import keys
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import compact, emit, interactive, write
from tracecraft_cli.runner import guard, run
from tracecraft_core.quotation import neutral

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("key")
@click.option("--revision", type=Whole(min=1), help="The value as it was at this revision.")
@click.option("--default", metavar="VALUE", help="Printed, with exit code 0, when the key has no value.")
@common
def command(common: Common, key: str, revision: int | None, default: str | None) -> None:
    """Print the value of KEY: strings bare, anything else as JSON. Exits with 1 when there is none.

    Example: tracecraft memory get findings.json --default 0
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_core.errors import NotFound

        entry = await session.memory.entry(key, revision=revision)
        if entry is not None and not entry.deleted:
            result = {"key": key, "value": entry.value, "revision": entry.revision, "time": entry.time}
            _print(common.as_json, result, compact(entry.value))
        elif default is not None:
            _print(common.as_json, {"key": key, "value": _value(default), "revision": None}, default)
        else:
            raise NotFound("memory key", key, "'tracecraft memory list' shows what there is")

    guard(common.as_json, lambda: keys.check(key))
    run(common, work, acts=False)


def _print(as_json: bool, result: dict[str, Any], text: str) -> None:
    """Character by character what was stored; but on a person's terminal it gets no control over that."""
    if as_json:
        emit(True, result, None)
    else:
        write(neutral(text, keep="\n\t") if interactive() else text, color=True)  # else click drops escapes


def _value(default: str) -> object:
    """What `memory set` would have stored for the default."""
    import json

    try:
        return json.loads(default)
    except ValueError:
        return default
