"""``tracecraft session watch``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from tracecraft_cli.commands.session.choice import Choice, choice_options
from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft.transcripts.finder import Found
    from tracecraft.transcripts.mirror import Progress


@click.command()
@click.argument("sessions", metavar="[PATH|SESSION]...", nargs=-1)
@choice_options
@common
def command(common: Common, sessions: tuple[str, ...], choice: Choice) -> None:
    """Take sessions into runs as they are written, until Ctrl-C; new ones too, if the options leave them.

    Follows the sessions that are named, or all that the options leave. Without --since, those that changed within the
    last hour, and what begins or goes on meanwhile. While the bus is away nothing is lost: the transcripts are read
    later. The run of a session in which nothing happens for 15 minutes is ended, and goes on when the session does.

    Example: tracecraft session watch --all
    """
    guard(common.as_json, lambda: _watch(common, sessions, choice))


def _watch(common: Common, sessions: tuple[str, ...], choice: Choice) -> None:
    import asyncio
    import signal
    import time

    from tracecraft.transcripts.watching import Watcher
    from tracecraft_cli.commands.session.choice import Elsewhere
    from tracecraft_cli.commands.session.mirror import choose, describe
    from tracecraft_core import settings

    resolved = settings.load(common.flags)
    choose(sessions, choice)  # says at once when nothing is meant
    since = time.time() - HOUR_S if choice.since is None and not sessions else 0.0
    elsewhere = Elsewhere(resolved)

    def find() -> list[Found]:
        chosen = [found for found in choose(sessions, choice) if found.changed >= since]
        return chosen if sessions else elsewhere.leave(chosen)

    def told(found: Found, progress: Progress) -> None:
        if progress.steps:
            result = {"run": found.run, "source": found.source, "session": found.session, "steps": progress.steps}
            emit(common.as_json, result, f"{found.run}: {describe(progress.steps)}")
        if progress.note or progress.waiting:
            whose = "" if progress.away else f"{found.run}: "
            note(f"tracecraft: {whose}{progress.note or progress.waiting}")

    async def follow() -> None:
        watching = asyncio.ensure_future(Watcher(resolved, find, told, agent=common.flags["agent"]).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
        note(f"watching into project {resolved.project}; Ctrl-C ends it")
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    asyncio.run(follow())


HOUR_S = 3600.0
"""Seconds within which a session must have changed to be followed when nothing else is said."""
