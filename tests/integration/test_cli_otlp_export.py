"""``runs export --otlp``: a real run as spans, read back as strictly as a collector reads them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import shlex
import subprocess
import threading
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cli import CommandLine
from tracecraft import Session
from tracecraft_core import ids, subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.ports import free_port

pytest.importorskip("opentelemetry.proto", reason="the package opentelemetry-proto is not installed")

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tracecraft_stack import Stack

REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, REMOTE_SPAN = REMOTE.split("-")[1:3]
LONG = "x" * 20_000
"""Over what an event holds: it lies in the artifact store."""
HUGE = "y" * 300_000


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TRACECRAFT_AGENT", "w1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(stack_with_artifacts: Stack, project: str) -> Iterator[CommandLine]:
    """The command line on a whole stack."""
    runner = CommandLine(stack_with_artifacts.state.nats_url, project)
    yield runner
    runner.close()


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Recorded:
    """A run that was recorded, and what must be found of it."""

    run: str
    child: str
    steps: dict[str, str] = field(default_factory=dict)
    """Ids by name."""


def record(cli: CommandLine) -> Recorded:
    """Two agents, a message between them, model calls, tools good and bad, values of every size, a run inside."""
    with (
        Session(server=cli.server, project=cli.project, agent="lead") as session,
        Session(server=cli.server, project=cli.project, agent="ann") as reader,
        session.run("search", params={"lr": 0.1, "grid": [1, 2]}, tags={"team": "a"}, traceparent=REMOTE) as run,
    ):
        found = Recorded(run.id, "")
        with run.agent("lead", model="gpt-5", role="planner") as lead:
            with lead.step("plan", kind="task") as plan:
                found.steps["plan"] = plan.id
                with plan.step("ask", kind="llm") as ask:
                    found.steps["ask"] = ask.id
                    asked = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
                    ask.log_input({"messages": asked})
                    ask.log_output({"role": "assistant", "content": "hello"})
                    ask.log_usage(
                        input=100, cache_read=40, cache_write=10, output=20, reasoning=5, provider="openai", cost=0.25
                    )
                plan.log_usage(input=7, output=3, model="gpt-5-mini", cost=0.5)  # of no model call
            with lead.step("tell", kind="message") as tell:
                found.steps["tell"] = tell.id
                lead.send("ann", "take the svm")
            lead.log_usage(input=1, output=1, model="gpt-5", cost=0.125)  # of no step
        with run.agent("ann", model="claude-opus-4-5") as ann, ann.step("work", kind="task") as work:
            found.steps["work"] = work.id
            (message,) = reader.inbox()
            assert reader.ack(message)
            with contextlib.suppress(ValueError), work.step("fit", kind="tool_call") as fit:
                found.steps["fit"] = fit.id
                fit.set_tag("try", 1)
                fit.log_input({"C": 3})
                raise ValueError("no room")
            with work.step("read", kind="tool_call") as step:
                found.steps["read"] = step.id
                step.log_input(LONG)
                step.log_output(HUGE)
        with session.run("inner") as inner:
            found.child = inner.id
            with inner.step("bit"):
                pass
        run.log_metrics({"loss": 0.5})
    return found


@pytest.fixture
def recorded(cli: CommandLine) -> Recorded:
    return record(cli)


def exported(cli: CommandLine, run: str, target: str) -> list[ProtoSpan]:
    """The spans of a run, from a file."""
    said(cli("runs", "export", run, "--otlp", target))
    return spans(parsed(target))


def parsed(path: str) -> list[ExportTraceServiceRequest]:
    """The requests of a file, strictly: an unknown field or a wrong type raises."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".binpb"):
        return [ExportTraceServiceRequest.FromString(data)]
    return [of_json(line) for line in (data.splitlines() if path.endswith(".jsonl") else [data])]


def of_json(data: bytes) -> ExportTraceServiceRequest:
    """OTLP/JSON has hexadecimal ids where protobuf's JSON has base64."""
    request = json.loads(data)
    for group in request["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for place in (span, *span.get("links", ())):
                    for name in {"traceId", "spanId", "parentSpanId"} & place.keys():
                        assert len(place[name]) in (0, 16, 32)
                        place[name] = base64_of(place[name])
    return json_format.ParseDict(request, ExportTraceServiceRequest())


def base64_of(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def spans(requests: Iterable[ExportTraceServiceRequest]) -> list[ProtoSpan]:
    return [
        span for one in requests for group in one.resource_spans for scope in group.scope_spans for span in scope.spans
    ]


def attributes(span: Any) -> dict[str, Any]:
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    assert len(found) == len(span.attributes), "an attribute stands there twice"
    return found


@pytest.mark.parametrize("suffix", ["json", "jsonl", "binpb"])
def test_a_run_is_a_tree_of_spans_with_its_own_ids_in_every_form(
    cli: CommandLine, recorded: Recorded, suffix: str
) -> None:
    found = exported(cli, recorded.run, f"run.{suffix}")
    names = {span.span_id.hex(): span.name for span in found}
    own = [span for span in found if span.trace_id.hex() == TRACE]
    assert sorted((span.name, names.get(span.parent_span_id.hex(), span.parent_span_id.hex())) for span in own) == [
        ("chat gpt-5", "invoke_agent lead"),
        ("chat gpt-5", "plan"),
        ("chat gpt-5-mini", "plan"),
        ("execute_tool fit", "work"),
        ("execute_tool read", "work"),
        ("invoke_agent ann", "invoke_workflow search"),
        ("invoke_agent lead", "invoke_workflow search"),
        ("invoke_workflow search", REMOTE_SPAN),
        ("plan", "invoke_agent lead"),
        ("tell", "invoke_agent lead"),
        ("work", "invoke_agent ann"),
    ]
    assert {name: names[step] for name, step in recorded.steps.items()} == {
        "plan": "plan", "ask": "chat gpt-5", "tell": "tell", "work": "work",
        "fit": "execute_tool fit", "read": "execute_tool read",
    }  # fmt: skip
    (inner,) = (span for span in found if span.name == "invoke_workflow inner")
    assert inner.trace_id.hex() == ids.trace(cli.project, recorded.child)
    assert [(link.trace_id.hex(), names[link.span_id.hex()]) for link in inner.links] == [
        (TRACE, "invoke_workflow search")
    ]
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in found)
    assert len(names) == len(found)


def test_whoever_adds_up_the_spans_of_a_run_has_its_tokens_and_its_cost(cli: CommandLine, recorded: Recorded) -> None:
    total: Counter[str] = Counter()
    for span in exported(cli, recorded.run, "run.binpb"):
        said = attributes(span)
        total.update({key: value for key, value in said.items() if isinstance(value, (int, float))})
        used = json.loads(said.get("langfuse.observation.usage_details", "{}"))
        assert sum(used.values()) == said.get("llm.token_count.total", 0)
        assert bool(used) == (said["openinference.span.kind"] == "LLM" and span.name.startswith("chat "))
    detail = json.loads(said_json(cli, "runs", "inspect", recorded.run))["result"]["row"]
    buckets = detail["tokens"]
    assert buckets == {"input": 108, "cache_read": 40, "cache_write": 10, "output": 24, "reasoning": 5}
    assert total["gen_ai.usage.input_tokens"] == total["llm.token_count.prompt"] == 158
    assert total["gen_ai.usage.output_tokens"] == total["llm.token_count.completion"] == 29
    assert total["gen_ai.usage.cache_read.input_tokens"] == total["llm.token_count.prompt_details.cache_read"] == 40
    assert total["gen_ai.usage.cache_creation.input_tokens"] == 10
    assert total["gen_ai.usage.reasoning.output_tokens"] == 5
    assert total["llm.cost.total"] == total["gen_ai.usage.cost"] == detail["cost"] == 0.875


def test_a_message_is_a_link_from_the_step_that_read_it_to_the_one_that_sent_it(
    cli: CommandLine, recorded: Recorded
) -> None:
    named = {span.name: span for span in exported(cli, recorded.run, "run.json")}
    (link,) = named["work"].links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE, recorded.steps["tell"])
    told = attributes(link)
    assert (told["tracecraft.message.from"], told["tracecraft.message.to"]) == ("lead", "ann")


def test_people_are_told_of_one_link_and_of_several(cli: CommandLine, recorded: Recorded) -> None:
    assert "14 spans, 2 links, trace " in said(cli("runs", "export", recorded.run, "--otlp", "run.json"))
    with (
        Session(server=cli.server, project=cli.project, agent="lead") as lead,
        Session(server=cli.server, project=cli.project, agent="ann") as ann,
        lead.run("small") as run,
    ):
        with run.agent("lead") as sending, sending.step("tell"):
            sending.send("ann", "go on")
        with run.agent("ann") as reading, reading.step("read"):
            (message,) = ann.inbox()
            assert ann.ack(message)
    assert " spans, 1 link, trace " in said(cli("runs", "export", run.id, "--otlp", "small.json"))


def test_a_message_sent_inside_of_a_step_carries_its_traceparent(cli: CommandLine, recorded: Recorded) -> None:
    found = asyncio.run(headers_of_messages(cli))
    assert found == [f"00-{TRACE}-{recorded.steps['tell']}-01"]
    inside = {"TRACECRAFT_RUN": recorded.run, "TRACEPARENT": f"00-{TRACE}-{recorded.steps['work']}-01"}
    said(cli("send", "lead", "by a program of that step", env=inside))
    said(cli("send", "lead", "from outside"))
    assert asyncio.run(headers_of_messages(cli))[1:] == [inside["TRACEPARENT"], None]


async def headers_of_messages(cli: CommandLine) -> list[str | None]:
    async with Bus(ServerOptions(servers=(cli.server,))) as bus:
        config = watcher_config([f"tc.{cli.project}.msg.>"], "all")
        async with Puller(bus, subjects.LOG, config) as puller:
            return [one.stored.headers.get(subjects.TRACEPARENT) async for one in puller.backlog()]


def test_an_error_is_a_status_and_an_exception_and_a_value_is_whole_or_says_why_not(
    cli: CommandLine, recorded: Recorded
) -> None:
    named = {span.name: span for span in exported(cli, recorded.run, "run.json")}
    fit, read, ask = (named[name] for name in ("execute_tool fit", "execute_tool read", "invoke_workflow search"))
    assert (fit.status.code, fit.status.message) == (Status.STATUS_CODE_ERROR, "no room")
    (event,) = fit.events
    raised = attributes(event)
    assert (event.name, raised["exception.type"], raised["exception.message"]) == ("exception", "ValueError", "no room")
    assert "raise ValueError" in raised["exception.stacktrace"]
    told = attributes(fit)
    assert (told["error.type"], told["tracecraft.tag.try"]) == ("ValueError", "1")
    assert json.loads(told["gen_ai.tool.call.arguments"]) == {"C": 3}
    assert named["work"].status.code == Status.STATUS_CODE_OK
    values = attributes(read)
    assert values["gen_ai.tool.call.arguments"] == values["input.value"] == LONG
    assert "input.value.cut" not in values
    assert values["output.value"].startswith('"yyy')
    assert (len(values["output.value"]), values["output.value.cut"]) == (512, "300,002 bytes in the artifact store")
    root = attributes(ask)
    assert (root["tracecraft.param.lr"], root["tracecraft.param.grid"]) == (0.1, "[1,2]")
    assert (root["tracecraft.tag.team"], root["tracecraft.metric.loss"]) == ("a", 0.5)


def test_a_model_call_has_its_messages_in_both_languages(cli: CommandLine, recorded: Recorded) -> None:
    found = exported(cli, recorded.run, "run.json")
    (call,) = (span for span in found if span.span_id.hex() == recorded.steps["ask"])
    told = attributes(call)
    assert call.kind == ProtoSpan.SPAN_KIND_CLIENT
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "openai")
    assert json.loads(told["gen_ai.input.messages"])[1] == {
        "role": "user", "parts": [{"type": "text", "content": "hi"}],
    }  # fmt: skip
    assert json.loads(told["gen_ai.output.messages"])[0]["parts"][0]["content"] == "hello"
    assert told["llm.input_messages.1.message.content"] == "hi"
    assert told["llm.output_messages.0.message.role"] == "assistant"


def test_standard_output_has_one_request_and_nothing_else(cli: CommandLine, recorded: Recorded) -> None:
    done = cli("runs", "export", recorded.run, "--otlp", "-", "--json")
    assert len(spans([of_json(said(done).encode())])) == 14
    assert "beginning only" in done.stderr


def test_a_file_is_there_whole_or_not_at_all(cli: CommandLine, recorded: Recorded, place: Path) -> None:
    (place / "run.json").write_text("what was here before")
    (place / "there").mkdir()
    assert cli("runs", "export", "nosuch", "--otlp", "run.json").returncode == 1
    assert cli("runs", "export", recorded.run, "--otlp", "missing/run.json").returncode == 1
    assert cli("runs", "export", recorded.run, "--otlp", "there/run.txt").returncode == 2
    limited = f"ulimit -f 8; exec {shlex.join(cli.argv('runs', 'export', recorded.run, '--otlp', 'run.json'))}"
    full = subprocess.run(["bash", "-c", limited], env=cli.environment(), capture_output=True, text=True, timeout=30)
    assert full.returncode == 1
    assert "run.json: File too large" in full.stderr
    assert (place / "run.json").read_text() == "what was here before"
    assert {path.name for path in place.iterdir()} == {"run.json", "there", "state"}


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
    same = ("name", "kind", "agent", "status", "started", "ended", "error", "tokens", "cost", "model")
    for step in before["steps"]:
        if step["name"] == "plan":  # its own usage is a call inside of it now
            step = {**step, "tokens": None, "cost": None, "model": None}
        moved = there[step["step"]]
        assert [(key, moved[key]) for key in same] == [(key, step[key]) for key in same]
        assert step["parent"] in (None, moved["parent"])
        assert step["kind"] == "llm" or moved["input"] == step["input"]  # those are messages in the conventions' form
    assert {one["agent"] for one in before["agents"]} <= {one["agent"] for one in after["agents"]}


def inspected(cli: CommandLine, run: str, project: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(cli("runs", "inspect", run, "--json", project=project)))["result"]
    return found


def test_a_batch_that_is_too_large_goes_in_halves(cli: CommandLine, recorded: Recorded, collector: Collector) -> None:
    collector.answers = [(413, {}, b""), (200, {}, b""), (413, {}, b"")]
    keys = {"TRACECRAFT_RUNS_EXPORT_HEADER": "x-a=1 2,x-b=3"}
    said(cli("runs", "export", recorded.run, "--otlp", collector.url, env=keys))
    assert (collector.headers[0]["x-a"], collector.headers[0]["x-b"]) == ("1 2", "3")
    assert [len(spans([request])) for request in collector.requests] == [7, 3, 4]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--header", "a=b"), id="header without otlp"),
        pytest.param(("--otlp", "run.json", "--header", "a=b"), id="header of a file"),
        pytest.param(("--otlp", "http://127.0.0.1:1", "--header", "secret"), id="header without value"),
        pytest.param(("--otlp", "http://127.0.0.1:99999"), id="port"),
        pytest.param(("--otlp", "run.json", "--output", "x"), id="two places"),
        pytest.param(("--otlp", "run"), id="no suffix"),
    ],
)
def test_a_wrong_target_is_wrong_usage(cli: CommandLine, words: tuple[str, ...]) -> None:
    done = cli("runs", "export", "any", *words)
    assert done.returncode == 2
    assert "for example" in done.stderr or "belongs to" in done.stderr or "--otlp" in done.stderr


def test_a_run_that_goes_on_is_exported_as_far_as_it_is(cli: CommandLine) -> None:
    run = said(cli("run", "start", "long"))
    said(cli("run", "log-step", "one", "--seconds", "1"))
    done = cli("runs", "export", run, "--otlp", "run.json")
    assert "have not ended" in done.stderr
    named = {span.name: span for span in spans(parsed("run.json"))}
    assert named["invoke_workflow long"].status.code == Status.STATUS_CODE_UNSET
    assert named["one"].end_time_unix_nano - named["one"].start_time_unix_nano == 1_000_000_000


def test_a_run_of_a_command_lies_inside_of_the_span_that_started_it(cli: CommandLine) -> None:
    shown = ("run", "exec", "made", "--", "sh", "-c", "echo $TRACEPARENT")
    done = cli(*shown, env={"TRACEPARENT": REMOTE})
    assert done.stdout.startswith(f"00-{TRACE}-")
    run = done.stderr.split()[1]
    (root,) = (span for span in exported(cli, run, "run.json") if span.name == "invoke_workflow made")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, REMOTE_SPAN)
    plain = said(cli("run", "start", "plain"))
    (root,) = (span for span in exported(cli, plain, "run.json") if span.name == "invoke_workflow plain")
    assert (root.trace_id.hex(), root.parent_span_id) == (ids.trace(cli.project, plain), b"")


def said_json(cli: CommandLine, *words: str) -> str:
    return said(cli(*words, "--json"))
