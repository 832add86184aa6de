"""OpenTelemetry through the real bridge: what exporters send is what the runs say."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import random
import secrets
import signal
import socket
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from tests.support import otlp
from tests.support.bridge import until_health
from tests.support.otlp import JSON, PROTOBUF, TOKEN, Where, logs, metrics, post, record, send, span, trace_id, traces
from tests.support.run_log import NOW, Events, run_log
from tracecraft.async_session import AsyncSession
from tracecraft_bridge.otlp import places
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.support.bridge import Rig
    from tracecraft_core.queries import RunRow, StepRow
    from tracecraft_stack import Stack
    from tracecraft_stack.bridge import BridgeServer
    from tracecraft_stack.postgres import PostgresServer

EVERY_FORM = pytest.mark.parametrize(
    ("encoding", "compressed"),
    [(PROTOBUF, False), (PROTOBUF, True), (JSON, False), (JSON, True)],
    ids=["protobuf", "protobuf-gzip", "json", "json-gzip"],
)


@pytest.fixture
def where(stack: Stack) -> Where:
    """The receiver of the shared stack."""
    return Where(stack.state.otlp_url, stack.state.otlp_token)


@pytest.fixture
async def session(stack: Stack, project: str) -> AsyncIterator[AsyncSession]:
    """A session that asks the bridge."""
    async with AsyncSession(server=stack.state.nats_url, project=project, agent="reader") as opened:
        yield opened


async def steps_of(session: AsyncSession, run: str) -> dict[str, StepRow]:
    """The steps of a run by name."""
    return {step.name: step async for step in session.runs.steps(run)}


async def only_run(session: AsyncSession) -> RunRow:
    """The one run of the project."""
    (run,) = await session.runs.list()
    return run


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


def agent(number: int, trace: str, name: str, parent: int | str = 0, **more: Any) -> Span:
    """An agent that repeats the totals of its children, as agents do."""
    found = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": name,
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.output_tokens": 200,
    }
    return span(trace, number, f"invoke_agent {name}", found | more, parent=parent, seconds=5.0)


def times(count: int) -> Tokens:
    """The tokens of so many calls by `chat`."""
    return Tokens(**{name: getattr(CHAT, name) * count for name in CHAT.__struct_fields__})


# -- what it becomes ----------------------------------------------------------------------------------------------


async def test_an_instrumented_application_is_a_run_without_any_code_of_ours(
    where: Where, session: AsyncSession, project: str
) -> None:
    boss = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "The Boss"}
    with (
        otlp.tracer(where, project, service_name="shop", tracecraft_tag_team="a") as tracer,
        tracer.start_as_current_span("invoke_agent boss", attributes=boss),
    ):
        with tracer.start_as_current_span(
            "chat gpt-4o",
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.output_tokens": 5,
                "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]',
                "gen_ai.output.messages": '[{"role": "assistant", "parts": []}]',
                "gen_ai.usage.cost": 0.25,
            },
        ):
            pass
        with (
            pytest.raises(ValueError, match="no such file"),
            tracer.start_as_current_span(
                "execute_tool read",
                attributes={
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": "read",
                    "gen_ai.tool.call.arguments": '{"path": "a.txt"}',
                },
            ),
        ):
            raise ValueError("no such file")
        with tracer.start_as_current_span("GET /health"):
            pass
    run = await only_run(session)
    assert (run.name, run.status, run.agent) == ("invoke_agent boss", "finished", "shop")
    assert (run.tokens, run.cost, run.errors, run.steps) == (Tokens(input=10, output=5), 0.25, 1, 4)
    assert run.tags["service.name"] == "shop"
    assert (run.tags["source"], run.tags["team"]) == ("otlp", "a")
    steps = await steps_of(session, run.run)
    root = steps["invoke_agent boss"]
    assert {name: step.kind for name, step in steps.items()} == {
        "invoke_agent boss": "task",
        "chat gpt-4o": "llm",
        "execute_tool read": "tool_call",
        "GET /health": "other",
    }
    assert {step.agent for step in steps.values()} == {"The_Boss"}, "children are of the agent above them"
    assert {step.parent for step in steps.values()} == {None, root.step}
    assert "hello" in (steps["chat gpt-4o"].input or "")
    tool = steps["execute_tool read"]
    assert (tool.status, tool.input) == ("error", '{"path":"a.txt"}')
    assert "no such file" in (tool.error or "")


@EVERY_FORM
async def test_both_encodings_say_the_same(
    where: Where, session: AsyncSession, project: str, encoding: str, compressed: bool
) -> None:
    trace = trace_id()
    request = traces([chat(2, trace, 1), agent(1, trace, "boss")], project)
    reply = send(where, request, encoding=encoding, compressed=compressed)
    assert (reply.status, reply.headers["content-type"]) == (200, encoding)
    assert reply.body == (b"{}" if encoding == JSON else b"")
    run = await only_run(session)
    assert (run.run, run.tokens, run.status) == (trace, CHAT, "finished")
    steps = await steps_of(session, trace)
    assert {step.step: step.parent for step in steps.values()} == {f"{1:016x}": None, f"{2:016x}": f"{1:016x}"}


@pytest.mark.parametrize("seed", range(4))
async def test_spans_make_the_same_run_in_whatever_order_and_requests_they_come(
    where: Where, session: AsyncSession, project: str, seed: int
) -> None:
    trace = trace_id()
    found = [agent(1, trace, "boss"), *(chat(number, trace, 1) for number in range(2, 8))]
    random.Random(seed).shuffle(found)
    for one in found:
        assert send(where, traces([one], project, service_name="shop")).status == 200
    run = await only_run(session)
    assert (run.name, run.status, run.tokens, run.steps) == ("invoke_agent boss", "finished", times(6), 7)
    steps = await steps_of(session, trace)
    assert {step.status for step in steps.values()} == {"ok"}
    assert sorted(step.parent or "" for step in steps.values()) == ["", *[f"{1:016x}"] * 6]
    assert run.started == steps["invoke_agent boss"].started
    assert (await session.runs.get(trace)).problems == 0


async def test_a_run_has_a_name_before_its_root_has_ended(where: Where, session: AsyncSession, project: str) -> None:
    trace = trace_id()
    send(where, traces([chat(2, trace, 1)], project, service_name="shop"))
    run = await only_run(session)
    assert (run.name, run.status) == ("shop", "running")


async def test_a_run_fails_with_its_root(where: Where, session: AsyncSession, project: str) -> None:
    trace = trace_id()
    raised = [("exception", {"exception.type": "KeyError", "exception.message": "'x'", "exception.stacktrace": "T"})]
    send(where, traces([span(trace, 1, "main", error="broke", events=raised)], project))
    run = await only_run(session)
    assert (run.status, run.errors, run.reason) == ("failed", 1, "'x'")
    assert (await session.runs.get(trace)).error == {"type": "KeyError", "message": "'x'"}


OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-4o",
    "llm.provider": "openai",
    "llm.token_count.prompt": 100,
    "llm.token_count.prompt_details.cache_read": 40,
    "llm.token_count.completion": 20,
    "llm.token_count.completion_details.reasoning": 5,
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "what is it?",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "it is this",
}
GENAI = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.reasoning.output_tokens": 5,
}
DIALECTS: dict[str, tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]] = {
    "genai": (
        {
            **GENAI,
            "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"what is it?"}]}]',
            "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"it is this"}]}]',
        },
        [],
    ),
    "genai-structured": (
        {
            **GENAI,
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "what is it?"}]}],
            "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "it is this"}]}],
        },
        [],
    ),
    "genai-1.36": (
        {**GENAI, "gen_ai.system": "openai"},
        [
            ("gen_ai.user.message", {"gen_ai.system": "openai", "content": "what is it?"}),
            ("gen_ai.choice", {"index": 0, "message": '{"role": "assistant", "content": "it is this"}'}),
        ],
    ),
    "genai-1.27": (
        {
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 100,
            "gen_ai.usage.cache_read_input_tokens": 40,
            "gen_ai.usage.completion_tokens": 20,
            "gen_ai.usage.output_tokens.reasoning": 5,
        },
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role": "user", "content": "what is it?"}]'}),
            ("gen_ai.content.completion", {"gen_ai.completion": '[{"role": "assistant", "content": "it is this"}]'}),
        ],
    ),
    "openllmetry": (
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.cache_read_input_tokens": 40,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.reasoning.output_tokens": 5,
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "what is it?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "it is this",
        },
        [],
    ),
    "openinference": (OPENINFERENCE, []),
}


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_every_dialect_tells_the_same_call(
    where: Where, session: AsyncSession, project: str, dialect: str
) -> None:
    attributes, events = DIALECTS[dialect]
    trace = trace_id()
    assert send(where, traces([span(trace, 1, "call", attributes, events=events)], project)).status == 200
    step = (await steps_of(session, trace))["call"]
    assert (step.kind, step.model, step.provider, step.tokens) == ("llm", "gpt-4o", "openai", CHAT)
    assert step.cost == pytest.approx(60 * 2.5e-6 + 40 * 1.25e-6 + 20 * 10e-6)
    assert "what is it?" in (step.input or "")
    assert "it is this" in (step.output or "")
    assert "user" in (step.input or "")
    assert "assistant" in (step.output or "")


async def test_messages_that_come_as_logs_belong_to_the_step_of_their_span(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    context = {"trace_id": bytes.fromhex(trace), "span_id": (1).to_bytes(8, "big")}
    told = [
        record("", {}, at=0.1, event_name="gen_ai.user.message", body={"content": "what is it?"}, **context),
        record("", {}, at=0.2, event_name="gen_ai.choice", body={"message": {"content": "it is this"}}, **context),
        record("", {}, at=0.3, body="an ordinary line", **context),
    ]
    assert send(where, logs(told, project)).status == 200
    assert send(where, traces([chat(1, trace)], project)).status == 200
    step = (await steps_of(session, trace))["chat 1"]
    assert "what is it?" in (step.input or "")
    assert "it is this" in (step.output or "")
    assert (await session.runs.get(trace)).problems == 0


# -- what counts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False], ids=["one-request", "child-first"])
async def test_a_call_that_two_instrumentations_tell_counts_once(
    where: Where, session: AsyncSession, project: str, together: bool
) -> None:
    trace = trace_id()
    found = [chat(2, trace, 1), span(trace, 1, "ChatOpenAI", OPENINFERENCE, seconds=3.0)]
    for request in [found] if together else [[one] for one in found]:
        assert send(where, traces(request, project)).status == 200
    assert (await only_run(session)).tokens == CHAT


async def test_a_model_that_a_tool_of_a_call_asks_is_paid_for_too(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    tool = span(trace, 2, "tool", {"gen_ai.operation.name": "execute_tool"}, parent=1)
    send(where, traces([chat(3, trace, 2), tool, chat(1, trace)], project))
    assert (await only_run(session)).tokens == times(2)


async def test_a_repeated_request_counts_once(where: Where, session: AsyncSession, project: str) -> None:
    trace = trace_id()
    request = traces([chat(2, trace, 1), agent(1, trace, "boss")], project)
    for _ in range(3):
        assert send(where, request).status == 200
    detail = await session.runs.get(trace)
    assert (detail.row.tokens, detail.row.steps, detail.problems) == (CHAT, 2, 0)
    assert (await session.runs.verify(trace)).complete


async def test_a_span_that_comes_again_in_another_request_counts_once(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    send(where, traces([chat(2, trace, 1)], project))
    send(where, traces([chat(2, trace, 1), chat(3, trace, 1)], project))
    send(where, traces([agent(1, trace, "boss"), chat(3, trace, 1)], project))
    run = await only_run(session)
    assert (run.tokens, run.steps, run.status) == (times(2), 3, "finished")
    assert (await session.runs.get(trace)).problems == 0
    assert (await session.runs.verify(trace)).complete


async def test_spans_that_a_collector_puts_together_anew_are_no_problem_of_their_run(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    above, broken = agent(1, trace, "boss"), span(trace, 9, "tool", parent=1, error="gone")
    below = [chat(number, trace, 1) for number in range(2, 8)]
    for request in ([one] for one in (*below, broken, above)):
        assert send(where, traces(request, project, service_name="shop")).status == 200
    for request in ([above, *below], [*below[:3], broken], [broken, above], below[2:]):
        assert send(where, traces(request, project, service_name="shop")).status == 200
    run = await only_run(session)
    assert (run.tokens, run.steps, run.errors, run.status) == (times(6), 8, 1, "finished")
    assert (await session.runs.get(trace)).problems == 0
    assert (await session.runs.verify(trace)).complete


async def test_an_end_that_says_something_else_is_a_problem_all_the_same(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    for name in ("one", "one", "another"):
        send(where, traces([span(trace, 2, name, parent=1), span(trace, 1, name)], project))
    detail = await session.runs.get(trace)
    assert (detail.row.steps, detail.problems) == (2, 2)
    assert not (await session.runs.verify(trace)).complete


@pytest.mark.parametrize("batch", [1, 3, 100])
async def test_repeated_ends_are_the_same_in_a_rebuild(bridge_postgres: PostgresServer, batch: int) -> None:
    name = f"o{secrets.token_hex(4)}"
    with psycopg.connect(bridge_postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = Events()
    failed = {"type": "E" * 300, "message": "m" * 5_000}
    ends = [
        {"step": f"{number}", "name": "n" * 600, "kind": "llm", "parent": "p", "status": status, "error": error}
        | {"time": NOW - number, "duration": number}
        for number, status, error in ((1, "ok", None), (2, "error", failed), (3, "ok", None))
    ]
    for writer, each in enumerate([[*ends], [*ends, ends[0]], [ends[1], {**ends[2], "duration": 9}], [*ends]]):
        made.run("joined", {}, agent=f"a{writer}", writer=f"otlp-{writer}")
        for end in each:
            made.run("step.ended", end, agent=f"a{writer}", writer=f"otlp-{writer}")
    async with run_log(bridge_postgres.dsn.rpartition("/")[0] + f"/{name}") as log:
        await log.write(made.messages, batch)
        assert await log.rows("SELECT steps, errors, problems FROM run") == [(3, 1, 1)]
        assert await log.rows("SELECT problem FROM run_problem") == [("the step has ended before",)]
        lived = await log.tables()
        await log.connection.execute("UPDATE projection SET version = 0, epoch = NULL")
        log.projector.forget()
        await log.rebuild()
        assert await log.tables() == lived


# -- where it goes ------------------------------------------------------------------------------------------------


async def test_a_trace_that_a_step_handed_out_lands_inside_of_it(
    stack: Stack, where: Where, session: AsyncSession, project: str
) -> None:
    from tracecraft import Session

    def record_and_call() -> tuple[str, str]:
        with (
            Session(server=stack.state.nats_url, project=project, agent="lead") as mine,
            mine.run("survey") as run,
            run.agent("lead") as lead,
            lead.step("ask the service", kind="tool_call") as step,
        ):
            _, trace, parent, _ = step.traceparent.split("-")
            run.flush(timeout=30)
            # the service knows nothing of projects and runs
            reply = send(where, traces([chat(5, trace, 4), span(trace, 4, "POST /ask", parent=parent)], "elsewhere"))
            assert reply.status == 200
            return run.id, step.id

    run, step = await asyncio.to_thread(record_and_call)
    row = await only_run(session)
    assert (row.run, row.name, row.status, row.tokens) == (run, "survey", "finished", CHAT)
    steps = await steps_of(session, run)
    assert steps["POST /ask"].parent == step
    assert steps["chat 5"].parent == steps["POST /ask"].step
    assert steps["ask the service"].status == "ok"


async def test_attributes_say_which_run_and_agent(where: Where, session: AsyncSession, project: str) -> None:
    first, second = trace_id(), trace_id()
    send(where, traces([chat(1, first)], project, tracecraft_run="exp-1", tracecraft_agent="alice"))
    send(where, traces([chat(2, second, **{"tracecraft.run": "exp-1", "tracecraft.agent": "bob"})], project))
    run = await only_run(session)
    assert (run.run, run.tokens, run.status) == ("exp-1", times(2), "running"), "whoever named it may go on with it"
    assert {step.agent for step in (await steps_of(session, "exp-1")).values()} == {"alice", "bob"}


async def test_what_names_an_impossible_run_is_rejected_and_the_rest_is_taken(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    wrong = chat(2, trace, 1, **{"tracecraft.run": "a.b"})
    short = chat(3, trace, 1)
    short.span_id = b"\1"
    reply = send(where, traces([wrong, short, agent(1, trace, "boss")], project))
    answer = ExportTraceServiceResponse.FromString(reply.body)
    assert (reply.status, answer.partial_success.rejected_spans) == (200, 2)
    assert "tracecraft.run is 'a.b'" in answer.partial_success.error_message
    assert "spanId has 1 bytes" in answer.partial_success.error_message
    assert list(await steps_of(session, trace)) == ["invoke_agent boss"]


async def test_a_number_of_tokens_that_cannot_be_one_is_a_warning_and_no_problem_of_the_run(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    wrong: dict[str, Any] = {"gen_ai.usage.input_tokens": 1e23}
    reply = send(where, traces([chat(1, trace, **wrong)], project))
    answer = ExportTraceServiceResponse.FromString(reply.body)
    assert (reply.status, answer.partial_success.rejected_spans) == (200, 0)
    assert "gen_ai.usage.input_tokens is 1e+23: not counted" in answer.partial_success.error_message
    detail = await session.runs.get(trace)
    assert (detail.row.tokens.output, detail.row.steps, detail.problems) == (15, 1, 0)


CLAUDE_SCOPE = "com.anthropic.claude_code.events"


def claude(name: str, at: float, found: dict[str, Any], **more: Any) -> LogRecord:
    """A log record as Claude Code 2.1.330 sends it."""
    own = {"session.id": "5f2c-11", "user.email": "someone@example.org", "event.sequence": int(at)}
    return record(name, own | found, at=at, body=f"claude_code.{name}", **more)


CLAUDE_CALL = {
    "model": "claude-sonnet-4-5",
    "input_tokens": 10,
    "output_tokens": "7",
    "cache_read_tokens": 1000,
    "cache_creation_tokens": 50,
    "cost_usd": 0.125,
    "duration_ms": 1500,
}


@pytest.mark.parametrize("known", [True, False], ids=["with-request-ids", "without"])
async def test_a_session_of_claude_code_is_a_run(
    where: Where, session: AsyncSession, project: str, known: bool
) -> None:
    ids = [{"request_id": f"req_{project}_011CSHoEeqs{number}"} if known else {} for number in range(2)]
    tool = {"tool_name": "Bash", "tool_use_id": "toolu_1", "success": "false", "error": "exit 1"}
    told = [
        claude("user_prompt", 1, {"prompt": "mend it"}),
        claude("api_request", 2, CLAUDE_CALL | ids[0]),
        claude("tool_result", 3, {**tool, "tool_input": '{"command": "make"}', "duration_ms": "20"}),
        claude("tool_decision", 3, {"decision": "accept"}),
        claude("api_request", 4, CLAUDE_CALL | ids[1]),
    ]
    about = {"service_name": "claude-code", "scope": CLAUDE_SCOPE}
    assert send(where, logs(told, project, **about)).status == 200
    assert send(where, logs(told[1:], project, **about)).status == 200, "some of it again"
    point = NumberDataPoint(
        time_unix_nano=otlp.now_ns(), as_double=0.25, attributes=otlp.pairs({"session.id": "5f2c-11"})
    )
    cost = Metric(
        name="claude_code.cost.usage",
        sum=Sum(data_points=[point], aggregation_temporality=AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA),
    )
    assert send(where, metrics([cost], project, service_name="claude-code")).status == 200
    run = await only_run(session)
    assert (run.run, run.name, run.agent) == ("claude-otel-5f2c-11", "Claude Code 5f2c-11", "claude")
    assert (run.tags["source"], run.tags["session"]) == ("claude", "5f2c-11")
    assert (run.tokens, run.cost) == (Tokens(input=20, cache_read=2000, cache_write=100, output=14), 0.25)
    assert run.metrics == {"claude_code.cost.usage": 0.25}
    found = [step async for step in session.runs.steps(run.run)]
    assert sorted((step.kind, step.status, step.agent) for step in found) == [
        ("llm", "ok", "claude"),
        ("llm", "ok", "claude"),
        ("message", "ok", "claude"),
        ("tool_call", "error", "claude"),
    ]
    bash = next(step for step in found if step.kind == "tool_call")
    assert (bash.name, bash.input, bash.error) == ("Bash", '{"command":"make"}', "ToolError: exit 1")


async def test_a_session_of_claude_code_with_traces_and_logs_is_told_once(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace, own = trace_id(), {"session.id": "5f2c-11"}
    request = {"request_id": f"req_{project}_011CSHoEeqs5C35"}
    spent = {key: item for key, item in CLAUDE_CALL.items() if key != "cost_usd"}
    spans = [
        span(trace, 2, "claude_code.llm_request", {**own, **spent, **request, "gen_ai.system": "anthropic"}, parent=1),
        span(trace, 3, "claude_code.tool", {**own, "tool_name": "Bash", "gen_ai.operation.name": "execute_tool"}),
        span(trace, 1, "claude_code.interaction", {**own, "user_prompt": "mend it"}),
    ]
    inside = {"trace_id": bytes.fromhex(trace), "span_id": (1).to_bytes(8, "big")}
    told = [
        claude("api_request", 2, CLAUDE_CALL | request, **inside),
        claude("tool_result", 3, {"tool_name": "Bash", "success": "true"}, **inside),
    ]
    assert send(where, logs(told, project, scope=CLAUDE_SCOPE)).status == 200
    assert send(where, traces(spans, project)).status == 200
    run = await only_run(session)
    assert (run.run, run.status) == ("claude-otel-5f2c-11", "running"), "a prompt is not the end of a session"
    assert (run.tokens, run.cost) == (Tokens(input=10, cache_read=1000, cache_write=50, output=7), 0.125)
    assert {name: step.kind for name, step in (await steps_of(session, run.run)).items()} == {
        "claude_code.llm_request": "llm",
        "Bash": "tool_call",
        "claude_code.interaction": "task",
    }


async def test_a_conversation_of_codex_is_a_run(where: Where, session: AsyncSession, project: str) -> None:
    def codex(name: str, at: float, found: dict[str, Any]) -> LogRecord:
        """A log record as Codex 0.163 sends it."""
        own = {"conversation.id": "0199-aa", "model": "gpt-5", "user.account_id": "u1"}
        return record(name, own | found, at=at, event_name="event otel/src/events/session_telemetry.rs:690")

    used = {
        "event.kind": "response.completed",
        "input_token_count": 100,
        "cached_token_count": "40",
        "cache_write_token_count": 0,
        "output_token_count": 20,
        "reasoning_token_count": 5,
        "tool_token_count": 120,
    }
    tool = {"tool_name": "shell", "call_id": "call_1", "arguments": '{"cmd": "ls"}', "output": "a.txt"}
    told = [
        codex("codex.conversation_starts", 0, {"provider_name": "openai"}),
        codex("codex.sse_event", 1, {"event.kind": "response.created"}),
        codex("codex.sse_event", 2, {"event.kind": "response.completed", "duration_ms": 0}),
        codex("codex.sse_event", 2, used),
        codex("codex.tool_result", 3, {**tool, "success": "true", "duration_ms": "12"}),
        codex("codex.sse_event", 4, used),
    ]
    request = logs(told, project, service_name="codex_exec")
    del request.resource_logs[0].resource.attributes[0]  # it takes no attributes from outside, but headers
    itself = request.resource_logs[0].scope_logs.add()
    itself.scope.name = "codex_otel::metrics::client"
    itself.log_records.append(record("", {}, body="flushing OTEL metrics"))
    body = request.SerializeToString()
    assert post(where, "/v1/logs", body, headers={"x-tracecraft-project": project}).status == 200
    run = await only_run(session)
    assert (run.run, run.tags["source"], run.tokens) == ("codex-otel-0199-aa", "codex", times(2))
    found = [step async for step in session.runs.steps(run.run)]
    assert [step.kind for step in found] == ["llm", "tool_call", "llm"]
    assert (found[1].name, found[1].input, found[1].output) == ("shell", '{"cmd":"ls"}', "a.txt")


async def test_metrics_belong_to_their_run_or_to_the_one_of_their_service(
    where: Where, session: AsyncSession, project: str
) -> None:
    now = otlp.now_ns()
    temperature = NumberDataPoint(as_double=36.6, attributes=otlp.pairs({"room": "a"}), time_unix_nano=now)
    spent = HistogramDataPoint(count=2, sum=0.5, max=0.4, time_unix_nano=now)
    found = [
        Metric(name="temperature", gauge=Gauge(data_points=[temperature])),
        Metric(name="requests", sum=Sum(data_points=[NumberDataPoint(as_int=3, time_unix_nano=now)])),
        Metric(name="seconds", histogram=Histogram(data_points=[spent])),
        Metric(name="broken", gauge=Gauge(data_points=[NumberDataPoint(as_double=float("nan"), time_unix_nano=now)])),
    ]
    assert send(where, metrics(found, project, service_name="shop")).status == 200
    assert send(where, metrics(found[:1], project, service_name="shop", tracecraft_run="exp-1")).status == 200
    whole, own = await session.runs.get("otel-shop"), await session.runs.get("exp-1")
    assert whole.row.metrics == {
        "temperature{room=a}": 36.6,
        "requests": 3.0,
        "seconds.count": 2.0,
        "seconds.sum": 0.5,
        "seconds.max": 0.4,
        "broken": "NaN",
    }
    assert own.row.metrics == {"temperature{room=a}": 36.6}


async def test_secrets_do_not_get_past_the_receiver(
    stack: Stack, where: Where, session: AsyncSession, project: str
) -> None:
    trace, secret = trace_id(), "sk-" + "a1b2" * 8
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"use {secret}"}]}])
    call = chat(1, trace, **{"gen_ai.input.messages": asked, "custom": secret})
    raised = [("exception", {"exception.type": "E", "exception.message": f"refused {secret}"})]
    tool = span(trace, 2, f"tool {secret}", {"tool.parameters": '{"password": "hunter22"}'}, error="x", events=raised)
    send(where, traces([call, tool], project, service_name=secret))
    send(where, logs([record("", {"key": secret}, body=f"said {secret}")], project, service_name="shop"))
    assert len(await session.runs.list()) == 2
    with psycopg.connect(stack.state.postgres_dsn) as connection:
        rows = connection.execute("SELECT subject, body::text, headers::text FROM log WHERE project = %s", (project,))
        logged = str(rows.fetchall())
    assert "said [redacted:api-key]" in logged
    assert secret not in logged
    assert "hunter22" not in logged
    assert "[redacted:api-key]" in ((await steps_of(session, trace))["chat 1"].input or "")


async def test_a_large_value_lies_in_the_artifact_store(stack_with_artifacts: Stack, project: str) -> None:
    state = stack_with_artifacts.state
    trace = trace_id()
    large = json.dumps([{"role": "user", "content": "word " * 10_000}])
    request = traces([chat(1, trace, **{"gen_ai.input.messages": large})], project)
    assert send(Where(state.otlp_url, state.otlp_token), request).status == 200
    async with AsyncSession(server=state.nats_url, project=project, agent="reader") as session:
        step = (await steps_of(session, trace))["chat 1"]
        assert step.input_blob is not None
        assert (step.input or "").startswith('[{"role":"user","content":"word word')


async def test_without_a_store_the_beginning_of_a_large_value_is_kept(
    where: Where, session: AsyncSession, project: str
) -> None:
    trace = trace_id()
    send(where, traces([chat(1, trace, **{"gen_ai.input.messages": json.dumps(["word " * 10_000])})], project))
    step = (await steps_of(session, trace))["chat 1"]
    assert step.input_blob is None
    assert (step.input or "").startswith('{"$cut":"[\\"word word')


# -- what is refused ----------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A few kilobytes that are 64 megabytes."""
    return gzip.compress(bytes(1 << 26))


SPANS = traces([chat(1, "ab" * 16)], "refused").SerializeToString()
REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "wrong-token": (401, {"token": "not-the-token-of-this-one"}),
    "no-token": (401, {"token": ""}),
    "foreign-letters": (401, {"token": "tokèn"}),
    "path": (404, {"path": "/v1/profiles"}),
    "content-type": (415, {"content_type": "text/plain"}),
    "encoding": (415, {"headers": {"Content-Encoding": "br"}}),
    "bomb": (413, {"body": "bomb", "headers": {"Content-Encoding": "gzip"}}),
    "too-large": (413, {"body": bytes(21 * 1024 * 1024)}),
    "no-gzip": (400, {"headers": {"Content-Encoding": "gzip"}}),
    "half-gzip": (400, {"body": gzip.compress(SPANS)[:-12], "headers": {"Content-Encoding": "gzip"}}),
    "no-protobuf": (400, {"body": b"\xff\xff\xff\xff"}),
    "no-json": (400, {"body": b"{", "content_type": JSON}),
    "json-of-another-shape": (400, {"body": b'{"resourceSpans": {"a": [1]}}', "content_type": JSON}),
    "json-list": (400, {"body": b"[[1]]", "content_type": JSON}),
    "json-too-deep": (400, {"body": b"[" * 100_000, "content_type": JSON}),
    "id-in-base64": (
        400,
        {
            "body": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"q6urq6urq6urq6urq6urqw=="}]}]}]}',
            "content_type": JSON,
        },
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_wrong_request_is_told_what_is_wrong_in_its_own_encoding(where: Where, case: str) -> None:
    status, given = REFUSED[case]
    path, body = given.get("path", "/v1/traces"), given.get("body", SPANS)
    rest = {key: item for key, item in given.items() if key not in ("path", "body")}
    try:
        reply = post(where, path, bomb() if body == "bomb" else body, **rest)
    except (BrokenPipeError, ConnectionResetError):
        assert case == "too-large", "it may close before all of a large body was sent"
        return
    assert reply.status == status
    if given.get("content_type", PROTOBUF) == PROTOBUF:
        told = Status.FromString(reply.body)
        assert reply.headers["content-type"] == PROTOBUF
        code, message = told.code, told.message
    else:
        code, message = (json.loads(reply.body)[key] for key in ("code", "message"))
    assert code > 0
    assert message


@pytest.mark.parametrize("said", ["\xb2", "1_0", "+5", "9" * 5_000, "many"], ids=["two", "bar", "plus", "long", "word"])
def test_a_length_that_is_no_number_is_refused(where: Where, said: str) -> None:
    reply = post(where, "/v1/traces", b"", headers={"Content-Length": said})
    assert reply.status == 411
    assert "Content-Length" in Status.FromString(reply.body).message


def test_connections_that_never_show_the_token_lock_nobody_out(where: Where, project: str) -> None:
    request = traces([chat(1, trace_id())], project)
    with contextlib.ExitStack() as idle:
        opened = [idle.enter_context(connected(where)) for _ in range(places.UNKNOWN + 40)]
        assert send(where, request).status == 200
        opened[0].settimeout(30)
        assert opened[0].recv(1) == b"", "the oldest is closed"
        assert send(where, request).status == 200


@pytest.mark.parametrize("sent", [b"", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half a header"])
def test_a_connection_has_to_show_the_token_soon(where: Where, sent: bytes) -> None:
    with connected(where) as idle:
        idle.settimeout(25)  # less than the time that an exporter has between two requests
        idle.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while idle.recv(1_000):
                pass


def connected(where: Where) -> socket.socket:
    """A connection on which nothing was sent."""
    host, _, port = where.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)))


def test_an_exporter_that_shows_the_token_keeps_its_connection(where: Where, project: str) -> None:
    body = traces([chat(1, trace_id())], project).SerializeToString()
    headers = {"Content-Type": PROTOBUF, "x-tracecraft-token": where.token}
    connection = http.client.HTTPConnection(where.url.removeprefix("http://"), timeout=30)
    for _ in range(2):
        connection.request("POST", "/v1/traces", body, headers)
        with connection.getresponse() as answer:
            assert (answer.status, answer.read()) == (200, b"")
        kept = connection.sock
        with contextlib.ExitStack() as idle:
            for _ in range(places.UNKNOWN + 40):
                idle.enter_context(connected(where))
            assert send(where, traces([chat(2, trace_id())], project)).status == 200
        assert connection.sock is kept
    connection.close()


def test_a_request_in_chunks_is_taken(where: Where, project: str) -> None:
    connection = http.client.HTTPConnection(where.url.removeprefix("http://"), timeout=30)
    body = traces([chat(1, trace_id())], project).SerializeToString()
    headers = {"Content-Type": PROTOBUF, "x-tracecraft-token": where.token}
    connection.request("POST", "/v1/traces", iter([body[:100], body[100:]]), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_receiver_says_what_it_is_for(where: Where) -> None:
    reply = post(where, "/", b"", method="GET")
    assert reply.status == 405
    assert b"/v1/traces" in reply.body


# -- when things die ----------------------------------------------------------------------------------------------


async def start(rig: Rig, **settings: str) -> BridgeServer:
    """A bridge with a receiver that is ready to take what comes."""
    bridge = rig.start(otlp_token=TOKEN, otlp_project="p", **settings)
    await until_health(bridge, 200, role="active")
    return bridge


@pytest.fixture
async def receiving(rig: Rig) -> BridgeServer:
    """A bridge of this test's own, that may be hurt."""
    return await start(rig)


def door(bridge: BridgeServer) -> Where:
    """Its receiver."""
    return Where(bridge.otlp_url, TOKEN)


async def test_what_a_killed_bridge_had_half_written_is_whole_when_the_exporter_repeats_it(
    rig: Rig, receiving: BridgeServer
) -> None:
    trace, count = trace_id(), 6_000
    request = traces([*(chat(number, trace, 1) for number in range(2, count + 2)), agent(1, trace, "boss")], "p")
    async with rig.bus() as bus:
        sending = asyncio.create_task(asyncio.to_thread(send, door(receiving), request))
        while await stored(bus, trace) < count // 10:
            assert not sending.done()
        os.kill(receiving.pid, signal.SIGKILL)
        with pytest.raises((http.client.HTTPException, OSError)):
            await sending
        half = await stored(bus, trace)
        assert half < 2 * count, "it was killed too late to be in the middle"
        again = await start(rig)
        reply = await asyncio.to_thread(send, door(again), request)
        assert (reply.status, reply.body) == (200, b"")
        await rig.caught_up(bus)
    writers = rig.query("SELECT last_number, final, received FROM run_writer WHERE run = %s", trace)
    assert len(writers) == 1
    assert writers[0][0] == writers[0][1] == writers[0][2]
    assert rig.query("SELECT status, steps, input_tokens, output_tokens, problems FROM run WHERE run = %s", trace) == [
        ("finished", count + 1, 60 * count, 15 * count, 0)
    ]


async def stored(bus: Any, run: str) -> int:
    """How many events of a run the log has."""
    found = await bus.list_subjects("TC_LOG", f"tc.p.run.{run}.>")
    return sum(found.values())


async def test_without_the_log_the_exporter_is_told_to_come_again(rig: Rig, receiving: BridgeServer) -> None:
    trace = trace_id()
    request = traces([chat(1, trace)], "p")
    rig.nats.kill()
    reply = await asyncio.to_thread(send, door(receiving), request)
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) > 0
    assert Status.FromString(reply.body).code == 14
    rig.nats.start()
    await until_health(receiving, 200, role="active")
    reply = await asyncio.to_thread(send, door(receiving), request)
    assert reply.status == 200
    async with rig.bus() as bus:
        await rig.caught_up(bus)
    assert rig.query("SELECT steps, input_tokens FROM run WHERE run = %s", trace) == [(1, 60)]


async def test_a_bridge_that_stands_by_receives_nothing(rig: Rig, receiving: BridgeServer) -> None:
    second = rig.start(otlp_token=TOKEN)
    reply = await asyncio.to_thread(send, door(second), traces([chat(1, trace_id())], "p"))
    assert (reply.status, Status.FromString(reply.body).code) == (503, 14)
    assert b"standby" in reply.body


async def test_a_run_is_over_when_its_telemetry_falls_silent(rig: Rig) -> None:
    bridge = await start(rig, otlp_silence="1s")
    alone, joined = trace_id(), trace_id()
    await asyncio.to_thread(send, door(bridge), traces([chat(2, alone, 1)], "p"))
    await asyncio.to_thread(send, door(bridge), traces([chat(2, joined, 1)], "p"))
    async with rig.bus() as bus:
        await bus.publish(f"tc.p.run.{joined}.a.tag", b'{"tags": {"mine": "yes"}, "time": 1}', msg_id="another:1")
    await rig.wait_for_rows(1, "SELECT FROM run WHERE run = %s AND status = 'finished'", alone)
    assert rig.query("SELECT status FROM run WHERE run = %s", joined) == [("running",)], "somebody else writes into it"
    await asyncio.to_thread(send, door(bridge), traces([agent(1, alone, "boss", error="late")], "p"))
    await rig.wait_for_rows(1, "SELECT FROM run WHERE run = %s AND name = 'invoke_agent boss'", alone)


async def test_metrics_of_the_bridge_count_what_was_rejected(rig: Rig, receiving: BridgeServer) -> None:
    from tests.support.bridge import metrics as scraped

    wrong = record("", {"tracecraft.project": "a b"}, body="x")
    reply = await asyncio.to_thread(send, door(receiving), logs([wrong, record("", {}, body="y")], "p"))
    assert ExportLogsServiceResponse.FromString(reply.body).partial_success.rejected_log_records == 1
    text = scraped(receiving)
    assert 'tracecraft_bridge_otlp_items_total{outcome="rejected",signal="logs"} 1.0' in text
    assert 'tracecraft_bridge_otlp_items_total{outcome="accepted",signal="logs"} 1.0' in text
    assert 'tracecraft_bridge_otlp_request_seconds_count{code="200",signal="logs"} 1.0' in text
