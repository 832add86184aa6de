"""``tracecraft messages``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession, SentMessage
    from tracecraft_cli.held import Memo


@click.command()
@click.option("--sent", is_flag=True, default=True, help="The messages you sent (what this command always shows).")
@click.option("--limit", type=Whole(min=1), default=20, show_default=True, help="Only the newest N.")
@common
def command(common: Common, sent: bool, limit: int) -> None:
    """Show the messages you sent, oldest first, and what became of each: who has seen or acknowledged it.

    What others sent to you is in 'tracecraft inbox'; 'tracecraft inbox show ID' prints any message whole.

    Example: tracecraft messages --sent --limit 5
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import timeline

        messages = await session.mail.sent(limit=limit)
        now = await timeline.server_time(session.context.bus)
        result = [_as_json(message) for message in messages]
        emit(common.as_json, result, "\n".join(_line(message, now) for message in messages))
        if not messages:
            note(f"{session.agent} has sent no messages in project {session.project}")

    run(common, work, acts=False)


def _as_json(sent: SentMessage) -> dict[str, Any]:
    from tracecraft_cli.letters import as_json

    message = as_json(sent.message)
    del message["delivered"]
    return message | {"receipts": sent.receipts}


def _line(sent: SentMessage, now: str) -> str:
    from tracecraft_cli.ages import ago
    from tracecraft_cli.columns import columns
    from tracecraft_core.quotation import oneline

    message = sent.message
    start = f"#{message.id} to {message.to or 'all'} · {ago(message.time, now)} · {_fate(sent)}: "
    return start + oneline(message.text, max(20, columns() - len(start)))


def _fate(sent: SentMessage) -> str:
    """``acked by a, b; fetched by c``, or ``not read yet``."""
    from tracecraft_core.quotation import neutral

    states: dict[str, list[str]] = {}
    for reader, state in sorted(sent.receipts.items()):
        states.setdefault(state, []).append(neutral(reader))
    return "; ".join(f"{state} by {', '.join(readers)}" for state, readers in states.items()) or "not read yet"
