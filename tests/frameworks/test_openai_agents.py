"""The OpenAI Agents SDK, the real package against the stub model: what is recorded is what happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("agents")

from agents import (
    Agent,
    ModelResponse,
    ModelSettings,
    RunConfig,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_trace_processors,
    trace,
)
from agents import Usage as SdkUsage
from agents.models.interface import Model
from openai import AsyncOpenAI
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Usage, call, fail, say
from tracecraft.integrations.openai_agents import TracecraftProcessor, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.frameworks.recorded_run import Recorded, RecordedRun
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel

MODEL = "gpt-4o"
ONE = Usage(input=1, output=1)


@pytest.fixture(autouse=True)
def processor(model: StubModel) -> Iterator[TracecraftProcessor]:
    set_default_openai_client(
        AsyncOpenAI(base_url=model.openai_url, api_key="stub", max_retries=0), use_for_tracing=False
    )
    set_default_openai_api("responses")
    ours = TracecraftProcessor()
    set_trace_processors([ours])
    yield ours
    set_trace_processors([])


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@function_tool
def boom(x: int) -> str:
    """Fail."""
    raise ValueError(f"kaboom {x}")


def team() -> Agent[Any]:
    """Alice adds, fails, asks Carl, and hands over to Bob."""
    bob = Agent(name="bob", model=MODEL, instructions="You are Bob")
    carl = Agent(name="carl", model=MODEL, instructions="You are Carl")
    return Agent(
        name="alice",
        model=MODEL,
        instructions="You are Alice",
        tools=[add, boom, carl.as_tool("ask_carl", "Ask Carl")],
        handoffs=[bob],
    )


def script(model: StubModel) -> None:
    model.answer(
        call("add", {"a": 1, "b": 2}, Usage(input=100, cache_read=20, output=5, reasoning=3)),
        call("boom", {"x": 7}, Usage(input=120, output=4)),
        call("ask_carl", {"input": "sure?"}, Usage(input=130, output=4)),
        call("transfer_to_bob", {}, Usage(input=140, output=6)),
        system="You are Alice",
    )
    model.answer(say("sure", Usage(input=30, output=2)), system="You are Carl")
    model.answer(say("it is 3", Usage(input=50, cache_read=10, output=8)), system="You are Bob")


OUTLINE = [
    "task sums (tester)",
    f"  llm {MODEL} (alice)",
    "  tool_call add (alice)",
    f"  llm {MODEL} (alice)",
    "  tool_call boom (alice) error",
    f"  llm {MODEL} (alice)",
    "  tool_call ask_carl (alice)",
    "    handoff hand off to carl (alice)",
    f"    llm {MODEL} (carl)",
    f"  llm {MODEL} (alice)",
    "  handoff hand off to bob (alice)",
    f"  llm {MODEL} (bob)",
]


def check(run: RecordedRun, truth: Truth) -> None:
    assert run.outline() == OUTLINE
    assert (run.name, run.status) == ("sums", "finished")
    assert run.tokens == truth.tokens
    assert run.cost == truth.cost
    assert (run.step("add").input, run.step("add").output) == ({"a": 1, "b": 2}, 3)
    assert [name for name, _ in run.errors] == ["boom"]
    assert run.step("sums").output == "it is 3"


def config() -> RunConfig:
    """Made anew: it keeps the client, and with it the event loop, of its first run."""
    return RunConfig(workflow_name="sums", group_id="g-1", trace_metadata={"team": "a"})


async def test_the_line_records_a_team(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    result = await Runner.run(team(), "1 + 2?", run_config=config())
    assert result.final_output == "it is 3"
    run = await asyncio.to_thread(recorded)
    check(run, truth)
    assert run.detail.row.tags == {"framework": "openai-agents", "group": "g-1", "team": "a"}


async def test_registered_twice_with_chat_completions_and_streaming(
    model: StubModel, truth: Truth, recorded: Recorded, processor: TracecraftProcessor
) -> None:
    set_default_openai_api("chat_completions")
    set_trace_processors([processor, TracecraftProcessor()])
    script(model)
    settings = ModelSettings(include_usage=True)
    streaming = Runner.run_streamed(
        team(), "1 + 2?", run_config=RunConfig(workflow_name="sums", model_settings=settings)
    )
    async for _ in streaming.stream_events():
        pass
    run = await asyncio.to_thread(recorded)
    assert run.outline() == OUTLINE
    assert (run.tokens, run.cost) == (truth.tokens, truth.cost)


async def test_inside_of_a_run_of_the_program_it_is_a_step(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    async with tracecraft.run("experiment") as mine:
        await Runner.run(team(), "1 + 2?", run_config=config())
        mine.log_metric("score", 1.0)
    run = await asyncio.to_thread(recorded)
    assert (run.name, run.outline(), run.tokens) == ("experiment", OUTLINE, truth.tokens)


async def test_two_runs_in_one_trace_are_one_run(model: StubModel, recorded: Recorded) -> None:
    model.answer(say("one", ONE), say("two", ONE))
    agent = Agent(name="solo", model=MODEL, instructions="Go")
    with trace("both"):
        await Runner.run(agent, "a")
        await Runner.run(agent, "b")
    run = await asyncio.to_thread(recorded)
    assert run.outline() == ["task both (tester)", f"  llm {MODEL} (solo)", f"  llm {MODEL} (solo)"]


async def test_a_model_that_fails_fails_the_run(model: StubModel, recorded: Recorded) -> None:
    model.answer(fail(400, "no such model"))
    with pytest.raises(Exception, match="no such model"):
        await Runner.run(Agent(name="solo", model=MODEL), "hi")
    run = await asyncio.to_thread(recorded)
    assert run.status == "failed"
    assert MODEL in [name for name, _ in run.errors] or "response" in [name for name, _ in run.errors]


class OwnModel(Model):
    """A model of the user's own, which makes no span."""

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        text = ResponseOutputText(type="output_text", text="mine", annotations=[])
        message = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
        usage = SdkUsage(requests=1, input_tokens=11, output_tokens=7, total_tokens=18)
        return ModelResponse(output=[message], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


async def test_tokens_of_a_model_that_makes_no_span_are_those_of_the_turn(recorded: Recorded) -> None:
    await Runner.run(Agent(name="solo", model=OwnModel()), "hi", run_config=RunConfig(workflow_name="own"))
    run = await asyncio.to_thread(recorded)
    assert run.outline() == ["task own (tester)", "  llm model (solo)"]
    assert run.tokens == Usage(input=11, output=7)


async def test_a_tool_writes_inside_of_its_step(model: StubModel, recorded: Recorded) -> None:
    @function_tool
    def note() -> str:
        """Write a note."""
        step = tracecraft.current_step()
        assert step is not None
        with step.step("write it down"):
            return "noted"

    model.answer(call("note", {}, ONE), say("done", ONE))
    await Runner.run(Agent(name="writer", model=MODEL, tools=[note]), "note")
    run = await asyncio.to_thread(recorded)
    assert [child.name for child in run.step("note").children] == ["write it down"]


async def test_agents_coordinate_with_our_tools(model: StubModel, recorded: Recorded, project: str) -> None:
    model.answer(
        call("tracecraft_memory_set", {"key": "findings", "value": {"papers": 47}}, ONE),
        call("tracecraft_claim", {"task": "S1.parse"}, ONE),
        call("tracecraft_claim", {"task": "not a name"}, ONE),
        say("done", ONE),
    )
    await Runner.run(Agent(name="researcher", model=MODEL, tools=tools(agent="researcher")), "go")
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
    await Runner.run(Agent(name="researcher", model=MODEL, tools=tools(agent="researcher")), "go")
    assert_refusals(await asyncio.to_thread(recorded))


async def test_without_a_bus_the_agents_are_the_same_and_the_run_arrives_later(
    model: StubModel, truth: Truth, recorded: Recorded, deliver: Callable[[], None]
) -> None:
    script(model)
    result = await Runner.run(team(), "1 + 2?", run_config=config())
    assert result.final_output == "it is 3"
    await asyncio.to_thread(deliver)
    check(await asyncio.to_thread(recorded), truth)


def test_the_programs_of_the_page_run(model: StubModel, recorded: Recorded, boss: tracecraft.Session) -> None:
    script_claim(model)
    model.answer(say("3", ONE), forever=True)
    assert run_page("openai-agents")[0] == "3\n"
    assert [run.name for run in recorded.runs(2)] == ["Agent workflow", "Agent workflow"]
    assert_left(boss, "researcher")
