"""OpenTelemetry for tests: requests made by hand, in both encodings, and the exporters of the real SDK."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.trace import Tracer

    from tracecraft.async_session import AsyncSession
    from tracecraft_core.queries import RunRow, StepRow

TOKEN = "a-token-of-the-tests-only"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"

Request = ExportTraceServiceRequest | ExportLogsServiceRequest | ExportMetricsServiceRequest


class Where(NamedTuple):
    """A receiver."""

    url: str
    token: str


class Reply(NamedTuple):
    """What it answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def value(plain: Any) -> AnyValue:
    """A value as OTLP has it."""
    match plain:
        case bool():
            return AnyValue(bool_value=plain)
        case int():
            return AnyValue(int_value=plain)
        case float():
            return AnyValue(double_value=plain)
        case list():
            return AnyValue(array_value=ArrayValue(values=[value(item) for item in plain]))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=pairs(plain)))
        case bytes():
            return AnyValue(bytes_value=plain)
    return AnyValue(string_value=plain)


def pairs(found: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes."""
    return [KeyValue(key=key, value=value(item)) for key, item in found.items()]


def trace_id() -> str:
    """A fresh one."""
    return secrets.token_hex(16)


def span(
    trace: str,
    number: int,
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    parent: int | str = 0,
    start: float = 0.0,
    seconds: float = 1.0,
    error: str = "",
    events: list[tuple[str, dict[str, Any]]] | None = None,
) -> Span:
    """A span whose id is a number; ``start`` in seconds after a minute ago."""
    begin = int((_MINUTE_AGO + start) * 1e9)
    above = parent if isinstance(parent, str) else f"{parent:016x}" if parent else ""
    return Span(
        trace_id=bytes.fromhex(trace),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=bytes.fromhex(above),
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=begin,
        end_time_unix_nano=begin + int(seconds * 1e9),
        attributes=pairs(attributes or {}),
        events=[Span.Event(name=event, time_unix_nano=begin, attributes=pairs(found)) for event, found in events or []],
        status=Status(code=Status.STATUS_CODE_ERROR, message=error) if error else None,
    )


_MINUTE_AGO = time.time() - 60


def chat(number: int, trace: str, parent: int | str = 0, **more: Any) -> Span:
    """A model call of 100 tokens in, 40 of them from a cache, and 20 out, 5 of them reasoning."""
    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 5,
    }
    return span(trace, number, f"chat {number}", found | more, parent=parent, start=number / 1_000, seconds=0.05)


CHAT = Tokens(input=60, cache_read=40, output=15, reasoning=5)
"""What counts of a `chat`."""


def times(count: int) -> Tokens:
    """The tokens of so many calls by `chat`."""
    return Tokens(**{name: getattr(CHAT, name) * count for name in CHAT.__struct_fields__})


def agent(number: int, trace: str, name: str, parent: int | str = 0, **more: Any) -> Span:
    """An agent that repeats the totals of its children, as agents do."""
    found = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": name,
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.output_tokens": 200,
    }
    return span(trace, number, f"invoke_agent {name}", found | more, parent=parent, seconds=5.0)


def traces(spans: list[Span], project: str, **resource: Any) -> ExportTraceServiceRequest:
    """A request with spans of one resource; ``service_name`` is the attribute ``service.name``."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=_resource(project, resource))
    group.scope_spans.add().spans.extend(spans)
    return request


def record(name: str, attributes: Mapping[str, Any], *, at: float = 0.0, body: Any = None, **fields: Any) -> LogRecord:
    """A log record; its name stands in the attribute ``event.name``, where the coding agents have it."""
    found = {"event.name": name, **attributes} if name else attributes
    return LogRecord(
        time_unix_nano=int((_MINUTE_AGO + at) * 1e9),
        attributes=pairs(found),
        body=None if body is None else value(body),
        **fields,
    )


def logs(records: list[LogRecord], project: str, *, scope: str = "", **resource: Any) -> ExportLogsServiceRequest:
    """A request with log records of one resource."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add(resource=_resource(project, resource))
    scoped = group.scope_logs.add()
    scoped.scope.name = scope
    scoped.log_records.extend(records)
    return request


def metrics(found: list[Metric], project: str, **resource: Any) -> ExportMetricsServiceRequest:
    """A request with metrics of one resource."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add(resource=_resource(project, resource))
    group.scope_metrics.add().metrics.extend(found)
    return request


def now_ns() -> int:
    """A time for data points."""
    return int(_MINUTE_AGO * 1e9)


def as_json(request: Request) -> bytes:
    """A request in the JSON of OTLP: ids in hexadecimal digits."""
    tree = json_format.MessageToDict(request, use_integers_for_enums=True)
    return json.dumps(_hexadecimal(tree)).encode()


def _hexadecimal(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_hexadecimal(item) for item in tree]
    if isinstance(tree, dict):
        return {
            key: base64.b64decode(item).hex() if key in ("traceId", "spanId", "parentSpanId") else _hexadecimal(item)
            for key, item in tree.items()
        }
    return tree


def post(
    where: Where,
    path: str,
    body: bytes,
    *,
    content_type: str = PROTOBUF,
    token: str | None = None,
    method: str = "POST",
    timeout: float = 60.0,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request."""
    parts = urlsplit(where.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    sent = {"Content-Type": content_type, "Authorization": f"Bearer {where.token if token is None else token}"}
    sent |= headers or {}
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): item for name, item in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def send(where: Where, request: Request, *, encoding: str = PROTOBUF, compressed: bool = False) -> Reply:
    """A request that is right; the path by its type."""
    body = as_json(request) if encoding == JSON else request.SerializeToString()
    path = {
        ExportTraceServiceRequest: "/v1/traces",
        ExportLogsServiceRequest: "/v1/logs",
        ExportMetricsServiceRequest: "/v1/metrics",
    }[type(request)]
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    return post(where, path, gzip.compress(body) if compressed else body, content_type=encoding, headers=headers)


@contextmanager
def tracer(where: Where, project: str, *, compressed: bool = True, **resource: str) -> Iterator[Tracer]:
    """A tracer of the real SDK with its own exporter; when the block ends, all of it was sent."""
    exporter = OTLPSpanExporter(
        endpoint=f"{where.url}/v1/traces",
        headers={"x-tracecraft-token": where.token},
        compression=Compression.Gzip if compressed else Compression.NoCompression,
    )
    named = {key.replace("_", "."): item for key, item in resource.items()}
    provider = TracerProvider(resource=SdkResource.create({"tracecraft.project": project, **named}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("tests")
        assert provider.force_flush()
    finally:
        provider.shutdown()


async def steps_of(session: AsyncSession, run: str) -> dict[str, StepRow]:
    """The steps of a run by name."""
    return {step.name: step async for step in session.runs.steps(run)}


async def only_run(session: AsyncSession) -> RunRow:
    """The one run of the project."""
    (run,) = await session.runs.list()
    return run


def _resource(project: str, found: Mapping[str, Any]) -> Resource:
    named = {key.replace("_", "."): item for key, item in found.items()}
    return Resource(attributes=pairs({"tracecraft.project": project, **named}))
