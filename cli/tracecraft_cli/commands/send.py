"""``tracecraft send``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.given import DashedWords
from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run
from tracecraft_cli.writing import message_options, read_letter

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_cli.writing import Letter


@click.command(cls=DashedWords)
@click.argument("to", metavar="AGENT")
@click.argument("text", metavar="TEXT|-")
@message_options
@click.option(
    "--wait-ack", type=DURATION, metavar="SECONDS", help="Wait so long until AGENT has read it; then exit 124."
)
@common
def command(common: Common, to: str, text: str, wait_ack: float | None, **options: Any) -> None:
    """Send TEXT to AGENT, online or not, and print the message's id. '-' reads TEXT from standard input.

    The message is stored before this returns, and delivered until AGENT has acknowledged it.

    Example: tracecraft send writer "the parser is done" --thread S1
    """
    letter: Letter | None = None

    def check() -> None:
        nonlocal letter
        _check(to)
        letter = read_letter(text, **options)

    async def work(session: AsyncSession, memo: Memo) -> None:
        assert letter is not None
        sent = await session.mail.send(to, letter.text, **letter.fields())
        if not common.as_json:
            emit(False, None, str(sent.id))  # before the wait: the id is wanted whatever becomes of it
        if sent.redacted:
            note(f"secrets in it were replaced before it left: {sent.redacted}")
        if not sent.registered:
            note(f"nobody has registered as {to} yet: the message is stored and waits for {to}")
        if wait_ack is not None:
            await session.mail.acked(sent.id, to, wait_ack)
        result = {"id": sent.id, "to": to, "registered": sent.registered, "acked": wait_ack is not None}
        emit(common.as_json, result, None)

    guard(common.as_json, check)
    run(common, work)


def _check(to: str) -> None:
    from tracecraft_core import names

    names.agent(to)
