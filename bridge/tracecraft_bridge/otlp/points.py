"""Metrics as points of a run. A sum of tokens or of cost is a number among others here, and never counted as usage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.otlp.redacting import redaction
from tracecraft_bridge.otlp.spans import started_of
from tracecraft_bridge.otlp.telemetry import THOUSAND, Attributes, attributes
from tracecraft_core import semconv, values
from tracecraft_core.run_events import MAX_NAME, Metric, WriterLeft

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    from tracecraft_bridge.otlp.writing import Writing

AT_ONCE: Final = 150
"""Points in one event: with the longest keys, all of them to be escaped, they fit into a body."""
_NOT_IN_KEYS: Final = (
    *("tracecraft.", "user.", "organization.", "terminal.", "anthropic."),
    *("session.id", "conversation.id"),
)
"""Attributes that say where a point belongs, or who the user is, and not what it measures."""


class Point(msgspec.Struct, frozen=True):
    """One number."""

    name: str
    """Of the metric, with a suffix for a part of a histogram."""
    value: float | int
    time: int
    found: Attributes
    resource: Attributes
    items: int
    """1 where a data point begins, 0 for further parts of it."""


def points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    """All numbers of a request."""
    for group in request.resource_metrics:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    yield from _parts(metric.name, kind or "", point, resource)


def write(writing: Writing, found: Sequence[Point]) -> None:
    """All points of one run in one request."""
    ordered = sorted(found, key=lambda point: point.time)
    home, earliest = writing.home, ordered[0]
    session = str(earliest.found.get(semconv.CLAUDE_SESSION, ""))
    started = started_of(home, earliest.resource, earliest.time, home.name, session)
    final = home.origin in ("session", "service")
    writing.begin(msgspec.structs.replace(started, provisional=not final))
    for start in range(0, len(ordered), AT_ONCE):
        writing.add(writing.agent, "metric", Metric(points=[_row(point) for point in ordered[start : start + AT_ONCE]]))
    writing.add(writing.agent, "left", WriterLeft(time=ordered[-1].time))


def _parts(name: str, kind: str, point: Any, resource: Attributes) -> Iterator[Point]:
    time, found = point.time_unix_nano // THOUSAND, attributes(point.attributes)
    if kind in ("gauge", "sum"):
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        yield Point(name, value, time, found, resource, 1)
        return
    yield Point(f"{name}.count", point.count, time, found, resource, 1)
    yield Point(f"{name}.sum", point.sum, time, found, resource, 0)
    if kind == "summary":
        for each in point.quantile_values:
            yield Point(f"{name}.p{each.quantile * 100:g}", each.value, time, found, resource, 0)
        return
    for part in ("min", "max"):
        if point.HasField(part):
            yield Point(f"{name}.{part}", getattr(point, part), time, found, resource, 0)


def _row(point: Point) -> tuple[str, Any, int | None, int]:
    return _key(point), _shown(point.value), None, point.time


def _key(point: Point) -> str:
    shown = sorted((key, said) for key, said in point.found.items() if not key.startswith(_NOT_IN_KEYS))
    inside = ",".join(f"{key}={values.as_tag(said)}" for key, said in shown)
    return redaction.text(f"{point.name}{{{inside}}}" if inside else point.name)[:MAX_NAME] or "?"


def _shown(value: float | int) -> float | int | str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
