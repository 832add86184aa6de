"""What the page gets: columns of numbers for the drawing, and chunks of words that it opens when they are looked at."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.replay.axis import axis
from tracecraft_cli.replay.moment import ALL, KINDS
from tracecraft_cli.replay.rows import rows
from tracecraft_core import subjects
from tracecraft_core.task_ids import spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracecraft_cli.replay.axis import Axis
    from tracecraft_cli.replay.moment import Moment
    from tracecraft_cli.replay.steps import Span
    from tracecraft_cli.replay.tape import Tape
    from tracecraft_core.queries import Entry

CHUNK: Final = 2_000
"""Moments whose words are zipped together."""
MOST_DETAIL: Final = 4_096
"""Characters of an entry's JSON that the page keeps; the whole of it is in the bundle."""
_TRANSPORT: Final = frozenset({subjects.MSG_ID, subjects.STREAM_SOURCE, subjects.EXPECTED_REVISION})
"""Headers that only the transport needs."""
STATUSES: Final = ("open", "ok", "error", "lost")


class Words:
    """A table of words, so that a column has small numbers in their place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __call__(self, word: str | None) -> int:
        """The number of a word; -1 for none."""
        return -1 if word is None else self.places.setdefault(word, len(self.places))


@dataclass(slots=True)
class Details:
    """The words of moments: their line and their entry, zipped `CHUNK` at a time as they come."""

    zipped: list[str] = field(default_factory=list)
    _waiting: list[tuple[str, str]] = field(default_factory=list)

    def add(self, moments: Iterable[Moment], entries: Iterable[Entry]) -> None:
        """Append a page."""
        for moment, entry in zip(moments, entries, strict=True):
            self._waiting.append((moment.text, _detail(entry)))
            if len(self._waiting) == CHUNK:
                self.close()

    def close(self) -> None:
        """Zip what waits."""
        if self._waiting:
            self.zipped.append(zipped([[text for text, _ in self._waiting], [detail for _, detail in self._waiting]]))
            self._waiting = []


def zipped(value: Any) -> str:
    """JSON, compressed by zlib, as base64: no character of it means anything to HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode("ascii")


def _detail(entry: Entry) -> str:
    """What an entry has besides its sequence and time: as JSON text, which may be cut and then is none any more."""
    known = {"subject": entry.subject, "body": entry.body if entry.raw is None else {"base64": entry.raw}}
    headers = {name: value for name, value in entry.headers.items() if name not in _TRANSPORT}
    if headers:
        known["headers"] = headers
    text = json.dumps(known, ensure_ascii=False, separators=(",", ":"), default=str)
    return text if len(text) <= MOST_DETAIL else text[:MOST_DETAIL]


def pack(tape: Tape, before: dict[str, Any] | None, totals: dict[str, Any]) -> dict[str, Any]:
    """The head of the page: everything that is drawn. ``before`` is what memory and tasks were when the run began."""
    words = Words()
    lanes = Words()
    for agent in _lanes(tape.moments):
        lanes(agent)
    run = axis(tape.moments)
    zero, end = run.start, run.end
    spans = sorted(tape.steps, key=lambda span: (span.start, -(span.end or end), span.first_seq))
    begins = {span.first_seq: place for place, span in enumerate(spans)}
    head = {
        "v": 1,
        "run": tape.source.run,
        "title": tape.source.title,
        "about": tape.source.about,
        "before": before,
        "totals": totals,
        "zero": zero,
        "length": end - zero,
        "kinds": KINDS,
        "statuses": STATUSES,
        "chunk": CHUNK,
        "most_detail": MOST_DETAIL,
        "moments": _moments(tape, run, begins, words, lanes),
        "steps": _steps(spans, words, lanes, zero, end),
        "messages": _messages(tape.moments, lanes),
    }
    return {**head, "agents": list(lanes.places), "words": list(words.places)}


def _lanes(moments: Sequence[Moment]) -> list[str]:
    """Agents in the order of their appearance, the bridge last; a receiver has a lane too."""
    found: dict[str, None] = {}
    for moment in moments:
        found.setdefault(moment.agent)
        if moment.kind == "message" and moment.to not in (None, ALL):
            found.setdefault(str(moment.to))
    return sorted(found, key=lambda agent: (agent.startswith("_"), agent == ""))


def _deltas(numbers: Sequence[int]) -> list[int]:
    """Differences, which are small and zip well."""
    return [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]


def _moments(tape: Tape, run: Axis, first: dict[int, int], words: Words, lanes: Words) -> dict[str, Any]:
    moments = tape.moments
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    steps = []
    for moment in moments:
        span = tape.steps.get(moment.run, moment.step) if moment.step else None
        steps.append(-1 if span is None else first[span.first_seq])
    return {
        "seq": _deltas([moment.seq for moment in moments]),
        "time": _deltas([time - run.start for time in run.times]),
        "elsewhen": {
            place: moment.time - run.start
            for place, (moment, time) in enumerate(zip(moments, run.times, strict=True))
            if moment.time != time
        },
        "agent": [lanes(moment.agent) for moment in moments],
        "kind": [kinds[moment.kind] for moment in moments],
        "error": [place for place, moment in enumerate(moments) if moment.error],
        "step": steps,
        "event": [words(moment.event) for moment in moments],
        "name": [_changed(moment, words) for moment in moments],
    }


def _changed(moment: Moment, words: Words) -> int:
    """The key or task that it changes, as its line calls it."""
    if moment.kind not in ("memory", "task"):
        return -1
    return words(spoken(moment.name) if moment.kind == "task" else moment.name)


def _steps(spans: Sequence[Span], words: Words, lanes: Words, zero: int, now: int) -> dict[str, list[Any]]:
    places = {(span.run, span.step): place for place, span in enumerate(spans)}
    return {
        "agent": [lanes(span.agent) for span in spans],
        "row": rows(spans, now),
        "start": _deltas([span.start - zero for span in spans]),
        "time": [(now if span.end is None else span.end) - span.start for span in spans],
        "name": [words(span.name) for span in spans],
        "kind": [words(span.kind) for span in spans],
        "status": [STATUSES.index(span.status) for span in spans],
        "parent": [places.get((span.run, span.parent or ""), -1) for span in spans],
        "seq": _deltas([span.first_seq for span in spans]),
        "tokens": [span.tokens for span in spans],
        "cost": [span.cost for span in spans],
        "model": [words(span.model) for span in spans],
        "task": [words(span.task) for span in spans],
    }


def _messages(moments: Sequence[Moment], lanes: Words) -> list[list[int]]:
    """``[sender, receiver, place, place where it was read or -1, where it was acknowledged or -1]``."""
    sent = {moment.seq: (place, moment) for place, moment in enumerate(moments) if moment.kind == "message"}
    read: dict[tuple[int, str], list[int]] = {}
    for place, moment in enumerate(moments):
        if moment.kind == "receipt" and moment.message in sent:
            known = read.setdefault((moment.message or 0, moment.agent), [-1, -1])
            known[0] = place if known[0] < 0 else known[0]
            known[1] = place if moment.event != "fetched" and known[1] < 0 else known[1]
    for place, moment in sent.values():
        if moment.to not in (None, ALL):
            read.setdefault((moments[place].seq, str(moment.to)), [-1, -1])
    return sorted(
        [lanes(sent[seq][1].agent), lanes(reader), sent[seq][0], *places] for (seq, reader), places in read.items()
    )
