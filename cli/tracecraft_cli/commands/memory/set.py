"""``tracecraft memory set``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


@click.command()
@click.argument("key")
@click.argument("value")
@click.option("--text", is_flag=True, help="Store VALUE as a string even when it is JSON.")
@click.option("--if-revision", type=click.IntRange(min=0), help="Only if the key is at this revision.")
@click.option("--if-absent", is_flag=True, help="Only if the key has no value.")
@click.option("--under", metavar="TASK", help="Only while you hold this task; the log shows its fencing token.")
@common
def command(
    common: Common, key: str, value: str, text: bool, if_revision: int | None, if_absent: bool, under: str | None
) -> None:
    """Write VALUE under KEY and print the new revision. '-' reads VALUE from standard input.

    A value that parses as JSON is stored as that JSON, anything else as a string. Exits with 3, and writes nothing,
    when --if-revision or --if-absent does not hold.

    Example: tracecraft memory set findings.json '{"papers": 47}' --if-absent
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        fence = None
        if under is not None:
            from tracecraft import claims

            held = await claims.hold(session.context, under)
            await claims.renew(session.context, held)  # a write decides whether the claim still stands
            fence = (under, held.fence)
        content = parse_value(read_value(value), text)
        revision = await session.memory.set(key, content, if_revision=if_revision, if_absent=if_absent, fence=fence)
        emit(common.as_json, {"key": key, "revision": revision}, str(revision))

    run(common, work, touches=() if under is None else (under,))


def read_value(value: str) -> str:
    """A value from the command line, or from standard input for '-'."""
    return sys.stdin.read() if value == "-" else value


def parse_value(value: str, text: bool) -> Any:
    """JSON if it is JSON and ``text`` was not asked for, else the string itself."""
    if text:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
