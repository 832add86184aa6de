"""Spans through the real bridge: what exporters send is what the runs say, where it belongs, and without secrets."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.support import otlp
from tests.support.otlp import (
    CHAT,
    JSON,
    PROTOBUF,
    Where,
    agent,
    chat,
    logs,
    only_run,
    record,
    send,
    span,
    steps_of,
    times,
    trace_id,
    traces,
)
from tracecraft.async_session import AsyncSession
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_stack import Stack

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


# -- what it becomes -----------------------------------------------------------------------------------------------


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


# -- where it goes -------------------------------------------------------------------------------------------------


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


# -- what is kept of it --------------------------------------------------------------------------------------------


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
