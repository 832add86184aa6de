"""``tracecraft session search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tracecraft_cli.commands.session.choice import Choice, choice_options
from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note, write
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft import AsyncSession
    from tracecraft.transcripts.passages import Passage
    from tracecraft_cli.held import Memo

AROUND: Final = 80
"""Characters that are shown on each side of what was found here."""


@click.command()
@click.argument("text")
@choice_options
@click.option("--run", "run_id", metavar="ID", help="Only in this run.", allow_from_autoenv=False)
@click.option("--limit", type=Whole(min=1), default=20, show_default=True, metavar="N", help="At most N places.")
@click.option("--local", is_flag=True, help="In the transcripts on this machine, mirrored or not.")
@common
def command(common: Common, text: str, choice: Choice, run_id: str | None, limit: int, local: bool) -> None:
    """Find a text in the mirrored sessions of the project, of all machines; the newest first.

    Looks for TEXT, word for word, upper and lower case alike, in what users said, what models put out, what tools were
    given and answered, and in errors. Of values over 16 KiB only the beginning is searched, and only what the log still
    keeps. With --local the transcripts on this machine are read instead, whole.

    Example: tracecraft session search "retry budget" --since 7d
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        hits = await _ask(session, text, choice, run_id, limit + 1)
        _show(common, hits, limit)

    guard(common.as_json, lambda: _check(text, choice, local))
    if local:
        guard(common.as_json, lambda: _search_here(common, text, choice, run_id, limit))
    else:
        run(common, work, acts=False)


def _check(text: str, choice: Choice, local: bool) -> None:
    from tracecraft_core.errors import UsageError

    if choice.folder is not None and not local:
        raise UsageError("--folder is for the transcripts here: say --local, or leave it out")
    if not text.strip():
        raise UsageError("TEXT is empty; for example 'tracecraft session search \"retry budget\"'")


async def _ask(
    session: AsyncSession, text: str, choice: Choice, run_id: str | None, limit: int
) -> list[dict[str, Any]]:
    import datetime

    import msgspec

    from tracecraft.queries import ask
    from tracecraft_core.queries import MAX_PAGE, SearchPage, SearchQuestion

    since = None
    if choice.since is not None:
        since = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=choice.since)).isoformat()
    hits: list[dict[str, Any]] = []
    cursor = None
    while len(hits) < limit:
        question = SearchQuestion(
            text=text, sessions=True, run=run_id, since=since, limit=min(limit, MAX_PAGE), cursor=cursor
        )
        page = await ask(session.context, "runs.search", question, SearchPage)
        hits += [msgspec.to_builtins(hit) for hit in page.hits if not choice.sources or hit.source in choice.sources]
        hits = _once(hits)
        cursor = page.next
        if cursor is None:
            break
    return hits


def _once(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A tool that failed has its error as its output too: that is one place."""
    failed = {(hit["run"], hit["step"], hit["snippet"]) for hit in hits if hit["where"] == "error"}
    return [hit for hit in hits if hit["where"] != "output" or (hit["run"], hit["step"], hit["snippet"]) not in failed]


def _show(common: Common, hits: list[dict[str, Any]], limit: int) -> None:
    import datetime

    from tracecraft_cli.ages import ago
    from tracecraft_core.quotation import neutral, quoted

    if common.as_json:
        emit(True, hits[:limit], None)
        return
    now = datetime.datetime.now(datetime.UTC).isoformat()
    for hit in hits[:limit]:
        said = (hit["run"], hit["agent"], hit["name"], hit["where"], ago(hit["started"], now), f"step {hit['step']}")
        write(" · ".join(neutral(str(word)) for word in said))
        write(quoted(" ".join(hit["snippet"].split())))
    if not hits:
        note("not found; only mirrored sessions are searched, and --local reads the transcripts on this machine")
    elif len(hits) > limit:
        note(f"there are more: --limit {limit * 5}")


def _search_here(common: Common, text: str, choice: Choice, run_id: str | None, limit: int) -> None:
    from tracecraft.transcripts import naming, overview, passages
    from tracecraft_cli.commands.session.show import read_whole

    hits: list[dict[str, Any]] = []
    for found in choice.find():
        if run_id is not None and run_id not in (found.run, found.session):
            continue
        here: list[dict[str, Any]] = []
        for passage in passages.of_records(read_whole(found), found.source):
            for where, snippet in _places(passage, text):
                here.append(
                    {
                        "run": found.run,
                        "source": found.source,
                        "step": naming.step_id(found.source, found.session, passage.key),
                        "agent": passage.agent,
                        "name": passage.name,
                        "kind": passage.kind,
                        "started": overview.moment(passage.time),
                        "where": where,
                        "snippet": snippet,
                    }
                )
        hits += reversed(here)
        if len(hits) > limit:
            break
    _show(common, hits, limit)


def _places(passage: Passage, text: str) -> Iterator[tuple[str, str]]:
    import json

    tool = passage.kind in ("tool_call", "handoff")
    sides = (("input" if tool or passage.kind == "message" else "output", passage.spoken), ("output", passage.answer))
    for where, value in (*sides, ("error", passage.error)):
        if value is None or (where == "output" and value == passage.error):
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        at = shown.lower().find(text.lower())
        if at >= 0:
            start = max(0, at - AROUND)
            cut = shown[start : at + len(text) + AROUND]
            yield where, f"{'…' if start else ''}{cut}{'…' if start + len(cut) < len(shown) else ''}"
