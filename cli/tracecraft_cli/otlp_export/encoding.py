"""Spans as OTLP: one ``ExportTraceServiceRequest`` in JSON (ids hexadecimal, as OTLP/JSON has them) or protobuf."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import semconv
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

    from tracecraft_cli.otlp_export.span import Span

JSON_TYPE: Final = "application/json"
PROTOBUF_TYPE: Final = "application/x-protobuf"
SCOPE: Final = "tracecraft"
INSTALL: Final = "install it with: pip install opentelemetry-proto"

_KINDS: Final = {kind: number for number, kind in enumerate(semconv.SPAN_KINDS)}
_STATUS: Final = {"unset": 0, "ok": 1, "error": 2}
_SAMPLED: Final = 1
_MOST: Final = 2**63


def has_protobuf() -> bool:
    """Whether protobuf can be written here."""
    import importlib.util

    try:
        return importlib.util.find_spec("opentelemetry.proto.collector.trace.v1") is not None
    except ModuleNotFoundError:
        return False


class Encoder:
    """Writes requests of one resource: what is the same for all spans of an export."""

    def __init__(self, resource: Mapping[str, Any], version: str) -> None:
        self._resource, self._version = resource, version

    def json(self, spans: Iterable[Span]) -> bytes:
        """A request."""
        head, tail = self.json_frame()
        return head + b",".join(map(json_span, spans)) + tail

    def json_frame(self) -> tuple[bytes, bytes]:
        """What stands before the spans of a request and behind them."""
        scope = {"name": SCOPE, "version": self._version}
        mark = "\0"
        request = {
            "resourceSpans": [
                {
                    "resource": {"attributes": _json_attributes(self._resource)},
                    "scopeSpans": [{"scope": scope, "spans": [mark]}],
                }
            ]
        }
        head, _, tail = _dump(request).partition(_dump(mark))
        return head, tail

    def protobuf(self, spans: Iterable[Span]) -> bytes:
        """A request; several, one behind the other, are one request with all spans. Raises `UsageError`."""
        try:
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        except ModuleNotFoundError:
            raise UsageError(f"protobuf needs the package opentelemetry-proto: {INSTALL}; or write .json") from None
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.extend(_proto_attributes(self._resource))
        scope = group.scope_spans.add()
        scope.scope.name, scope.scope.version = SCOPE, self._version
        for span in spans:
            _fill(scope.spans.add(), span)
        return request.SerializeToString()


def json_span(span: Span) -> bytes:
    """One span as OTLP/JSON."""
    found: dict[str, Any] = {
        "traceId": span.trace,
        "spanId": span.id,
        "parentSpanId": span.parent or "",
        "flags": _SAMPLED,
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": _json_attributes(span.attributes),
        "status": {"code": _STATUS[span.status], **({"message": span.message} if span.message else {})},
    }
    if span.events:
        found["events"] = [
            {"timeUnixNano": str(one.time), "name": one.name, "attributes": _json_attributes(one.attributes)}
            for one in span.events
        ]
    if span.links:
        found["links"] = [
            {"traceId": one.trace, "spanId": one.span, "attributes": _json_attributes(one.attributes)}
            for one in span.links
        ]
    if span.dropped_links:
        found["droppedLinksCount"] = span.dropped_links
    return _dump(found)


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _json_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in attributes.items() if value is not None]


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -_MOST <= value < _MOST:
        return {"intValue": str(value)}
    if isinstance(value, float) and math.isfinite(value):
        return {"doubleValue": value}
    if _is_texts(value):
        return {"arrayValue": {"values": [{"stringValue": one} for one in value]}}
    return {"stringValue": _text(value)}


def _fill(target: ProtoSpan, span: Span) -> None:
    target.trace_id, target.span_id = bytes.fromhex(span.trace), bytes.fromhex(span.id)
    if span.parent:
        target.parent_span_id = bytes.fromhex(span.parent)
    target.flags, target.name = _SAMPLED, _valid(span.name)
    target.kind = _KINDS[span.kind]  # type: ignore[assignment]
    target.start_time_unix_nano, target.end_time_unix_nano = span.start, span.end
    target.attributes.extend(_proto_attributes(span.attributes))
    target.status.code = _STATUS[span.status]  # type: ignore[assignment]
    target.status.message = _valid(span.message)
    for event in span.events:
        made = target.events.add()
        made.time_unix_nano, made.name = event.time, event.name
        made.attributes.extend(_proto_attributes(event.attributes))
    for link in span.links:
        pointed = target.links.add()
        pointed.trace_id, pointed.span_id = bytes.fromhex(link.trace), bytes.fromhex(link.span)
        pointed.attributes.extend(_proto_attributes(link.attributes))
    target.dropped_links_count = span.dropped_links


def _proto_attributes(attributes: Mapping[str, Any]) -> Iterable[KeyValue]:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    return [
        KeyValue(key=_valid(key), value=_proto_value(value)) for key, value in attributes.items() if value is not None
    ]


def _proto_value(value: Any) -> AnyValue:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and -_MOST <= value < _MOST:
        return AnyValue(int_value=value)
    if isinstance(value, float) and math.isfinite(value):
        return AnyValue(double_value=value)
    if _is_texts(value):
        return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=_valid(one)) for one in value]))
    return AnyValue(string_value=_valid(_text(value)))


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, str) for one in value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _valid(text: str) -> str:
    """Without lone surrogates, which protobuf refuses."""
    return text.encode("utf-8", "replace").decode()
