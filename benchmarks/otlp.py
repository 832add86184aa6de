"""OpenTelemetry into the bridge: spans a second until the log has them all, and how long an exporter waits.

A trace is an agent with four model calls (messages in and out) and three tool calls. Requests are encoded beforehand;
what is measured is from the first byte sent to the answer. The mirror writes to PostgreSQL meanwhile, as it does.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from benchmarks.report import milliseconds
from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions
from tracecraft_stack import Stack, StackOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracecraft_core.local import StackState

PROJECT = "bench"
SPANS_A_TRACE = 8
BATCH = 512
"""Spans in a request: what the SDKs' batch processors send at once."""
ANSWER = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "word " * 60}]}])


def main(argv: list[str]) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_240)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        options = StackOptions(data=Path(folder), artifacts=False, fsync=False)
        with Stack(options) as stack:
            ready(stack.state)
            measure(stack.state, arguments.spans)


def measure(state: StackState, spans: int) -> None:
    """Throughput by the number of exporters, then what a single span costs."""
    post(state, bodies(BATCH))
    for exporters in (1, 4):
        sent = bodies(spans)
        begun = time.perf_counter()
        with ThreadPoolExecutor(exporters) as pool:
            took = [one for part in pool.map(lambda share: post(state, share), shares(sent, exporters)) for one in part]
        seconds = time.perf_counter() - begun
        behind = mirrored(state)
        print(f"{exporters} exporter(s), {BATCH} spans a request: {spans / seconds:,.0f} spans/s into the log")
        print(f"    a request: {milliseconds(took)}; in PostgreSQL {behind:.2f} s later")
    print(f"one span a request: {milliseconds(post(state, bodies(SPANS_A_TRACE * 40, 1)))}")


def bodies(spans: int, batch: int = BATCH) -> list[bytes]:
    """Requests of so many spans, children before their parents."""
    found: list[dict[str, Any]] = []
    while len(found) < spans:
        found += trace()
    requests = []
    for start in range(0, spans, batch):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.extend(pairs({"service.name": "bench", "tracecraft.project": PROJECT}))
        scope = group.scope_spans.add()
        for fields in found[start : start + batch]:
            scope.spans.add(**fields)
        requests.append(request.SerializeToString())
    return requests


def trace() -> list[dict[str, Any]]:
    """The spans of one agent."""
    trace_id, root, now = secrets.token_bytes(16), secrets.token_bytes(8), time.time_ns()
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "searcher"}
    found = [fields(trace_id, "call", call(), root, now) for _ in range(4)]
    found += [fields(trace_id, "execute_tool grep", tool(), root, now) for _ in range(3)]
    return [*found, {**fields(trace_id, "invoke_agent searcher", agent, b"", now), "span_id": root}]


def fields(trace_id: bytes, name: str, attributes: dict[str, Any], parent: bytes, now: int) -> dict[str, Any]:
    """Of a span."""
    return {
        "trace_id": trace_id,
        "span_id": secrets.token_bytes(8),
        "parent_span_id": parent,
        "name": name,
        "start_time_unix_nano": now - 1_000_000,
        "end_time_unix_nano": now,
        "attributes": pairs(attributes),
    }


def call() -> dict[str, Any]:
    """A model call."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 80,
        "gen_ai.input.messages": ANSWER,
        "gen_ai.output.messages": ANSWER,
    }


def tool() -> dict[str, Any]:
    """A tool call."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "grep",
        "gen_ai.tool.call.arguments": '{"pattern": "lease", "path": "docs"}',
        "gen_ai.tool.call.result": "docs/claims.md:12: a lease ends\n" * 10,
    }


def pairs(found: dict[str, Any]) -> list[KeyValue]:
    """Attributes."""
    return [
        KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for key, value in found.items()
    ]


def shares(sent: list[bytes], count: int) -> list[list[bytes]]:
    """The requests dealt out."""
    return [sent[start::count] for start in range(count)]


def post(state: StackState, sent: Iterable[bytes]) -> list[float]:
    """Send requests over one connection; the seconds of each."""
    connection = http.client.HTTPConnection(state.otlp_url.removeprefix("http://"), timeout=120)
    headers = {"Content-Type": "application/x-protobuf", "x-tracecraft-token": state.otlp_token}
    took = []
    for body in sent:
        begun = time.perf_counter()
        connection.request("POST", "/v1/traces", body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - begun)
        assert answer.status == 200, answer.status
    connection.close()
    return took


def ready(state: StackState) -> None:
    """Wait until the bridge mirrors; an exporter would wait by itself."""
    mirrored(state)


def mirrored(state: StackState) -> float:
    """Seconds until the bridge has written all that is in the log."""

    async def newest() -> int:
        async with Bus(ServerOptions(servers=(state.nats_url,))) as bus:
            await topology.ensure(bus)
            await bus.publish(f"tc.{PROJECT}.all.bench", b'{"text": "how far?"}')
            found = await bus.leader_get(subjects.LOG, f"tc.{PROJECT}.>")
        return found.seq if found is not None else 0

    begun = time.perf_counter()
    last = asyncio.run(newest())
    while health(state)["last_seq"] < last:
        time.sleep(0.01)
    return time.perf_counter() - begun


def health(state: StackState) -> dict[str, Any]:
    """What /healthz says."""
    try:
        with urllib.request.urlopen(f"{state.bridge_url}/healthz", timeout=5) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
