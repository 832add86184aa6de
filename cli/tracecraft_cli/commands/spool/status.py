"""``tracecraft spool status``."""

from __future__ import annotations

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import guard


@click.command()
@common
def command(common: Common) -> None:
    """Show what is recorded here and not delivered yet, of all projects and buses. Asks no server.

    Events are counted: neighbouring points of metrics share one, so a run's own summary, which counts every point as a
    record, says more.

    Example: tracecraft spool status --json
    """
    guard(common.as_json, lambda: show(common))


def show(common: Common) -> None:
    """Print what waits."""
    import time

    from tracecraft_cli import spooled
    from tracecraft_cli.replay.wording import size
    from tracecraft_cli.runs_view import numbers
    from tracecraft_core import settings
    from tracecraft_core.quotation import neutral

    resolved = settings.load(common.flags)
    waiting = spooled.waiting()
    rows = [
        [
            neutral(one.project),
            neutral(one.run),
            neutral(one.agent),
            str(one.events),
            str(one.uploads),
            size(one.bytes),
            numbers.duration(max(0.0, time.time() - one.since)) if one.since else "-",
            neutral(one.remedy(resolved)),
        ]
        for one in waiting
    ]
    header = ["project", "run", "agent", "events", "files", "size", "age", "delivered by"]
    emit(common.as_json, [one.as_json() for one in waiting], table(header, rows) if rows else None)
    if not rows:
        note("nothing waits")
