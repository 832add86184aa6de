"""What of a request goes where, and what of it cannot be taken, with the reasons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tracecraft_bridge.otlp import counting, points, telemetry, traces
from tracecraft_bridge.otlp.coding_agents import is_known
from tracecraft_bridge.otlp.home import Home, Misplaced, home_of
from tracecraft_bridge.otlp.records import name_of
from tracecraft_bridge.otlp.redacting import clean
from tracecraft_core import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_bridge.otlp.points import Point
    from tracecraft_bridge.otlp.telemetry import Record, Span

T = TypeVar("T")


class Sorted(Generic[T]):
    """The items of a request by their homes, and those that have none."""

    def __init__(self, project: str) -> None:
        self.by_home: dict[Home, list[T]] = {}
        self.asked: dict[str, traces.Asked] = {}
        """Traces of which somebody has to be asked whose they are."""
        self.items = 0
        self.rejected: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        """What is wrong with items that are taken all the same: a warning, as OTLP has it."""
        self._project = project

    def put(
        self, item: T, found: Mapping[str, Any], resource: Mapping[str, Any], name: str, trace: str, count: int = 1
    ) -> Home | None:
        """Put an item where it belongs; its home if its trace decides that, and somebody is to be asked."""
        self.items += count
        try:
            home, open_one = home_of(found, resource, name=name, trace=trace, project=self._project)
        except Misplaced as error:
            self.reject(str(error), count)
            return None
        self.by_home.setdefault(home, []).append(item)
        return home if open_one else None

    def reject(self, why: str, count: int = 1) -> None:
        """Note that an item cannot be taken."""
        self.rejected[why] += count

    def note(self, why: str) -> None:
        """Note that a part of an item says what cannot be; nothing for an empty reason."""
        if why:
            self.noted[clean(why, 200)] += 1

    def settle(self, found: Mapping[str, Home]) -> dict[Home, list[T]]:
        """The items by the homes that their traces have after all."""
        settled: dict[Home, list[T]] = {}
        for home, items in self.by_home.items():
            real = found.get(home.trace, home) if home.origin == "trace" else home
            settled.setdefault(real, []).extend(items)
        return settled

    @property
    def why(self) -> str:
        """The reasons in words, the most frequent first, then the warnings; empty when there are none."""
        found = [*self.rejected.most_common(5), *self.noted.most_common(5)]
        return "; ".join(f"{count} times: {reason}" for reason, count in found)[:1_000]


def sort_spans(request: Any, project: str) -> Sorted[Span]:
    """The spans of a request."""
    found: Sorted[Span] = Sorted(project)
    for span in telemetry.spans(request):
        problem = _problem(span)
        if problem:
            found.items += 1
            found.reject(problem)
            continue
        found.note(counting.impossible(span.attributes))
        home = found.put(span, span.attributes, span.resource, span.name, span.trace)
        if home is not None:
            traces.ask(found.asked, home, (span.parent,) if span.parent else (), rooted=not span.parent)
    return found


def sort_records(request: Any, project: str) -> Sorted[Record]:
    """The log records of a request."""
    found: Sorted[Record] = Sorted(project)
    for record in telemetry.records(request):
        if record.scope.startswith(semconv.CODEX_INTERNAL):
            found.items += 1
            continue
        if is_known(name_of(record)):
            found.note(counting.impossible(record.attributes))
        home = found.put(record, record.attributes, record.resource, name_of(record), record.trace)
        if home is not None:
            traces.ask(found.asked, home, (record.span,) if record.span else (), rooted=False)
    return found


def sort_points(request: Any, project: str) -> Sorted[Point]:
    """The data points of a request."""
    found: Sorted[Point] = Sorted(project)
    for point in points.points(request):
        found.put(point, point.found, point.resource, point.name, "", point.items)
    return found


def _problem(span: Span) -> str:
    if not telemetry.is_id(span.trace, 32):
        return f"traceId has {len(span.trace) // 2} bytes, or only zeros: expected 16 bytes"
    if not telemetry.is_id(span.id, 16):
        return f"spanId has {len(span.id) // 2} bytes, or only zeros: expected 8 bytes"
    return ""
