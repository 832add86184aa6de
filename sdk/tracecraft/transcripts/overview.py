"""`Overview`: one session in a list, from its transcript here, from its checkpoint, and from its run."""

from __future__ import annotations

import datetime
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft.transcripts.checkpoint import Sheet
from tracecraft.transcripts.lines import Rewritten
from tracecraft.transcripts.records import Facts
from tracecraft.transcripts.scribe import learn
from tracecraft.transcripts.sources import open_transcript

if TYPE_CHECKING:
    from tracecraft.transcripts.checkpoint import Checkpoint
    from tracecraft.transcripts.finder import Found
    from tracecraft.transcripts.sources import Places
    from tracecraft_core.queries import RunRow

PORTION: Final = 4 * 1024 * 1024
"""Bytes that are read at once."""


@dataclass(slots=True)
class Overview:
    """A session; what is not known is ``None``."""

    source: str
    session: str
    run: str
    path: str | None = None
    """``None``: it is on another machine, or gone."""
    folder: str | None = None
    agent: str | None = None
    model: str | None = None
    title: str | None = None
    started: str | None = None
    last: str | None = None
    turns: int | None = None
    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    unpriced: int = 0
    mirrored: str | None = None
    """Up to when it is in its run."""
    elsewhere: str | None = None
    """The project that has it, where this one does not."""
    status: str | None = None
    """Of its run; ``None``: it has none."""
    unknown: dict[str, int] | None = None
    """Lines that this version of tracecraft does not know, by type."""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {name: getattr(self, name) for name in self.__slots__}


def of_found(found: Found) -> Overview:
    """What the transcript says, all of which is read."""
    overview = Overview(found.source, found.session, found.run, path=str(found.path))
    places: Places = {}
    transcript = open_transcript(found.source, found.path, found.session, places)
    sheet = Sheet()
    try:
        while True:
            for record in transcript.read(PORTION):
                sheet.started = sheet.started or record.time
                sheet.last = max(sheet.last, record.time)
                if isinstance(record, Facts):
                    learn(sheet, record)
            if not transcript.more:
                break
        transcript.settle()
    except (OSError, Rewritten, sqlite3.Error):
        return overview
    _fill(overview, sheet, places)
    return overview


def of_checkpoint(found: Found, checkpoint: Checkpoint) -> Overview:
    """What was mirrored of a session."""
    overview = Overview(found.source, found.session, found.run, path=str(found.path))
    _fill(overview, checkpoint.sheet, checkpoint.places)
    overview.mirrored = moment(checkpoint.sheet.last)
    return overview


def add_run(overview: Overview, row: RunRow) -> None:
    """What the run of a session says; the file here knows more of what is not mirrored yet."""
    overview.status = row.status
    overview.agent = row.agent
    overview.mirrored = overview.mirrored or row.ended
    overview.folder = overview.folder or _word(row.params.get("cwd"))
    overview.model = overview.model or _word(row.params.get("model"))
    overview.title = overview.title or row.tags.get("title")
    overview.started, overview.last = overview.started or row.started, overview.last or row.ended
    if overview.path is None:
        used = row.tokens
        overview.tokens = used.input + used.cache_read + used.cache_write + used.output + used.reasoning
    if row.cost is not None:
        overview.cost, overview.unpriced = row.cost, row.unpriced


def of_run(row: RunRow) -> Overview:
    """A session that is mirrored and not here."""
    overview = Overview(row.tags.get("source", "?"), row.tags.get("session", "?"), row.run)
    add_run(overview, row)
    return overview


def moment(time: float) -> str | None:
    """RFC 3339, UTC; ``None`` for 0."""
    if not time:
        return None
    return datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _fill(overview: Overview, sheet: Sheet, places: Places) -> None:
    threads = [place.thread for place in places.values()]
    overview.folder, overview.model, overview.title = sheet.cwd or None, sheet.model or None, sheet.title or None
    overview.agent = sheet.agent or None
    overview.started, overview.last = moment(sheet.started), moment(sheet.last)
    overview.turns = sum(thread.turns for thread in threads if not thread.agent)
    overview.calls = sum(thread.calls for thread in threads)
    overview.tokens = sum(thread.used for thread in threads)
    said = [thread.cost for thread in threads if thread.cost is not None]
    overview.cost = sum(said) if said else None
    unknown: dict[str, int] = {}
    for thread in threads:
        for kind, count in thread.unknown.items():
            unknown[kind] = unknown.get(kind, 0) + count
    overview.unknown = unknown or None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
