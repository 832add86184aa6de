"""``tracecraft session list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.commands.session.choice import Choice, choice_options
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.transcripts.overview import Overview
    from tracecraft_cli.held import Memo
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.queries import RunRow
    from tracecraft_core.settings import Settings

SESSIONS: Final = "tags.session is not null"
"""The filter that finds the runs of sessions."""
WIDEST: Final = 32
"""Characters of a cell."""


@click.command(name="list")
@choice_options
@click.option("--limit", type=Whole(min=1), default=20, show_default=True, metavar="N", help="At most N sessions.")
@common
def command(common: Common, choice: Choice, limit: int) -> None:
    """List sessions of coding agents, the newest first: those on this machine, and those that are mirrored.

    With their folder, agent, first and last time, turns, tokens, cost, and up to when they are mirrored. Without
    options all of them; without a bus those on this machine. The transcripts are read for it; nothing is sent.

    Example: tracecraft session list --since 7d --source claude
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_core.errors import BridgeAway

        try:
            rows = await session.runs.list(SESSIONS, limit=max(limit, 100))
        except BridgeAway as error:
            note(f"tracecraft: {error}: only what is known here is shown")
            rows = []
        _show(common, session.settings, choice, limit, rows)

    async def away(settings: Settings, error: BusUnreachable) -> None:
        note(f"tracecraft: {error}: only what is known here is shown")
        _show(common, settings, choice, limit, [])

    run(common, work, acts=False, away=away)


def _show(common: Common, settings: Settings, choice: Choice, limit: int, rows: list[RunRow]) -> None:
    from tracecraft.transcripts import checkpoint, overview

    mirrored = {row.run: row for row in rows}
    marks = checkpoint.every(settings.project)
    found = choice.find()[:limit]
    shown = []
    for one in found:
        mark = marks.get(one.run)
        fresh = mark is not None and one.changed <= mark.saved
        view = overview.of_checkpoint(one, mark) if mark is not None and fresh else overview.of_found(one)
        if mark is not None and not fresh:
            view.mirrored, view.agent = overview.moment(mark.sheet.last), mark.sheet.agent or view.agent
        if mark is None:
            view.elsewhere = checkpoint.elsewhere(settings.project, settings.server, one.run)
        if (row := mirrored.pop(one.run, None)) is not None:
            overview.add_run(view, row)
        shown.append(view)
    if not choice.folder and not choice.sources and choice.since is None:
        shown += [overview.of_run(row) for row in mirrored.values()]
    shown.sort(key=lambda view: view.last or "", reverse=True)
    emit(common.as_json, [view.as_json() for view in shown[:limit]], _table(shown[:limit]) if shown else None)
    if not shown:
        kinds = "" if choice.sources else ", of Claude Code, Codex, Hermes or OpenClaw,"
        note(f"there is no {choice.words()}{kinds} here, and none in project {settings.project}")
    elif len(shown) > limit or len(found) == limit:
        note(f"there may be more: --limit {limit * 5}")


def _table(shown: list[Overview]) -> str:
    import datetime

    from tracecraft_cli.ages import ago
    from tracecraft_cli.runs_view import numbers
    from tracecraft_core.quotation import oneline

    now = datetime.datetime.now(datetime.UTC).isoformat()
    header = ["session", "source", "folder", "agent", "started", "last", "turns", "tokens", "cost", "mirrored"]
    rows = [
        [
            view.session,
            view.source,
            (view.folder or "-").rstrip("/").rpartition("/")[2] or "/",
            view.agent or "-",
            ago(view.started, now),
            ago(view.last, now),
            "-" if view.turns is None else str(view.turns),
            "-" if view.tokens is None else numbers.count(view.tokens),
            numbers.cost(view.cost, view.unpriced),
            _mirrored(view, now),
        ]
        for view in shown
    ]
    return table(header, [[row[0][:40], *(oneline(cell, WIDEST) for cell in row[1:])] for row in rows])


def _mirrored(view: Overview, now: str) -> str:
    from tracecraft_cli.ages import ago

    if view.mirrored is None and view.status is None:
        return f"in {view.elsewhere}" if view.elsewhere else "no"
    elsewhere = "" if view.path else ", not here"
    if view.mirrored and view.last and view.mirrored < view.last:
        return f"up to {ago(view.mirrored, now)}"
    return f"{view.status or 'all'}{elsewhere}"
