"""``tracecraft artifact list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note, table
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo
    from tracecraft_core.queries import ArtifactRow


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--limit", type=Whole(min=1), default=100, show_default=True, metavar="N", help="At most N files.")
@common
def command(common: Common, run_id: str | None, limit: int) -> None:
    """List the files of RUN by name; without RUN those of the whole project, newest first.

    RUN is an id, or the end of one that no other run has. 'tracecraft artifact get RUN NAME' fetches one of them.

    Example: tracecraft artifact list k3x9qa
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        import msgspec

        rows = await _rows(session, run_id, limit)
        emit(common.as_json, msgspec.to_builtins(rows), _table(rows, run_id is None) if rows else None)
        if not rows:
            note(f"no files in {f'run {run_id}' if run_id else f'project {session.project}'}")

    run(common, work, acts=False)


async def _rows(session: AsyncSession, run_id: str | None, limit: int) -> list[ArtifactRow]:
    from tracecraft.queries import ask
    from tracecraft_core.queries import MAX_PAGE, ArtifactsPage, ArtifactsQuestion

    rows: list[ArtifactRow] = []
    cursor: str | None = None
    while True:
        question = ArtifactsQuestion(run=run_id, limit=min(limit - len(rows), MAX_PAGE), cursor=cursor)
        page = await ask(session.context, "artifacts.list", question, ArtifactsPage)
        rows += page.artifacts
        cursor = page.next
        if cursor is None or len(rows) >= limit:
            return rows


def _table(rows: list[ArtifactRow], with_run: bool) -> str:
    from tracecraft_core.quotation import neutral

    header = [*(["run"] if with_run else []), "name", "bytes", "kind", "agent", "sha256"]
    return table(
        header,
        [
            [*([row.run] if with_run else []), neutral(row.name), f"{row.size}", row.kind, row.agent, row.sha256[:12]]
            for row in rows
        ],
    )
