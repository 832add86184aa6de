"""``runs export --otlp`` to an endpoint: what it takes, refuses and puts off, and our own receiver as one."""

from __future__ import annotations

import gzip
import json
import threading
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft_stack.ports import free_port

pytest.importorskip("opentelemetry.proto", reason="the package opentelemetry-proto is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.otlp_export import Recorded, exported, parsed, record, said, spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import CommandLine
    from tracecraft_stack import Stack


@pytest.fixture
def cli(whole_cli: CommandLine) -> CommandLine:
    return whole_cli


@pytest.fixture
def recorded(cli: CommandLine) -> Recorded:
    return record(cli)


@dataclass
class Collector:
    """What a collector would be: it takes requests as they are, and answers as it is told."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """Given to the next requests; afterwards all are taken."""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
            found.headers.append({key.lower(): value for key, value in self.headers.items()})
            found.paths.append(self.path)
            status, headers, answer = found.answers.pop(0) if found.answers else (200, {}, b"")
            if status == 200:
                found.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(status)
            for key, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def test_an_endpoint_gets_all_spans_with_the_headers_and_is_tried_again_when_it_asks_for_it(
    cli: CommandLine, recorded: Recorded, collector: Collector
) -> None:
    collector.answers = [(503, {"Retry-After": "0"}, b"soon"), (429, {}, b"")]
    keys = {"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a%20b,authorization=Bearer%20other"}
    target = f"{collector.url}/api/public/otel"
    done = cli(
        "runs", "export", recorded.run, "--otlp", target, "--header", "authorization=Bearer s3cret", "--json", env=keys
    )
    told = json.loads(said(done))["result"]
    assert (told["spans"], told["links"], told["target"]) == (14, 2, f"{target}/v1/traces")
    assert len(spans(collector.requests)) == 14
    assert collector.paths == ["/api/public/otel/v1/traces"] * 3
    sent = collector.headers[-1]
    assert (sent["authorization"], sent["x-tenant"], sent["content-encoding"]) == ("Bearer s3cret", "a b", "gzip")
    assert sent["content-type"] == "application/x-protobuf"
    assert "s3cret" not in done.stdout + done.stderr


def test_what_an_endpoint_refuses_is_told_with_its_reason_and_without_the_key(
    cli: CommandLine, recorded: Recorded, collector: Collector
) -> None:
    send = ("runs", "export", recorded.run, "--otlp", f"{collector.url}/v1/traces", "--header", "x-key=s3cret")
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans, answer.partial_success.error_message = 3, "too old"
    kind = {"Content-Type": "application/x-protobuf"}
    collector.answers = [(200, kind, answer.SerializeToString())]
    partly = cli(*send)
    assert (partly.returncode, partly.stdout) == (1, "")
    assert "3 of them: too old" in partly.stderr
    assert "11 spans were taken" in partly.stderr
    collector.answers = [(401, {}, b"who are you?")]
    refused = cli(*send)
    assert refused.returncode == 1
    assert "401 Unauthorized: who are you?" in refused.stderr
    assert "--header" in refused.stderr
    collector.answers = [(503, {"Retry-After": "3600"}, b"")]
    assert cli(*send).returncode == 69
    away = cli("runs", "export", recorded.run, "--otlp", f"http://u:s3cret@127.0.0.1:{free_port()}?k=s3cret")
    assert away.returncode == 69
    assert "nobody listens" in away.stderr
    assert all("s3cret" not in done.stdout + done.stderr for done in (partly, refused, away))


def receive(stack: Stack, project: str) -> ExportTraceServiceResponse:
    """Send what was exported into ``run.binpb`` to our own receiver, into a project."""
    (request,) = parsed("run.binpb")
    for group in request.resource_spans:
        group.resource.attributes.add(key="tracecraft.project").value.string_value = project
    assert stack.state.otlp_url is not None
    url = f"{stack.state.otlp_url.removesuffix('/')}/v1/traces"
    send = urllib.request.Request(url, data=request.SerializeToString())
    send.add_header("Content-Type", "application/x-protobuf")
    send.add_header("Authorization", f"Bearer {stack.state.otlp_token}")
    with urllib.request.urlopen(send, timeout=30) as answer:
        return ExportTraceServiceResponse.FromString(answer.read())


def test_a_run_that_comes_back_into_its_own_project_is_not_counted_twice(
    cli: CommandLine, recorded: Recorded, stack_with_artifacts: Stack
) -> None:
    count = len(exported(cli, recorded.run, "run.binpb"))
    before = inspected(cli, recorded.run, cli.project)["row"]
    refused = receive(stack_with_artifacts, cli.project).partial_success
    assert refused.rejected_spans == count
    assert "is there already" in refused.error_message
    assert inspected(cli, recorded.run, cli.project)["row"] == before


def test_a_run_that_goes_through_our_own_receiver_into_another_project_is_the_same(
    cli: CommandLine, recorded: Recorded, stack_with_artifacts: Stack
) -> None:
    said(cli("runs", "export", recorded.run, "--otlp", "run.binpb"))
    other = f"{cli.project}b"
    assert not receive(stack_with_artifacts, other).partial_success.rejected_spans
    before, after = (inspected(cli, recorded.run, project) for project in (cli.project, other))
    assert after["row"]["tokens"] == before["row"]["tokens"]
    assert (after["row"]["cost"], after["row"]["errors"]) == (before["row"]["cost"], before["row"]["errors"])
    there = {step["step"]: step for step in after["steps"]}
    same = (
        "name",
        "kind",
        "agent",
        "status",
        "started",
        "ended",
        "error",
        "parent",
        "tokens",
        "cost",
        "model",
        "input",
    )
    for step in before["steps"]:
        assert [(key, there[step["step"]][key]) for key in same] == [(key, step[key]) for key in same]
    assert len(there) == len(before["steps"])
    assert {one["agent"] for one in before["agents"]} == {one["agent"] for one in after["agents"]}


def inspected(cli: CommandLine, run: str, project: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(cli("runs", "inspect", run, "--json", project=project)))["result"]
    return found


def test_a_batch_that_is_too_large_goes_in_halves(cli: CommandLine, recorded: Recorded, collector: Collector) -> None:
    collector.answers = [(413, {}, b""), (200, {}, b""), (413, {}, b"")]
    keys = {"TRACECRAFT_RUNS_EXPORT_HEADER": "x-a=1 2,x-b=3"}
    said(cli("runs", "export", recorded.run, "--otlp", collector.url, env=keys))
    assert (collector.headers[0]["x-a"], collector.headers[0]["x-b"]) == ("1 2", "3")
    assert [len(spans([request])) for request in collector.requests] == [7, 3, 4]
