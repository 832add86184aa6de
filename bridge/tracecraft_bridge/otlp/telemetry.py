"""Spans, log records and points as they came, out of protobuf: plain values, no meaning yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.otlp.redacting import revealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1 import trace_pb2

THOUSAND: Final = 1_000
ERROR: Final = 2
"""Code of a span's status."""
PRODUCER, CONSUMER = 4, 5
"""Kinds of spans."""

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened during a span."""

    name: str
    time: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """A span; times in microseconds since 1970."""

    trace: str
    """32 hexadecimal digits."""
    id: str
    """16 hexadecimal digits."""
    parent: str
    """Empty for a root."""
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    events: tuple[SpanEvent, ...]
    links: tuple[str, ...]
    """Each ``<trace>/<span>``."""
    status: int
    status_message: str
    resource: Attributes
    scope: str

    @property
    def failed(self) -> bool:
        """Whether its status says so."""
        return self.status == ERROR


@dataclass(frozen=True, slots=True)
class Record:
    """A log record."""

    trace: str
    """Empty outside of a trace."""
    span: str
    name: str
    """Of an event; empty for a line of a log."""
    time: int
    severity: int
    """1 to 24, 0 when it is not said."""
    body: Any
    attributes: Attributes
    resource: Attributes
    scope: str


def value(any_value: AnyValue) -> Any:
    """A value as Python has it."""
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value(item) for item in any_value.array_value.values]
    if kind == "kvlist_value":
        return attributes(any_value.kvlist_value.values)
    if kind == "bytes_value":
        return revealed(any_value.bytes_value)
    return getattr(any_value, kind)


def attributes(pairs: Iterable[KeyValue]) -> Attributes:
    """Attributes as a dictionary; of a key that stands there twice the last counts."""
    return {pair.key: value(pair.value) for pair in pairs}


def spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """All spans of a request."""
    for group in request.resource_spans:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _span(span, resource, scope.scope.name)


def records(request: ExportLogsServiceRequest) -> Iterator[Record]:
    """All log records of a request."""
    for group in request.resource_logs:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield _record(record, resource, scope.scope.name)


def _span(span: trace_pb2.Span, resource: Attributes, scope: str) -> Span:
    return Span(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        name=span.name,
        kind=span.kind,
        start=span.start_time_unix_nano // THOUSAND,
        end=span.end_time_unix_nano // THOUSAND,
        attributes=attributes(span.attributes),
        events=tuple(
            SpanEvent(event.name, event.time_unix_nano // THOUSAND, attributes(event.attributes))
            for event in span.events
        ),
        links=tuple(f"{link.trace_id.hex()}/{link.span_id.hex()}" for link in span.links),
        status=span.status.code,
        status_message=span.status.message,
        resource=resource,
        scope=scope,
    )


def _record(record: LogRecord, resource: Attributes, scope: str) -> Record:
    return Record(
        trace=record.trace_id.hex() if is_id(record.trace_id.hex(), 32) else "",
        span=record.span_id.hex() if is_id(record.span_id.hex(), 16) else "",
        name=record.event_name,
        time=(record.time_unix_nano or record.observed_time_unix_nano) // THOUSAND,
        severity=record.severity_number,
        body=value(record.body),
        attributes=attributes(record.attributes),
        resource=resource,
        scope=scope,
    )


def is_id(spelled: str, digits: int) -> bool:
    """Whether this is an id of W3C trace context of so many hexadecimal digits: not all of them zero."""
    return len(spelled) == digits and any(digit != "0" for digit in spelled)


def first(found: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of these names that has one."""
    for name in names:
        said = found.get(name)
        if said is not None and said != "":
            return said
    return None


def text(found: Mapping[str, Any], *names: str) -> str:
    """The same as text; empty when there is none."""
    said = first(found, *names)
    return said if isinstance(said, str) else "" if said is None else str(said)
