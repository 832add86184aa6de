"""`Reader`: the records of a journal in order, of one that is being written or of one whose process is gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecraft.recording.journal import NUMBER, POINTS, START
from tracecraft.recording.segment import SUFFIX, Segment, after

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft.recording.journal import Journal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record begins."""

    segment: Segment
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """One event."""

    number: int
    agent: str
    event: str
    body: bytes
    place: Place
    points: int = 1
    """What it counts for: an event one, a metric event each of its points."""


class Reader:
    """Reads segments one after another; `back` goes back to a record that was read."""

    def __init__(self, segments: list[Segment], journal: Journal | None = None) -> None:
        self._segments = segments
        self._journal = journal
        self._segment: Segment | None = None
        self._offset = START
        self._more: list[Record] = []

    @property
    def segment(self) -> Segment | None:
        """The segment that it reads."""
        return self._segment

    def next(self) -> Record | None:
        """The next event; ``None`` when there is none, for now."""
        if self._more:
            return self._more.pop()
        while True:
            if self._segment is None:
                if not self._segments:
                    return None
                self._segment = self._segments[0]
            segment, offset = self._segment, self._offset
            following = self._following(segment)
            content = segment.content(offset, check=self._journal is None)
            if content is None:
                if following is None:
                    return None
                self._segment, self._offset = following, START
                continue
            if content[NUMBER : NUMBER + 1] == POINTS and self._journal is not None:
                self._journal.seal(segment, offset)
                content = segment.content(offset, check=False) or content
            self._offset = after(offset, len(content))
            first, *more = _records(content, Place(segment, offset))
            self._more = more[::-1]
            segment.last = more[-1].number if more else first.number
            return first

    def back(self, place: Place) -> None:
        """Read again from here."""
        self._segment, self._offset = place.segment, place.offset
        self._more.clear()

    def _following(self, segment: Segment) -> Segment | None:
        """The segment behind this one; asked for before a record is looked for, for none comes in afterwards."""
        if self._segments[-1] is segment:
            return None
        return self._segments[self._segments.index(segment) + 1]


def _records(content: bytes, place: Place) -> list[Record]:
    """The events of a record: several where agents took turns with points."""
    one, two = content[NUMBER + 1], content[NUMBER + 2]
    start, number = NUMBER + 3, int.from_bytes(content[:NUMBER], "little")
    agent, event = content[start : start + one].decode(), content[start + one : start + one + two].decode()
    body = content[start + one + two :]
    if content[NUMBER : NUMBER + 1] != POINTS:
        return [Record(number, agent, event, body, place)]
    by_agent = _by_agent(agent, body).items()
    return [_points(number + at, name, lines, place) for at, (name, lines) in enumerate(by_agent)]


def _by_agent(agent: str, body: bytes) -> dict[str, bytes]:
    """Lines of points, by whose they are, in the order of their first."""
    if body.count(b"\n") == body.count(b"\n[") + 1:
        return {agent: body}
    found: dict[str, bytearray] = {agent: bytearray()}
    for line in body.splitlines(keepends=True):
        if line.startswith(b"["):
            found[agent] += line
        else:
            agent = line[:-1].decode()
            found.setdefault(agent, bytearray())
    return {name: bytes(lines) for name, lines in found.items()}


def _points(number: int, agent: str, lines: bytes, place: Place) -> Record:
    body = b'{"points":[' + lines[:-2] + b"]}"
    return Record(number, agent, "metric", body, place, lines.count(b"\n"))


def in_memory(journal: Journal) -> int:
    """Events and points of a journal that nobody reads or writes any more and that end with this process."""
    reader, lost = Reader([segment for segment in journal.segments if segment.path is None]), 0
    while (record := reader.next()) is not None:
        if record.number > journal.position.acked:
            lost += record.points
    return lost


def load(folder: Path) -> list[Segment]:
    """The segments of a writer that is gone, in order of their records; empty ones are left out."""
    found: list[tuple[int, Segment]] = []
    for path in folder.glob(f"*{SUFFIX}"):
        segment = Segment.load(path)
        first = segment.content(START, check=True) if segment is not None else None
        if segment is not None and first is not None:
            found.append((int.from_bytes(first[:NUMBER], "little"), segment))
        elif segment is not None:
            if segment.words[START >> 3]:
                logger.warning("%s is damaged from its beginning: its records are lost", path)
            segment.close()
    return [segment for _, segment in sorted(found, key=lambda pair: pair[0])]
