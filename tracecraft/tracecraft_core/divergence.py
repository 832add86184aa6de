"""Where two runs part: the first thing that an agent did differently. Pure.

Agents work side by side, so the order between them is chance; each agent's own order is compared. What it records and
what it writes itself (messages, memory, tasks) are two orders: records pass through a spool, and writes overtake them
at will. What differs in every run (sequences, times, ids of steps, runs and calls, durations) does not count.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import subjects
from tracecraft_core.cut import body_of, header
from tracecraft_core.facts import fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracecraft_core.facts import Fact
    from tracecraft_core.queries import Entry

CHANCE: Final = frozenset(
    {"v", "time", "duration", "step", "parent", "request", "trace", "origin", "reply_to", "id", "session", "nonce"}
)
"""Fields that differ between any two runs."""
UNTOLD: Final = frozenset({"joined", "left", "crashed", "deleted"})
"""Events of a run that are about processes, not about what agents do."""
SYSTEM: Final = "system."
"""Metrics of the machine begin with this."""


SHOWN: Final = 120
"""Characters of a value in the words of a difference; the whole is in the entry."""
MOST_SHOWN: Final = 4
"""Fields that are told in words."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of two deeds of one kind that is not the same."""

    field: str
    """``error.message``; empty where the whole value is another."""
    a: Any
    """``None`` where there is none."""
    b: Any


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference."""

    agent: str
    place: int
    """How many things this agent did alike before, in both, by the first run's order."""
    a: Entry | None
    """``None``: this agent did nothing more."""
    b: Entry | None
    what: str
    """In words."""
    differences: tuple[Difference, ...] = ()
    """Field by field, where both did the same kind of thing."""


@dataclass(frozen=True, slots=True)
class _Deed:
    """What an agent did, without what is chance."""

    agent: str
    kind: str
    content: Any
    entry: Entry
    recorded: bool = False
    """An event of the run, not a write of its own."""

    @property
    def order(self) -> tuple[str, bool]:
        """The deeds that have an order among each other."""
        return self.agent, self.recorded


def first_divergence(entries_a: Iterable[Entry], entries_b: Iterable[Entry]) -> Divergence | None:
    """The difference that comes first in the first run's order, or ``None`` when both did the same."""
    comparison = _Comparison()
    deeds_a, deeds_b = _deeds(entries_a), _deeds(entries_b)
    going = True
    while going:
        going = False
        for side, deeds in enumerate((deeds_a, deeds_b)):
            deed = next(deeds, None)
            if deed is not None:
                going = True
                comparison.add(side, deed)
    return comparison.first()


class _Comparison:
    """What was done in one run and has not been met in the other, order by order."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, bool], tuple[deque[_Deed], deque[_Deed]]] = defaultdict(
            lambda: (deque(), deque())
        )
        self._alike: dict[str, list[int]] = defaultdict(list)
        """Sequences in the first run of what an agent did alike."""
        self._found: dict[tuple[str, bool], tuple[_Deed | None, _Deed | None]] = {}

    def add(self, side: int, deed: _Deed) -> None:
        if deed.order in self._found:
            return
        waiting = self._waiting[deed.order]
        waiting[side].append(deed)
        while waiting[0] and waiting[1]:
            a, b = waiting[0].popleft(), waiting[1].popleft()
            if (a.kind, a.content) != (b.kind, b.content):
                self._found[deed.order] = a, b
                return
            self._alike[deed.agent].append(a.entry.seq)

    def first(self) -> Divergence | None:
        for order, (rest_a, rest_b) in self._waiting.items():
            if order not in self._found and (rest_a or rest_b):
                self._found[order] = rest_a[0] if rest_a else None, rest_b[0] if rest_b else None
        if not self._found:
            return None
        (agent, _), (a, b) = min(self._found.items(), key=lambda found: _place(*found[1]))
        place = sum(a is None or seq < a.entry.seq for seq in self._alike[agent])
        differences = tuple(_differing("", a.content, b.content)) if a and b and a.kind == b.kind else ()
        what = _words(agent, a, b, differences)
        return Divergence(agent, place, a.entry if a else None, b.entry if b else None, what, differences)


def _place(a: _Deed | None, b: _Deed | None) -> tuple[bool, int]:
    deed = a or b
    return a is None, deed.entry.seq if deed else 0


def _words(agent: str, a: _Deed | None, b: _Deed | None, differences: tuple[Difference, ...]) -> str:
    if a is None or b is None:
        deed, which = (a, "second") if b is None else (b, "first")
        assert deed is not None
        return f"{agent} does nothing more in the {which}: {deed.kind}"
    if a.kind != b.kind:
        return f"{agent}: {a.kind}, and in the second {b.kind}"
    told = [
        f"{each.field or 'its value'}: {_shown(each.a)}, and in the second {_shown(each.b)}"
        for each in differences[:MOST_SHOWN]
    ]
    more = [f"{len(differences) - MOST_SHOWN} more"] if len(differences) > MOST_SHOWN else []
    return f"{agent}: {a.kind} differs in {'; '.join(told + more)}"


def _differing(path: str, a: Any, b: Any) -> Iterator[Difference]:
    """The innermost fields that differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        yield Difference(path, a, b)
        return
    for name in sorted(a.keys() | b.keys(), key=str):
        if a.get(name) != b.get(name):
            yield from _differing(f"{path}.{name}" if path else str(name), a.get(name), b.get(name))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = "nothing" if value is None else " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _deeds(entries: Iterable[Entry]) -> Iterator[_Deed]:
    for entry in entries:
        deed = _deed(fact(entry))
        if deed is not None:
            yield deed


def _deed(known: Fact) -> _Deed | None:
    body = body_of(known.entry)
    match known.family:
        case "run" if known.event and known.event not in UNTOLD:
            return _run_deed(known, body)
        case "msg" if len(known.tokens) == 2:
            return _Deed(known.tokens[1], f"message to {known.tokens[0]}", _kept(body), known.entry)
        case "all" if len(known.tokens) == 1:
            return _Deed(known.tokens[0], "message to all", _kept(body), known.entry)
        case "memory":
            writer = header(known.entry, subjects.WRITER)
            if writer is not None:
                return _Deed(writer, f"memory {'.'.join(known.tokens)}", body, known.entry)
        case "task":
            record = body if isinstance(body, dict) else {}
            owner = record.get("owner")
            if isinstance(owner, str):
                content = {name: record.get(name) for name in ("state", "handoff")}
                return _Deed(owner, f"task {'.'.join(known.tokens)}", content, known.entry)
    return None


def _run_deed(known: Fact, body: Any) -> _Deed | None:
    content = _kept(body)
    if known.event == "metric" and isinstance(body, dict):
        points = [point[:3] for point in body.get("points", []) if isinstance(point, list) and len(point) == 4]
        content = [point for point in points if not str(point[0]).startswith(SYSTEM)]
        if not content:
            return None
    if known.event in ("started", "ended"):
        content = {name: value for name, value in (content or {}).items() if name not in ("name", "tags")}
    return _Deed(known.tokens[1], known.event, content, known.entry, recorded=True)


def _kept(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    kept = {name: value for name, value in body.items() if name not in CHANCE}
    error = kept.get("error")
    if isinstance(error, dict):  # a traceback names files and lines, which are chance too
        kept["error"] = {name: value for name, value in error.items() if name != "trace"}
    return kept
