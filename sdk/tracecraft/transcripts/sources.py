"""Sources: the four kinds of transcripts, each read in portions as one stream of records."""

from __future__ import annotations

import heapq
import re
import time
from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

import msgspec

from tracecraft.transcripts import rows
from tracecraft.transcripts.claude import ClaudeParser, seconds
from tracecraft.transcripts.codex import CodexParser
from tracecraft.transcripts.hermes import HermesParser
from tracecraft.transcripts.lines import Lines, Place, open_regular
from tracecraft.transcripts.openclaw import OpenClawParser
from tracecraft.transcripts.records import Record
from tracecraft.transcripts.thread import Thread
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Source = Literal["claude", "codex", "hermes", "openclaw"]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
MAIN: Final = "main"
"""Name of the place of the session's own conversation."""
AT_ONCE: Final = 400
"""Rows of a database that are read at once."""
META_S: Final = 2.0
"""Seconds for which the file that says whose sub-agent it is may be late."""

_TIMESTAMP: Final = re.compile(rb'"timestamp":"([^"]{19,35})"')

Places = dict[str, Place]


class Transcript(Protocol):
    """A session that is read from `places` on; used on one thread at a time."""

    places: Places
    more: bool
    """Whether the last `read` left something that is there already."""

    def read(self, budget: int) -> list[Record]:
        """Records of about ``budget`` more bytes. Raises `Rewritten`, ``OSError``, ``sqlite3.Error``."""

    def settle(self) -> list[Record]:
        """Tell of what is held back for something that may follow."""


def open_transcript(source: Source, path: Path, session: str, places: Places) -> Transcript:
    """A session's transcript, to be read from ``places`` on."""
    match source:
        case "claude":
            return ClaudeTranscript(path, places)
        case "codex":
            return CodexTranscript(path, places)
        case "hermes":
            return HermesTranscript(path, session, places)
        case "openclaw":
            return OpenClawTranscript(path, session, places)


def checked(source: str) -> Source:
    """The source of this name. Raises `UsageError`."""
    for known in SOURCES:
        if source == known:
            return known
    raise UsageError(f"source {source!r}: one of {', '.join(SOURCES)} is expected")


class CodexTranscript:
    """One rollout, which Codex may compress and put away meanwhile."""

    def __init__(self, path: Path, places: Places) -> None:
        self.places = places
        self.more = False
        place = places.setdefault(MAIN, Place())
        self._path, self._lines, self._parser = path, Lines(path, place), CodexParser(place.thread)

    def read(self, budget: int) -> list[Record]:
        """See `Transcript`."""
        found = moved(self._path)
        if found != self._lines.path:
            self._lines = Lines(found, self.places[MAIN])
        records: list[Record] = []
        for at, line in self._lines.read(budget):
            records += self._parser.feed(line, at)
        self._lines.finish()
        self.more = not self._lines.at_end
        return records

    def settle(self) -> list[Record]:
        """See `Transcript`."""
        return self._parser.settle()


class ClaudeTranscript:
    """The session's file and those of its sub-agents, told in the order of time."""

    def __init__(self, path: Path, places: Places) -> None:
        self.places = places
        self.more = False
        self._path = path
        self._files: dict[str, tuple[Lines, ClaudeParser]] = {}
        places.setdefault(MAIN, Place())
        for name in places:
            self._add(name)

    def _add(self, name: str) -> None:
        place = self.places[name]
        path = self._path if name == MAIN else self._folder / f"{name}.jsonl"
        self._files[name] = (Lines(path, place), ClaudeParser(place.thread))

    @property
    def _folder(self) -> Path:
        return self._path.with_suffix("") / "subagents"

    def read(self, budget: int) -> list[Record]:
        """See `Transcript`."""
        lines, parser = self._files[MAIN]
        records: list[Record] = []
        for at, line in lines.read(budget):
            records += parser.feed(line, at)
        lines.finish()
        self._look_for_agents(lines.at_end)
        self.more = not lines.at_end
        until = None if lines.at_end else parser.thread.last
        streams = [records]
        for name in list(self._files):
            if name != MAIN:
                streams.append(self._read_agent(name, budget, until))
        return list(heapq.merge(*streams, key=_Clock())) if len(streams) > 1 else records

    def _read_agent(self, name: str, budget: int, until: float | None) -> list[Record]:
        lines, parser = self._files[name]
        records: list[Record] = []
        try:
            for at, line in lines.read(budget):
                if until is not None and _time(line) > until:
                    break
                records += parser.feed(line, at)
            lines.finish()
        except FileNotFoundError:
            return records
        self.more = self.more or not lines.at_end
        if lines.at_end and parser.thread.last < self.places[MAIN].thread.last:
            records += parser.settle()  # the session has gone on
        return records

    def _look_for_agents(self, at_end: bool) -> None:
        for path in sorted(self._folder.glob("agent-*.jsonl")):
            if path.stem in self._files or not path.is_file():
                continue
            about = self._about(path)
            if about is None and time.time() - path.stat().st_mtime < META_S:
                continue
            called = (about or {}).get("toolUseId") or ""
            root = next((p.thread.links[called] for p in self.places.values() if called in p.thread.links), None)
            if root is None and called and not at_end:
                continue  # its call is still to be read
            role = (about or {}).get("agentType") or ""
            self.places[path.stem] = Place(thread=Thread(agent=path.stem.removeprefix("agent-"), root=root, title=role))
            self._add(path.stem)

    def _about(self, path: Path) -> dict[str, str] | None:
        try:
            with open_regular(path.with_suffix(".meta.json")) as file:
                said = msgspec.json.decode(file.read())
        except (OSError, msgspec.MsgspecError):
            return None
        return {key: value for key, value in said.items() if isinstance(value, str)} if isinstance(said, dict) else {}

    def settle(self) -> list[Record]:
        """See `Transcript`."""
        return [record for _, parser in self._files.values() for record in parser.settle()]


class HermesTranscript:
    """A session in ``state.db``."""

    def __init__(self, path: Path, session: str, places: Places) -> None:
        self.places = places
        self.more = False
        self._path, self._session = path, session
        self._parser = HermesParser(places.setdefault(MAIN, Place()).thread)

    def read(self, budget: int) -> list[Record]:
        """See `Transcript`."""
        place, parser = self.places[MAIN], self._parser
        if not self._path.is_file():
            raise FileNotFoundError(2, "no such file", str(self._path))
        with rows.reading(self._path) as connection:
            session = rows.hermes_session(connection, self._session)
            if session is None:
                return []
            records = parser.about(session)
            found = rows.hermes_messages(connection, self._session, place.offset, AT_ONCE)
            for row in found:
                records += parser.feed(row)
                place.offset = row.id
            self.more = len(found) == AT_ONCE
            if not self.more:
                records += parser.spend(rows.hermes_spending(connection, self._session))
        return records

    def settle(self) -> list[Record]:
        """See `Transcript`."""
        return self._parser.settle()


class OpenClawTranscript:
    """A session in an agent's ``openclaw-agent.sqlite``."""

    def __init__(self, path: Path, session: str, places: Places) -> None:
        self.places = places
        self.more = False
        self._path, self._session = path, session
        self._parser = OpenClawParser(places.setdefault(MAIN, Place()).thread)

    def read(self, budget: int) -> list[Record]:
        """See `Transcript`."""
        place, records, count = self.places[MAIN], list[Record](), 0
        if not self._path.is_file():
            raise FileNotFoundError(2, "no such file", str(self._path))
        with rows.reading(self._path) as connection:
            generation = rows.openclaw_generation(connection, self._session)
            if place.mark != generation:
                place.mark, place.offset = generation, 0  # events that were told of are known by their ids
            for seq, event in rows.openclaw_events(connection, self._session, place.offset, AT_ONCE):
                records += self._parser.feed(event, seq)
                place.offset, count = seq + 1, count + 1
        self.more = count == AT_ONCE
        return records

    def settle(self) -> list[Record]:
        """See `Transcript`."""
        return self._parser.settle()


def moved(path: Path) -> Path:
    """Where a rollout lies now: Codex compresses old ones, and puts archived ones into a folder of their own."""
    if path.exists():
        return path
    plain = path.with_suffix("") if path.suffix == ".zst" else path
    places = [plain.parent]
    home = next((parent.parent for parent in plain.parents if parent.name == "sessions"), None)
    if home is not None:
        places.append(home / "archived_sessions")
    for folder in places:
        for candidate in (folder / plain.name, folder / f"{plain.name}.zst"):
            if candidate.exists():
                return candidate
    return path


class _Clock:
    """The time of a record, for merging streams: never less than that of the one before in its stream."""

    def __call__(self, record: Record) -> float:
        return record.time


def _time(line: bytes) -> float:
    found: Iterator[re.Match[bytes]] = _TIMESTAMP.finditer(line)
    return max((seconds(one[1].decode("ascii", "replace")) for one in found), default=0.0)
