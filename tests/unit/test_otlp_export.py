"""What a run is as spans, where no server is needed: messages, hops, sums, ids, ranges."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tracecraft_cli.otlp_export import messages, usage, values
from tracecraft_cli.otlp_export.encoding import Encoder, json_span
from tracecraft_cli.otlp_export.endpoint import EndpointRefused, _seconds, environment_headers, header
from tracecraft_cli.otlp_export.hops import Hops
from tracecraft_cli.otlp_export.span import MOST_LINKS, Link, Span, nanoseconds, step_id
from tracecraft_cli.otlp_export.spans import Traced, agent_id, provider, root_id, run_span, step_span
from tracecraft_cli.otlp_export.values import Value, Values
from tracecraft_core import ids, queries, subjects
from tracecraft_core.errors import UsageError
from tracecraft_core.queries import Entry, RunDetail, RunRow, StepRow, Tokens

TIME = "2026-11-22T19:34:15.000001Z"
STEP = "00f067aa0ba902b7"


def text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


CALL = {"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param("hi", [("user", [text("hi")])], id="text"),
        pytest.param({"prompt": "hi"}, [("user", [text("hi")])], id="prompt"),
        pytest.param({"lr": 1}, [("user", [text('{"lr":1}')])], id="any object"),
        pytest.param([1, 2], [("user", [text("[1,2]")])], id="any list"),
        pytest.param(None, [], id="nothing"),
        pytest.param([{"role": "system", "content": "s"}], [("system", [text("s")])], id="list of messages"),
        pytest.param(
            {"system": "s", "messages": [{"role": "user", "content": "hi"}], "model": "m"},
            [("system", [text("s")]), ("user", [text("hi")])],
            id="request of anthropic",
        ),
        pytest.param(
            {
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                ]
            },
            [("user", [text("hi"), CALL])],
            id="response of anthropic",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "3"}]}],
            [("user", [{"type": "tool_call_response", "id": "c1", "response": "3"}])],
            id="tool result of anthropic",
        ),
        pytest.param(
            {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}]}}]},
            [("assistant", [CALL])],
            id="response of openai",
        ),
        pytest.param(
            [{"role": "tool", "tool_call_id": "c1", "content": "3"}],
            [("tool", [{"type": "tool_call_response", "id": "c1", "response": "3"}])],
            id="tool result of openai",
        ),
        pytest.param(
            [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}], [("user", [text("hi")])], id="parts"
        ),
    ],
)  # fmt: skip
def test_what_clients_take_and_give_becomes_messages(value: Any, wanted: Any) -> None:
    assert messages.read(value, "user") == [{"role": role, "parts": parts} for role, parts in wanted]


def test_tool_calls_are_flattened_for_openinference() -> None:
    read = messages.read([{"role": "assistant", "content": "so", "tool_calls": [
        {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}]}], "user")  # fmt: skip
    assert messages.flattened(read, "llm.output_messages") == {
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "so",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "add",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"a": 1}',
    }


def test_the_input_includes_what_was_cached_and_the_output_includes_reasoning() -> None:
    found = usage.attributes(Tokens(input=1, cache_read=10, cache_write=100, output=1_000, reasoning=10_000), 0.5)
    assert found["gen_ai.usage.input_tokens"] == found["llm.token_count.prompt"] == 111
    assert found["gen_ai.usage.output_tokens"] == found["llm.token_count.completion"] == 11_000
    assert found["llm.token_count.total"] == 11_111
    assert sum(json.loads(found["langfuse.observation.usage_details"]).values()) == 11_111


def test_what_no_step_used_is_what_is_left_of_the_total() -> None:
    whole = usage.Sum()
    whole.add(Tokens(input=3), 0.1)
    whole.add(None, None)
    assert whole.rest(Tokens(input=3), 0.1) is None
    assert whole.rest(Tokens(input=5, output=1), 0.3) == (Tokens(input=2, output=1), 0.2)
    assert whole.rest(Tokens(input=5), None) == (Tokens(input=2), None)
    assert whole.rest(Tokens(input=2, output=9), 1.0) is None  # agents that share a step: nobody knows whose it was


def test_ranges_go_over_small_gaps() -> None:
    assert values.ranges([9, 1, 2, 50, 300], gap=41) == [(1, 50), (300, 300)]
    assert values.ranges([], gap=1) == []


def message(seq: int, sender: str, to: str, run: str = "", trace: str = "") -> Entry:
    headers = {subjects.RUN: run} if run else {}
    headers |= {subjects.TRACEPARENT: trace} if trace else {}
    return Entry(seq=seq, time=TIME, subject=f"tc.p.msg.{to}.{sender}", headers=headers, body={"text": "x"})


def receipt(seq: int, of: int, reader: str, run: str) -> Entry:
    headers = {subjects.RUN: run} if run else {}
    return Entry(seq=seq, time=TIME, subject=f"tc.p.receipt.lead.{reader}", headers=headers, body={"id": of})


def test_the_first_receipt_in_the_run_says_where_a_message_was_read() -> None:
    hops = Hops("r")
    hops.take([message(1, "lead", "ann", f"r/{STEP}", f"00-{'1' * 32}-{STEP}-01"), receipt(2, 1, "ann", "r/a"),
               receipt(3, 1, "ann", "r/b"), receipt(4, 7, "ann", "r"), receipt(5, 8, "ann", "other/a"),
               receipt(6, 9, "ann", "")])  # fmt: skip
    assert {key: (place.run, place.step) for key, place in hops.read.items()} == {
        (1, "ann"): ("r", "a"), (7, "ann"): ("r", None),
    }  # fmt: skip
    assert hops.unknown() == [7]
    assert hops.sent[1].trace == ("1" * 32, STEP)
    assert hops.sent[1].link("t", "s").attributes["tracecraft.message.id"] == 1


def test_ids_of_foreign_clients_become_span_ids_and_ours_stay() -> None:
    assert step_id(STEP) == STEP
    assert len(step_id("task-1")) == 16
    assert step_id("task-1") == step_id("task-1") != step_id("task-2")
    assert step_id("0" * 16) != "0" * 16


def test_the_span_of_a_run_is_that_of_its_traceparent_and_its_own_in_a_trace_from_elsewhere() -> None:
    trace = ids.trace("p", "r")
    assert root_id("p", "r", trace) == trace[16:]
    assert root_id("p", "r", "1" * 32) != root_id("p", "s", "1" * 32)


@pytest.mark.parametrize(
    ("said", "model", "wanted"),
    [("openai", "claude-x", "openai"), (None, "claude-x", "anthropic"), (None, "bedrock/claude-x", "anthropic"),
     (None, "gpt-5", "openai"), (None, "my-own", "unknown"), (None, None, "unknown")],
)  # fmt: skip
def test_a_model_has_a_provider(said: str | None, model: str | None, wanted: str) -> None:
    assert provider(said, model) == wanted


def detail(**more: Any) -> RunDetail:
    row = RunRow(run="r", name="search", status="finished", agent="ann", started=TIME, ended=TIME, **more)
    agents = [queries.AgentRow(agent="ann", status="ok", started=TIME)]
    return RunDetail(
        row=row, project="p", trace=ids.trace("p", "r"), origin={}, error=None, last_step=None, forked_from=None,
        forked_at=None, agents=agents, metrics=[], artifacts=[], children=[], bundle=None,
        events=0, points=0, problems=0, first_seq=0, last_seq=0, epoch=0,
    )  # fmt: skip


def step(**more: Any) -> StepRow:
    fixed = {"step": STEP, "agent": "ann", "name": "fit", "kind": "other", "status": "ok", "started": TIME}
    return StepRow(**{**fixed, "ended": TIME, "seconds": 0.0, "first_seq": 1, "last_seq": 2, **more})


@pytest.mark.parametrize(("status", "wanted"), [("ok", "ok"), ("error", "error"), ("lost", "error"), ("open", "unset")])
def test_how_a_step_ended_is_its_status(status: str, wanted: str) -> None:
    span = step_span(Traced(detail()), step(status=status, ended=None if status == "open" else TIME), Values())
    assert (span.status, len(span.events), span.end) == (wanted, int(wanted == "error"), nanoseconds(TIME))


def test_a_step_is_inside_of_its_agent_or_of_the_run_when_its_agent_is_not_listed() -> None:
    traced = Traced(detail())
    assert step_span(traced, step(), Values()).parent == agent_id("p", "r", "ann")
    assert step_span(traced, step(agent="bob"), Values()).parent == traced.root
    assert step_span(traced, step(parent="1" * 16), Values()).parent == "1" * 16


def test_links_over_the_limit_are_counted() -> None:
    links = tuple(Link(trace="1" * 32, span=f"{number + 1:016x}") for number in range(MOST_LINKS + 3))
    span = step_span(Traced(detail()), step(), Values(), links)
    assert (len(span.links), span.dropped_links) == (MOST_LINKS, 3)


def test_values_of_the_log_go_before_previews_and_those_of_another_step_are_not_taken() -> None:
    row = step(input="1", input_seq=5, output="preview", output_seq=6, output_blob="a" * 64)
    blob = {"step": STEP, "blob": {"size": 99}}
    entries = {
        (5, "step.input"): Entry(seq=5, time=TIME, subject="", body={"step": STEP, "value": "1"}),
        (6, "step.output"): Entry(seq=6, time=TIME, subject="", body=blob),
    }
    found = values.read(row, entries)
    assert found.input == Value("1")
    assert (found.output.content, found.output.sha256, found.output.size) == ("preview", "a" * 64, 99)
    entries[5, "step.input"].body["step"] = "another"
    assert values.read(row, entries).input.cut


def test_json_has_numbers_as_otlp_wants_them() -> None:
    traced = Traced(detail(params={"big": 2**70, "nan": "NaN", "on": True, "many": ["a", "b"], "none": None, "n": 3}))
    found = json.loads(json_span(run_span(traced)))
    said = {one["key"].removeprefix("tracecraft.param."): one["value"] for one in found["attributes"]}
    assert said["big"] == {"stringValue": str(2**70)}
    assert said["on"] == {"boolValue": True}
    assert said["n"] == {"intValue": "3"}
    assert said["many"] == {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
    assert "none" not in said
    assert found["startTimeUnixNano"] == "1795376055000001000"


def test_a_lone_surrogate_is_no_obstacle() -> None:
    span = Span(trace="1" * 32, id="1" * 16, name="a\ud800", start=1, end=2, attributes={"k": "\udfff"})
    json.loads(Encoder({}, "").json([span]))
    pytest.importorskip("opentelemetry.proto")
    assert Encoder({}, "").protobuf([span])


def test_several_protobuf_requests_behind_each_other_are_one() -> None:
    pytest.importorskip("opentelemetry.proto")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    encoder = Encoder({"service.name": "x"}, "1")
    parts = [Span(trace="1" * 32, id=f"{number:016x}", name="s", start=1, end=2) for number in (1, 2)]
    whole = ExportTraceServiceRequest.FromString(b"".join(encoder.protobuf([part]) for part in parts))
    assert [group.scope_spans[0].spans[0].span_id.hex() for group in whole.resource_spans] == [f"{1:016x}", f"{2:016x}"]


def test_headers_are_checked_and_their_values_not_shown() -> None:
    assert header("authorization=Basic a=b==") == ("authorization", "Basic a=b==")
    assert environment_headers("a=b%2Cc, d=e") == {"a": "b,c", "d": "e"}
    for wrong in ("s3cret", "a b=s3cret", "a=s3cret\r\nx: y"):
        with pytest.raises(UsageError) as refused:
            header(wrong)
        assert "s3cret" not in str(refused.value)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _seconds("7") == 7.0
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert _seconds("soon") is None
    assert _seconds(None) is None


def test_what_was_taken_before_an_error_is_told() -> None:
    assert "nothing was taken" in str(EndpointRefused("http://x", 400, "bad", 0))
    assert "512 spans were taken" in str(EndpointRefused("http://x", 400, "bad", 512))
