"""A run that was recorded to be exported, and its spans, read back as strictly as a collector reads them."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracecraft import Session

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

    from tests.support.cli import CommandLine


REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, REMOTE_SPAN = REMOTE.split("-")[1:3]
LONG = "x" * 20_000
"""Over what an event holds: it lies in the artifact store."""
HUGE = "y" * 300_000


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed that went well."""
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
    """The same bytes, as protobuf has them."""
    return base64.b64encode(bytes.fromhex(digits)).decode()


def spans(requests: Iterable[ExportTraceServiceRequest]) -> list[ProtoSpan]:
    """All of some requests."""
    return [
        span for one in requests for group in one.resource_spans for scope in group.scope_spans for span in scope.spans
    ]


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of a span, each of which stands there once."""
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    assert len(found) == len(span.attributes), "an attribute stands there twice"
    return found
