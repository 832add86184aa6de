"""What ``tracecraft runs`` does without a sub-command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft_cli.output import emit, note

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_core.queries import RunRow


async def show(session: AsyncSession, as_json: bool, filter_: str, sort: str, limit: int, columns: str | None) -> None:
    """Ask for the runs, page by page, and print them."""
    import msgspec

    from tracecraft import timeline
    from tracecraft.queries import ask
    from tracecraft_cli.runs_view import listing
    from tracecraft_core.queries import MAX_PAGE, RunsList, RunsPage
    from tracecraft_core.quotation import neutral

    rows: list[RunRow] = []
    notes: list[str] = []
    cursor = None
    while len(rows) < limit:
        wanted = min(MAX_PAGE, limit - len(rows))
        question = RunsList(filter=filter_, sort=sort, limit=wanted, cursor=cursor)
        page = await ask(session.context, "runs.list", question, RunsPage)
        rows += page.runs
        notes += page.notes
        cursor = page.next
        if cursor is None:
            break
    text = None
    if rows and not as_json:
        now = await timeline.server_time(session.context.bus)
        text = listing.text(rows, listing.check(columns) or listing.usual(rows, filter_, sort), now)
    emit(as_json, msgspec.to_builtins(rows), text)
    for one in notes:
        note(neutral(one))
    if not rows:
        note(f"no runs{' for which this holds' if filter_ else ''} in project {session.project}")
    elif cursor is not None:
        note(f"there are more: --limit {limit * 5}, or a filter")
