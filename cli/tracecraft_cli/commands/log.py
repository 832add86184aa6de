"""``tracecraft log``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tracecraft import AsyncSession
    from tracecraft.timeline import LogEntry
    from tracecraft_cli.held import Memo

LAST = 50


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Then go on with what happens, until interrupted.")
@click.option(
    "--subject", metavar="F", default=">", help="NATS filter in the project: 'task.>', 'msg.writer.>', 'memory.*'."
)
@click.option("--since", metavar="DURATION|SEQ", help="From then on: 30s, 15m, 2h ago, or a sequence number.")
@click.option("--limit", type=Whole(min=0), metavar="N", help="The last N, or the first N of --since.")
@common
def command(common: Common, follow: bool, subject: str, since: str | None, limit: int | None) -> None:
    """Print what happened in the project, in order: sequence, time, who, what. Without --since the last 50 entries.

    With --json each entry is a line of its own, whole.

    Example: tracecraft log --subject 'task.>' --since 1h --follow
    """
    start: float | int | None = None
    filter_ = ""

    def check() -> None:
        nonlocal start, filter_
        filter_ = _filter(common, subject)
        start = _start(since)

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft import timeline
        from tracecraft_cli import story

        now = await timeline.server_time(session.context.bus)
        told = 0
        async with contextlib.aclosing(_entries(session, filter_, start, limit, follow)) as entries:
            async for entry in entries:
                emit(common.as_json, story.as_json(entry), story.line(entry, now))
                told += 1
        if not told and limit != 0:
            note(f"nothing in the log of project {session.project}" + ("" if subject == ">" else f" on {subject}"))

    guard(common.as_json, check)
    run(common, work, acts=False)


def _filter(common: Common, subject: str) -> str:
    from tracecraft import timeline
    from tracecraft_core import settings

    return timeline.subject_filter(settings.load(common.flags).project, subject)


def _start(since: str | None) -> float | int | None:
    """A sequence (int) or an age in seconds (float)."""
    from tracecraft_cli.options import DURATION
    from tracecraft_core.errors import UsageError

    if since is None:
        return None
    if since.isascii() and since.isdigit():
        if int(since) >= 2**63:
            raise UsageError(f"--since {since}: no sequence is that large; for example --since 1200 or --since 15m")
        return int(since)
    try:
        return DURATION.convert(since, None, None)
    except click.UsageError:
        raise UsageError(
            f"--since {since!r} is neither a duration nor a sequence number; for example --since 15m or --since 1200"
        ) from None


def _entries(
    session: AsyncSession, filter_: str, start: float | int | None, limit: int | None, follow: bool
) -> AsyncGenerator[LogEntry]:
    from tracecraft import timeline

    if start is None:
        return timeline.last(session.context, filter_, LAST if limit is None else limit, follow=follow)
    if isinstance(start, int):
        return timeline.since_seq(session.context, filter_, start, limit=limit, follow=follow)
    return timeline.since_time(session.context, filter_, start, limit=limit, follow=follow)
