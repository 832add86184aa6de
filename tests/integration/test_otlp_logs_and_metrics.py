"""Logs and metrics through the real bridge: messages of a span, sessions of coding agents, measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
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
from tests.support.otlp import (
    Where,
    chat,
    logs,
    metrics,
    only_run,
    post,
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

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from tracecraft_stack import Stack


@pytest.fixture
def where(stack: Stack) -> Where:
    """The receiver of the shared stack."""
    return Where(stack.state.otlp_url, stack.state.otlp_token)


@pytest.fixture
async def session(stack: Stack, project: str) -> AsyncIterator[AsyncSession]:
    """A session that asks the bridge."""
    async with AsyncSession(server=stack.state.nats_url, project=project, agent="reader") as opened:
        yield opened


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
