"""A model call through OpenTelemetry: the same in every dialect, and counted once however often it is told."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.otlp import CHAT, Where, agent, chat, only_run, send, span, steps_of, times, trace_id, traces
from tests.support.run_log import NOW, Events, run_log
from tracecraft.async_session import AsyncSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_stack import Stack
    from tracecraft_stack.postgres import PostgresServer


@pytest.fixture
def where(stack: Stack) -> Where:
    """The receiver of the shared stack."""
    return Where(stack.state.otlp_url, stack.state.otlp_token)


@pytest.fixture
async def session(stack: Stack, project: str) -> AsyncIterator[AsyncSession]:
    """A session that asks the bridge."""
    async with AsyncSession(server=stack.state.nats_url, project=project, agent="reader") as opened:
        yield opened


# -- what they say -------------------------------------------------------------------------------------------------

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


# -- what counts ---------------------------------------------------------------------------------------------------


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
