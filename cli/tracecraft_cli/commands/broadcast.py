"""``tracecraft broadcast``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.given import DashedWords
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run
from tracecraft_cli.writing import message_options, read_letter

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.writing import Letter


@click.command(cls=DashedWords)
@click.argument("text", metavar="TEXT|-")
@message_options
@common
def command(common: Common, text: str, **options: Any) -> None:
    """Send TEXT to every other agent that has registered, online or not, and print the message's id.

    '-' reads TEXT from standard input.

    Example: tracecraft broadcast "main is frozen until S1.release is done"
    """
    letter: Letter | None = None

    def check() -> None:
        nonlocal letter
        letter = read_letter(text, **options)

    async def work(session: AsyncSession, memo: Memo) -> None:
        assert letter is not None
        sent = await session.mail.broadcast(letter.text, **letter.fields())
        if sent.redacted:
            note(f"secrets in it were replaced before it left: {sent.redacted}")
        emit(common.as_json, {"id": sent.id, "to": None}, str(sent.id))

    guard(common.as_json, check)
    run(common, work)
