"""``tracecraft session show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecraft_cli.options import Common, Whole, common
from tracecraft_cli.output import emit, note, write
from tracecraft_cli.runner import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft import AsyncSession
    from tracecraft.transcripts.finder import Found
    from tracecraft.transcripts.passages import Passage
    from tracecraft.transcripts.records import Record
    from tracecraft_cli.held import Memo
    from tracecraft_core.errors import BusUnreachable, TracecraftError
    from tracecraft_core.settings import Settings


@click.command()
@click.argument("wanted", metavar="SESSION")
@click.option("--full", is_flag=True, help="Answers of tools, and thinking, to their end.")
@click.option("--last", type=Whole(min=1), metavar="N", help="Only the last N parts.")
@click.option("--local", is_flag=True, help="From the transcript here, also when it is mirrored.")
@common
def command(common: Common, wanted: str, full: bool, last: int | None, local: bool) -> None:
    """Show the conversation of a session: from its run if it is mirrored, else from its transcript here.

    SESSION is its id, the beginning or end of it, its run, or a file. What users, models and tools said is quoted, with
    every invisible character shown. A run has no secrets, and of values over 16 KiB the beginning.

    Example: tracecraft session show 4a8ba476 --last 20
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_core.errors import BridgeAway, NotFound

        found = _here(wanted)
        run = found.run if found is not None else await _run(session, wanted)
        if not local and run is not None:
            try:
                passages = await _of_run(session, run)
            except (NotFound, BridgeAway) as error:
                if found is None:
                    raise
                note(_instead(error, found))
            else:
                _print(common, passages, full, last)
                return
        _print(common, _of_file(_needed(found, wanted)), full, last)

    async def away(settings: Settings, error: BusUnreachable) -> None:
        found = _here(wanted)
        if found is None:
            raise error
        if not local:
            note(_instead(error, found))
        _print(common, _of_file(found), full, last)

    run(common, work, acts=False, away=away)


def _here(wanted: str) -> Found | None:
    from tracecraft.transcripts import finder
    from tracecraft_core.errors import NotFound, UsageError

    try:
        found = finder.named(wanted)
    except NotFound:
        return None
    if len(found) > 1:
        raise UsageError(f"{wanted} has {len(found)} sessions: name one, as {found[0].session}")
    return found[0]


def _instead(error: TracecraftError, found: Found) -> str:
    """Why it is not the run that is shown, and what is."""
    from tracecraft_core.quotation import neutral

    return neutral(f"tracecraft: {error}; this is the transcript {found.path}, and not what was recorded of it")


def _needed(found: Found | None, wanted: str) -> Found:
    from tracecraft_core.errors import NotFound

    if found is None:
        raise NotFound("session", wanted, "'tracecraft session list' shows those that are here or mirrored")
    return found


async def _run(session: AsyncSession, wanted: str) -> str | None:
    """The run of a session that is not here."""
    from tracecraft_core.errors import NotFound

    for name in (wanted, *(f"{source}-{wanted}" for source in ("claude", "codex", "hermes", "openclaw"))):
        try:
            return (await session.runs.get(name)).row.run
        except NotFound:
            continue
    return None


async def _of_run(session: AsyncSession, run: str) -> list[Passage]:
    from tracecraft.queries import ask
    from tracecraft.transcripts import passages
    from tracecraft_core.queries import EntriesPage, EntriesQuestion

    await session.runs.get(run)  # says when there is none
    events: list[tuple[str, str, dict[str, Any]]] = []
    cursor = None
    while True:
        wanted = EntriesQuestion(run=run, only_run=True, families=["run"], cursor=cursor)
        page = await ask(session.context, "log.entries", wanted, EntriesPage)
        for entry in page.entries:
            agent, _, event = entry.subject.split(".", 4)[4].partition(".")
            if (event == "usage" or event.startswith("step.")) and isinstance(entry.body, dict):
                events.append((agent, event, entry.body))
        cursor = page.next
        if cursor is None:
            return sorted(passages.of_events(events), key=lambda passage: passage.time)


def _of_file(found: Found) -> list[Passage]:
    from tracecraft.transcripts import naming, passages
    from tracecraft.transcripts.records import Facts

    stream = list(read_whole(found))
    cwd = next((record.cwd for record in stream if isinstance(record, Facts) and record.cwd), "")
    told = passages.of_records(stream, naming.agent_name(found.source, cwd))
    return sorted(told, key=lambda passage: passage.time)


def read_whole(found: Found) -> Iterator[Record]:
    """Every record of a transcript."""
    from tracecraft.transcripts.sources import open_transcript

    transcript = open_transcript(found.source, found.path, found.session, {})
    transcript.more = True
    while transcript.more:
        yield from transcript.read(1 << 20)
    yield from transcript.settle()


def _print(common: Common, passages: list[Passage], full: bool, last: int | None) -> None:
    parts = passages if common.as_json else [passage for passage in passages if not passage.says_nothing]
    shown = parts if last is None else parts[-last:]
    if common.as_json:
        emit(True, [passage.as_json() for passage in shown], None)
        return
    for passage in shown:
        write(passage.text(whole=full) + "\n")
    if not shown:
        note("nothing was said in it yet")
