"""Microsoft Agent Framework, the real packages against the stub model: what is recorded is what happened."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("agent_framework")

from agent_framework import Agent, WorkflowBuilder, tool
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Usage, call, fail, say
from tracecraft.integrations.agent_framework import buckets, tools, tracecraft_middleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.frameworks.recorded_run import Recorded, RecordedRun
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel

MODEL = "gpt-4o"
ONE = Usage(input=1, output=1)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def boom(x: int) -> str:
    """Fail."""
    raise ValueError(f"kaboom {x}")


def client() -> Any:
    return OpenAIChatClient(model=MODEL)


def solo(name: str = "solo", **more: Any) -> Agent:
    return Agent(client(), name=name, middleware=tracecraft_middleware(), **more)


def team(chat: Any = None) -> Agent:
    """Alice adds, fails, and lets Bob answer."""
    chat = chat or client()
    bob = Agent(chat, "You are Bob", name="bob", middleware=tracecraft_middleware())
    return Agent(
        chat,
        "You are Alice",
        name="alice",
        tools=[add, boom, bob.as_tool(name="ask_bob", arg_name="question")],
        middleware=tracecraft_middleware(),
    )


def script(model: StubModel) -> None:
    model.answer(
        call("add", {"a": 1, "b": 2}, Usage(input=100, cache_read=20, output=5, reasoning=3)),
        call("boom", {"x": 7}, Usage(input=120, output=4)),
        call("ask_bob", {"question": "is it 3?"}, Usage(input=140, output=6)),
        say("it is 3", Usage(input=150, output=2)),
        system="You are Alice",
    )
    model.answer(say("yes", Usage(input=50, cache_read=10, output=8)), system="You are Bob")


OUTLINE = [
    "task alice (alice)",
    f"  llm {MODEL} (alice)",
    "  tool_call add (alice)",
    f"  llm {MODEL} (alice)",
    "  tool_call boom (alice) error",
    f"  llm {MODEL} (alice)",
    "  tool_call ask_bob (alice)",
    "    handoff hand off to bob (alice)",
    "    task bob (bob)",
    f"      llm {MODEL} (bob)",
    f"  llm {MODEL} (alice)",
]


def check(run: RecordedRun, truth: Truth) -> None:
    assert run.outline() == OUTLINE
    assert run.status == "finished"
    assert run.tokens == truth.tokens
    assert run.cost == truth.cost
    assert (run.step("add").input, run.step("add").output) == ({"a": 1, "b": 2}, 3)
    assert [name for name, _ in run.errors] == ["boom"]
    assert "kaboom 7" in str(run.errors[0][1])
    assert run.step("alice").output == "it is 3"
    assert run.step("bob").output == "yes"
    assert run.of_kind("llm")[0].input[0] == {
        "role": "system",
        "contents": [{"type": "text", "text": "You are Alice"}],
    }


async def test_the_line_records_two_agents(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    assert (await team().run("1 + 2?")).text == "it is 3"
    check(await asyncio.to_thread(recorded), truth)


@pytest.mark.parametrize("chat", [OpenAIChatClient, OpenAIChatCompletionClient], ids=["responses", "completions"])
async def test_given_twice_and_streamed_it_records_the_same(
    model: StubModel, truth: Truth, recorded: Recorded, chat: Any
) -> None:
    script(model)
    stream = team(chat(model=MODEL)).run("1 + 2?", stream=True, middleware=tracecraft_middleware())
    assert [update async for update in stream]
    assert (await stream.get_final_response()).text == "it is 3"
    check(await asyncio.to_thread(recorded), truth)


async def test_inside_of_a_run_of_the_program_it_is_a_step(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    async with tracecraft.run("experiment") as mine:
        await team().run("1 + 2?")
        mine.log_metric("score", 1.0)
    run = await asyncio.to_thread(recorded)
    assert (run.name, run.outline(), run.tokens) == ("experiment", OUTLINE, truth.tokens)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_model_that_fails_fails_the_run(model: StubModel, recorded: Recorded, streamed: bool) -> None:
    model.answer(fail(400, "no such model"))
    with pytest.raises(Exception, match="no such model"):
        await (solo().run("hi", stream=True).get_final_response() if streamed else solo().run("hi"))
    run = await asyncio.to_thread(recorded)
    assert run.status == "failed"
    assert [name for name, _ in run.errors] == ["solo", MODEL]


async def test_a_run_that_is_cancelled_is_killed(model: StubModel, recorded: Recorded) -> None:
    waiting = asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait."""
        waiting.set()
        await asyncio.Event().wait()
        return "never"

    model.answer(call("wait", {}, ONE))
    task = asyncio.create_task(solo("waiter", tools=[wait]).run("wait"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(recorded)).status == "killed"


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "dropped"])
async def test_a_stream_that_nobody_reads_to_its_end_is_over_when_it_is_left(
    model: StubModel, recorded: Recorded, closes: bool
) -> None:
    model.answer(say("many words and more", ONE))
    stream = solo().run("hi", stream=True)
    async for _ in stream:
        break
    if closes:
        await stream.close()
    del stream
    gc.collect()
    run = await asyncio.to_thread(recorded)
    assert (run.status, run.outline()) == ("finished", ["task solo (solo)", f"  llm {MODEL} (solo)"])


async def test_two_agents_at_once_are_two_runs(model: StubModel, recorded: Recorded) -> None:
    model.answer(say("ok", ONE), forever=True)
    await asyncio.gather(solo("one").run("go"), solo("two").run("go"))
    runs = await asyncio.to_thread(recorded.runs, 2)
    assert sorted(run.outline()[0] for run in runs) == ["task one (one)", "task two (two)"]
    assert [len(run.of_kind("llm")) for run in runs] == [1, 1]


async def test_a_workflow_hands_over_inside_of_one_run(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    orchestrations = pytest.importorskip("agent_framework.orchestrations")
    model.answer(call("handoff_to_refunds", {}, ONE), system="You are triage")
    model.answer(say("refunded", ONE), system="You are refunds")
    triage, refunds = (
        Agent(
            client(),
            f"You are {name}",
            name=name,
            middleware=tracecraft_middleware(),
            require_per_service_call_history_persistence=True,
        )
        for name in ("triage", "refunds")
    )
    workflow = (
        orchestrations.HandoffBuilder(participants=[triage, refunds], name="support")
        .with_start_agent(triage)
        .add_handoff(triage, [refunds])
        .build()
    )
    async with tracecraft.run("support"):
        await workflow.run("my money back")
    run = await asyncio.to_thread(recorded)
    assert run.outline() == [
        "task triage (triage)",
        f"  llm {MODEL} (triage)",
        "  tool_call handoff_to_refunds (triage)",
        "    handoff hand off to refunds (triage)",
        "task refunds (refunds)",
        f"  llm {MODEL} (refunds)",
    ]
    assert (run.status, run.errors, run.tokens) == ("finished", [], truth.tokens)


async def test_agents_in_a_workflow_are_steps_of_the_run_around_it(model: StubModel, recorded: Recorded) -> None:
    model.answer(say("a text", ONE), say("a better text", ONE))
    writer, editor = solo("writer"), solo("editor")
    workflow = WorkflowBuilder(start_executor=writer).add_edge(writer, editor).build()
    async with tracecraft.run("write"):
        await workflow.run("a text, please")
    run = await asyncio.to_thread(recorded)
    assert [line for line in run.outline() if "task" in line] == ["task writer (writer)", "task editor (editor)"]


@pytest.mark.parametrize("waits", [True, False], ids=["coroutine", "thread"])
async def test_a_tool_writes_inside_of_its_step(model: StubModel, recorded: Recorded, waits: bool) -> None:
    def write() -> str:
        step = tracecraft.current_step()
        assert step is not None
        with step.step("write it down"):
            return "noted"

    async def write_later() -> str:
        return write()

    note = tool(write_later if waits else write, name="note", description="Write a note")
    model.answer(call("note", {}, ONE), say("done", ONE))
    await solo("writer", tools=[note]).run("note")
    run = await asyncio.to_thread(recorded)
    assert [child.name for child in run.step("note").children] == ["write it down"]
    assert tracecraft.current_step() is None


async def test_agents_coordinate_with_our_tools(model: StubModel, recorded: Recorded, project: str) -> None:
    model.answer(
        call("tracecraft_memory_set", {"key": "findings", "value": {"papers": 47}}, ONE),
        call("tracecraft_claim", {"task": "S1.parse"}, ONE),
        call("tracecraft_claim", {"task": "not a name"}, ONE),
        say("done", ONE),
    )
    await solo("researcher", tools=tools(agent="researcher")).run("go")
    run = await asyncio.to_thread(recorded)
    async with tracecraft.AsyncSession(project=project, agent="reader") as session:
        assert await session.memory.get("findings") == {"papers": 47}
        task = await session.tasks.show("S1.parse")
        assert task is not None
        assert task.record.owner == "researcher"
    assert "not a name" in str(run.of_kind("tool_call")[-1].output)


async def test_a_refused_tool_of_ours_is_an_error_of_its_step(
    model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model)
    await solo("researcher", tools=tools(agent="researcher")).run("go")
    assert_refusals(await asyncio.to_thread(recorded))


async def test_without_a_bus_the_agents_are_the_same_and_the_run_arrives_later(
    model: StubModel, truth: Truth, recorded: Recorded, deliver: Callable[[], None]
) -> None:
    script(model)
    assert (await team().run("1 + 2?")).text == "it is 3"
    await asyncio.to_thread(deliver)
    check(await asyncio.to_thread(recorded), truth)


async def test_tokens_of_anthropic_s_client_do_not_include_those_of_the_cache(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    anthropic = pytest.importorskip("agent_framework_anthropic")
    model.answer(say("hello", Usage(input=100, cache_read=40, cache_write=30, output=5)), forever=True)
    agent = Agent(anthropic.AnthropicClient(model="claude-opus-5-5"), name="solo", middleware=tracecraft_middleware())
    async with tracecraft.run("both"):
        await agent.run("hi")
        [update async for update in agent.run("hi", stream=True)]
    run = await asyncio.to_thread(recorded)
    assert (run.tokens, run.cost) == (truth.tokens, truth.cost)


def test_tokens_are_in_disjoint_buckets() -> None:
    said = {"input_token_count": 100, "cache_read_input_token_count": 40, "output_token_count": 9}
    assert buckets({**said, "reasoning_output_token_count": 3}) == {
        "input": 60,
        "cache_read": 40,
        "cache_write": 0,
        "output": 6,
        "reasoning": 3,
    }


def test_the_programs_of_the_page_run(model: StubModel, recorded: Recorded, boss: tracecraft.Session) -> None:
    script_claim(model)
    model.answer(say("3", ONE), forever=True)
    assert run_page("agent-framework")[0] == "3\n"
    assert [run.name for run in recorded.runs(3)] == ["adder", "writing", "researcher"]
    assert_left(boss, "researcher")
