"""``tracecraft run log-param``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.given import DashedWords, parse_value, read_value
from tracecraft_cli.options import Common, common
from tracecraft_cli.run_writing import run_option, write
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_cli.run_book import Event


@click.command(cls=DashedWords)
@click.argument("name")
@click.argument("value")
@click.option("--text", is_flag=True, help="Store VALUE as a string even when it is JSON.")
@run_option
@common
def command(common: Common, name: str, value: str, text: bool, run_id: str | None) -> None:
    """Log the parameter NAME. '-' reads VALUE from standard input; it is stored as JSON, or as text where it is none.

    Example: tracecraft run log-param layers '[64, 32]'
    """
    content: Any = None

    def check() -> None:
        nonlocal content
        from tracecraft_core.errors import UsageError

        if not name.strip():
            raise UsageError("NAME is empty; for example 'tracecraft run log-param lr 0.001'")
        content = parse_value(read_value(value), text)

    def param() -> list[Event]:
        from tracecraft_cli.run_book import Event
        from tracecraft_cli.run_notes import now
        from tracecraft_core.run_events import Params

        return [Event("param", Params(params={name: content}, time=now()))]

    guard(common.as_json, check)
    write(common, run_id, param, {"param": name})
