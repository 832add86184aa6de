"""``run.log``: what the training printed, while it goes on and when it is over.

Steps come as ``step 00012 (3.4%) | loss: 6.12 | tok/sec: 1,234``, each behind a carriage return, and at the end, behind
``---``, a summary of ``key: value`` lines. Any such words are taken: forks of autoresearch print others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TAIL_LINES: Final = 50
"""Lines of a crash that are kept, as many as the agent is told to look at."""
TAIL_CHARACTERS: Final = 8_000
_STEP: Final = re.compile(r"\s*(?:step|iter|iteration)[ :=]+(\d{1,12})\b(.*)", re.IGNORECASE)
_PAIR: Final = re.compile(r"([A-Za-z][\w/ .-]{0,60}?)\s*[:=]\s*([-+]?[\d,]*\.?\d+(?:[eE][-+]?\d+)?|nan|inf|-inf)")
_LINE: Final = re.compile(r"([A-Za-z_][\w./-]{0,60}):[ \t]+(\S.*?)[ \t]*")
_NUMBER: Final = re.compile(r"([-+]?(?:[\d,]*\.?\d+)(?:[eE][-+]?\d+)?|nan|inf|-inf)\s*[A-Za-z%]*")
_NO_METRIC: Final = frozenset({"remaining", "eta"})


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the training."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """What a log says so far."""

    points: Sequence[Point] = ()
    summary: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Values of the summary that are no numbers."""
    tail: str = ""

    @property
    def last_line(self) -> str:
        """The last line that says something: of a traceback, the error."""
        return next((line.strip() for line in reversed(self.tail.splitlines()) if line.strip()), "")


def parse(text: str) -> TrainingLog:
    """Read a log, or its beginning; a last line without an end is not looked at, but for the tail."""
    whole = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    lines = re.split(r"[\r\n]", whole)
    summary, labels = _summary(lines)
    shown = re.split(r"\n", re.sub(r"[^\n]*\r(?!\n)", "", text))  # as a terminal would have it
    return TrainingLog(list(_points(lines)), summary, labels, "\n".join(shown[-TAIL_LINES:])[-TAIL_CHARACTERS:].strip())


def _points(lines: Sequence[str]) -> Iterator[Point]:
    for line in lines:
        if (found := _STEP.match(line)) is None:
            continue
        values = {name.strip(" |"): float(value.replace(",", "")) for name, value in _PAIR.findall(found[2])}
        values = {name: value for name, value in values.items() if name not in _NO_METRIC}
        if values:
            yield Point(int(found[1]), values)


def _summary(lines: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The lines behind the last ``---``."""
    places = [place for place, line in enumerate(lines) if line.strip() == "---"]
    numbers: dict[str, float] = {}
    labels: dict[str, str] = {}
    for line in lines[places[-1] + 1 :] if places else ():
        if (found := _LINE.fullmatch(line)) is None:
            continue
        if number := _NUMBER.fullmatch(found[2]):
            numbers[found[1]] = float(number[1].replace(",", ""))
        else:
            labels[found[1]] = found[2][:400]
    return numbers, labels
