"""pydantic-ai, the real package against the stub model: what is recorded is what happened."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, ModelRetry, RunContext

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Usage, call, fail, say
from tracecraft.integrations.pydantic_ai import Tracecraft, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.frameworks.recorded_run import Recorded, RecordedRun
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel

MODEL = "gpt-4o"
ONE = Usage(input=1, output=1)


@pytest.fixture(autouse=True)
def loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """The event loop of ``run_sync``, which leaves one that it makes itself open."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    asyncio.set_event_loop(None)
    made.close()


def team() -> Agent[None, str]:
    """Alice adds, fails, tries again, and lets Bob answer."""
    bob = Agent(f"openai:{MODEL}", name="bob", system_prompt="You are Bob", capabilities=[Tracecraft()])
    alice = Agent(f"openai:{MODEL}", name="alice", system_prompt="You are Alice", capabilities=[Tracecraft()])

    @alice.tool_plain
    def add(a: int, b: int) -> int:
        return a + b

    @alice.tool(retries=2)
    def boom(ctx: RunContext[None], x: int) -> str:
        if ctx.retry == 0:
            raise ModelRetry(f"kaboom {x}")
        return "fine"

    @alice.tool
    async def ask_bob(ctx: RunContext[None], question: str) -> str:
        return str((await bob.run(question, usage=ctx.usage)).output)

    return alice


def script(model: StubModel) -> None:
    model.answer(
        call("add", {"a": 1, "b": 2}, Usage(input=100, cache_read=20, output=5, reasoning=3)),
        call("boom", {"x": 7}, Usage(input=120, output=4)),
        call("boom", {"x": 8}, Usage(input=120, output=4)),
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
    "  tool_call boom (alice)",
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
    assert (run.step("alice").input, run.step("alice").output) == ("1 + 2?", "it is 3")
    assert run.step("bob").output == "yes"


def test_the_line_records_two_agents(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    assert team().run_sync("1 + 2?").output == "it is 3"
    check(recorded(), truth)


async def test_given_twice_it_records_once(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    result = await team().run("1 + 2?", capabilities=[Tracecraft(), Tracecraft()])
    assert result.output == "it is 3"
    check(await asyncio.to_thread(recorded), truth)


async def test_streaming_counts_the_same(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(say("hello there", Usage(input=10, cache_read=4, output=2)))
    agent = Agent(f"openai:{MODEL}", name="streamer", capabilities=[Tracecraft()])
    async with agent.run_stream("hi") as streaming:
        parts = [part async for part in streaming.stream_text(delta=True)]
    assert "".join(parts) == "hello there"
    run = await asyncio.to_thread(recorded)
    assert (run.outline(), run.tokens) == (["task streamer (streamer)", f"  llm {MODEL} (streamer)"], truth.tokens)


def test_inside_of_a_run_of_the_program_it_is_a_step(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    with tracecraft.run("experiment") as mine:
        team().run_sync("1 + 2?")
        mine.log_metric("score", 1.0)
    run = recorded()
    assert (run.name, run.outline(), run.tokens) == ("experiment", OUTLINE, truth.tokens)


def test_a_model_that_fails_fails_the_run(model: StubModel, recorded: Recorded) -> None:
    model.answer(fail(400, "no such model"))
    with pytest.raises(Exception, match="no such model"):
        Agent(f"openai:{MODEL}", name="alice", capabilities=[Tracecraft()]).run_sync("hi")
    run = recorded()
    assert run.status == "failed"
    assert [name for name, _ in run.errors] == ["alice", MODEL]


async def test_a_run_that_is_cancelled_is_killed(model: StubModel, recorded: Recorded) -> None:
    waiting = asyncio.Event()
    agent = Agent(f"openai:{MODEL}", name="waiter", capabilities=[Tracecraft()])

    @agent.tool_plain
    async def wait() -> str:
        waiting.set()
        await asyncio.Event().wait()
        return "never"

    model.answer(call("wait", {}, ONE))
    task = asyncio.create_task(agent.run("wait"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    run = await asyncio.to_thread(recorded)
    assert run.status == "killed"


async def test_two_agents_at_once_are_two_runs(model: StubModel, recorded: Recorded) -> None:
    model.answer(say("ok", ONE), forever=True)
    agents = [Agent(f"openai:{MODEL}", name=name, capabilities=[Tracecraft()]) for name in ("one", "two")]
    await asyncio.gather(*(agent.run("go") for agent in agents))
    runs = await asyncio.to_thread(recorded.runs, 2)
    assert sorted(run.outline()[0] for run in runs) == ["task one (one)", "task two (two)"]
    assert [len(run.of_kind("llm")) for run in runs] == [1, 1]


def test_a_tool_writes_inside_of_its_step(model: StubModel, recorded: Recorded) -> None:
    agent = Agent(f"openai:{MODEL}", name="writer", capabilities=[Tracecraft()])

    @agent.tool_plain
    def note() -> str:
        step = tracecraft.current_step()
        assert step is not None
        with step.step("write it down"):
            return "noted"

    model.answer(call("note", {}, ONE), say("done", ONE))
    agent.run_sync("note")
    assert [child.name for child in recorded().step("note").children] == ["write it down"]
    assert tracecraft.current_step() is None


def test_agents_coordinate_with_our_tools(model: StubModel, recorded: Recorded, project: str) -> None:
    model.answer(
        call("tracecraft_memory_set", {"key": "findings", "value": {"papers": 47}}, ONE),
        call("tracecraft_claim", {"task": "S1.parse"}, ONE),
        call("tracecraft_claim", {"task": "not a name"}, ONE),
        say("done", ONE),
    )
    agent: Agent[Any, str] = Agent(
        f"openai:{MODEL}", name="researcher", tools=tools(agent="researcher"), capabilities=[Tracecraft()]
    )
    agent.run_sync("go")
    run = recorded()
    with tracecraft.connect(project=project, agent="reader") as session:
        assert session.memory.get("findings") == {"papers": 47}
        task = session.tasks.show("S1.parse")
        assert task is not None
        assert task.record.owner == "researcher"
    assert "not a name" in str(run.of_kind("tool_call")[-1].output)


def test_a_refused_tool_of_ours_is_an_error_of_its_step(
    model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model)
    agent: Agent[Any, str] = Agent(
        f"openai:{MODEL}", name="researcher", tools=tools(agent="researcher"), capabilities=[Tracecraft()]
    )
    agent.run_sync("go")
    assert_refusals(recorded())


def test_without_a_bus_the_agents_are_the_same_and_the_run_arrives_later(
    model: StubModel, truth: Truth, recorded: Recorded, deliver: Callable[[], None]
) -> None:
    script(model)
    assert team().run_sync("1 + 2?").output == "it is 3"
    deliver()
    check(recorded(), truth)


def test_the_programs_of_the_page_run(model: StubModel, recorded: Recorded, boss: tracecraft.Session) -> None:
    script_claim(model)
    model.answer(say("3", ONE), forever=True)
    assert run_page("pydantic-ai")[0] == "3\n"
    assert [run.name for run in recorded.runs(2)] == ["adder", "researcher"]
    assert_left(boss, "researcher")
