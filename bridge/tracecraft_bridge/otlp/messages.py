"""Requests and responses of OTLP in their two encodings, protobuf and JSON.

The JSON of OTLP is not protobuf's: trace and span ids are hexadecimal there, where protobuf's mapping has base64
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracecraft_bridge.otlp.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

Request = ExportTraceServiceRequest | ExportLogsServiceRequest | ExportMetricsServiceRequest

SIGNALS: Final[dict[str, str]] = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
"""Path -> what is sent there."""

_REQUESTS: Final[dict[str, type[Request]]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
_IDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_BRANCHES: Final = frozenset(
    [
        *("resourceSpans", "scopeSpans", "spans", "links", "resourceLogs", "scopeLogs", "logRecords"),
        *("resourceMetrics", "scopeMetrics", "metrics", "dataPoints", "exemplars"),
        *("gauge", "sum", "histogram", "exponentialHistogram", "summary"),
        *("resource_spans", "scope_spans", "resource_logs", "scope_logs", "log_records"),
        *("resource_metrics", "scope_metrics", "data_points", "exponential_histogram"),
    ]
)
"""Fields that lead to an id; attributes, which may have a key of the same name, are not looked into."""


def encoding_of(content_type: str) -> str:
    """`PROTOBUF` or `JSON`. Raises `Refused`, 415."""
    found = content_type.partition(";")[0].strip().lower()
    if found in (PROTOBUF, "application/protobuf"):
        return PROTOBUF
    if found == JSON:
        return JSON
    raise Refused(415, f"Content-Type {content_type!r} is not known here: send {PROTOBUF} or {JSON}")


def decode(signal: str, encoding: str, body: bytes) -> Request:
    """A request. Raises `Refused`, 400."""
    request = _REQUESTS[signal]()
    if encoding == JSON:
        _parse_json(body, request)
    else:
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            raise Refused(400, f"the body is not an export request for {signal} in protobuf: {error}") from None
    return request


def accepted(signal: str, encoding: str, rejected: int, why: str) -> bytes:
    """The response to a request that was taken, but for ``rejected`` items."""
    answer: ExportTraceServiceResponse | ExportLogsServiceResponse | ExportMetricsServiceResponse
    if signal == "traces":
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejected
    elif signal == "logs":
        answer = ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = rejected
    else:
        answer = ExportMetricsServiceResponse()
        answer.partial_success.rejected_data_points = rejected
    answer.partial_success.error_message = why
    if not rejected and not why:
        answer.ClearField("partial_success")
    if encoding == JSON:
        return json_format.MessageToJson(answer, indent=None).encode()
    return answer.SerializeToString()


def status(encoding: str, code: int, message: str) -> bytes:
    """A google.rpc.Status: ``int32 code = 1; string message = 2``."""
    if encoding == JSON:
        return msgspec.json.encode({"code": code, "message": message})
    text = message.encode("utf-8", "replace")
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _parse_json(body: bytes, request: Request) -> None:
    try:
        tree = msgspec.json.decode(body)
        for place in _places(tree):
            _spell_ids(place)
        json_format.ParseDict(tree, request, ignore_unknown_fields=True)
    except (msgspec.MsgspecError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not an export request in the JSON of OTLP: {str(error)[:300]}") from None
    except (TypeError, ValueError, AttributeError) as error:
        # json_format does not foresee every shape: a list where it wants an object ends in one of these
        raise Refused(400, f"the body is not an export request in the JSON of OTLP: {str(error)[:300]}") from None


def _places(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object that may have ids."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            yield item
            waiting += [value for key, value in item.items() if key in _BRANCHES]


def _spell_ids(place: dict[str, Any]) -> None:
    """Write the ids as protobuf's JSON wants them."""
    for key in _IDS:
        said = place.get(key)
        if said is None:
            continue
        if not isinstance(said, str):
            raise Refused(400, f"{key} is {said!r}: expected hexadecimal digits")
        try:
            place[key] = base64.b64encode(binascii.unhexlify(said)).decode()
        except ValueError:
            raise Refused(400, f"{key} is {said[:80]!r}: expected hexadecimal digits") from None
