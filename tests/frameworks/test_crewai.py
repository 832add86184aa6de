"""CrewAI: a crew's tree, tokens and cost are what the model knows to be true."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Usage, call, fail, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.frameworks.recorded_run import Recorded
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel

OFFLINE = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "OTEL_SDK_DISABLED": "true",
}
os.environ.update(OFFLINE)  # CrewAI asks for these when it is imported

crewai = pytest.importorskip("crewai")
from crewai import LLM, Agent, Crew, Process, Task  # noqa: E402
from crewai.events import (  # noqa: E402
    CrewKickoffCompletedEvent,
    CrewKickoffStartedEvent,
    Depends,
    LLMCallCompletedEvent,
    LLMCallStartedEvent,
    ToolUsageErrorEvent,
    ToolUsageFinishedEvent,
    ToolUsageStartedEvent,
    crewai_event_bus,
)
from crewai.state.checkpoint_config import CheckpointConfig  # noqa: E402
from crewai.tools import tool  # noqa: E402

from tracecraft.integrations.crewai import TracecraftCallback, tools  # noqa: E402

DELEGATE = "delegate_work_to_coworker"
ASK = "ask_question_to_coworker"


@tool("add")  # type: ignore[untyped-decorator,unused-ignore]
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@tool("boom")  # type: ignore[untyped-decorator,unused-ignore]
def boom(x: int) -> str:
    """Fail."""
    raise ValueError(f"kaboom {x}")


@pytest.fixture(autouse=True)
def home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """CrewAI keeps a database."""
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path / "crewai"))


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """Handlers that a test registers are gone after it."""
    with crewai_event_bus.scoped_handlers():
        yield


def gpt(model: StubModel, **more: Any) -> Any:
    return LLM(model="openai/gpt-4o", base_url=model.openai_url, **more)


def agent(llm: Any, role: str, *its_tools: Any, **more: Any) -> Any:
    return Agent(role=role, goal="to be tested", backstory="none", llm=llm, tools=list(its_tools), **more)


def task(who: Any, name: str, **more: Any) -> Any:
    return Task(name=name, description=f"do {name}", expected_output="a word", agent=who, **more)


def two_at_work(model: StubModel) -> tuple[list[Any], list[Any]]:
    """A researcher with a tool that works and one that fails, and a writer who delegates to him."""
    model.answer(
        call("add", {"a": 1, "b": 2}, Usage(input=100, cache_read=20, output=10, reasoning=3)),
        call("boom", {"x": 1}, Usage(input=140, output=6)),
        say("three", Usage(input=150, output=5)),
        say("dug", Usage(input=50, output=4)),
        system="Researcher",
    )
    model.answer(
        call(DELEGATE, {"coworker": "Researcher", "task": "dig", "context": "deep"}, Usage(input=70, output=9)),
        say("all done", Usage(input=90, cache_read=60, output=8)),
        system="Writer",
    )
    researcher = agent(gpt(model), "Researcher", add, boom)
    writer = agent(gpt(model), "Senior Writer", allow_delegation=True)
    return [researcher, writer], [task(researcher, "research"), task(writer, "write")]


TREE = [
    "task papers (tester)",
    "  task research (Researcher)",
    "    llm gpt-4o (Researcher)",
    "    tool_call add (Researcher)",
    "    llm gpt-4o (Researcher)",
    "    tool_call boom (Researcher) error",
    "    llm gpt-4o (Researcher)",
    "  task write (Senior-Writer)",
    "    llm gpt-4o (Senior-Writer)",
    "    handoff hand off to Researcher (Senior-Writer)",
    "      llm gpt-4o (Researcher)",
    "    llm gpt-4o (Senior-Writer)",
]


def test_the_line_as_promised_records_a_crew(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    agents, tasks = two_at_work(model)
    crew = Crew(name="papers", agents=agents, tasks=tasks, callbacks=[TracecraftCallback()])
    assert crew.kickoff(inputs={"topic": "digits"}).raw == "all done"
    run = recorded()
    assert (run.name, run.status, run.detail.row.tags) == ("papers", "finished", {"framework": "crewai"})
    assert run.outline() == TREE
    assert run.tokens == truth.tokens
    assert run.cost == truth.cost
    assert {one.agent: (one.status, one.model, one.role) for one in run.detail.agents} == {
        "tester": ("ended", None, None),
        "Researcher": ("ok", "gpt-4o", None),
        "Senior-Writer": ("ok", "gpt-4o", "Senior Writer"),
    }
    assert run.errors == [("boom", "ValueError: kaboom 1")]


def test_what_goes_in_and_comes_out_is_recorded(model: StubModel, recorded: Recorded) -> None:
    agents, tasks = two_at_work(model)
    TracecraftCallback()
    Crew(name="papers", agents=agents, tasks=tasks).kickoff(inputs={"topic": "digits"})
    run = recorded()
    assert (run.step("papers").input, run.step("papers").output) == ({"topic": "digits"}, "all done")
    research = run.step("research")
    assert research.input["description"] == "do research"
    assert research.output == "three"
    first, *_ = research.children
    assert "Researcher" in first.input[0]["content"]
    assert first.output[0]["function"]["name"] == "add"
    assert first.tokens == Usage(input=100, cache_read=20, output=10, reasoning=3)
    assert (run.step("add").input, run.step("add").output) == ({"a": 1, "b": 2}, "3")
    handoff = run.step("hand off to Researcher")
    assert handoff.input == {"coworker": "Researcher", "task": "dig", "context": "deep"}
    assert handoff.output == "dug"


def test_callbacks_made_again_change_nothing(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    agents, tasks = two_at_work(model)
    TracecraftCallback()
    Crew(name="papers", agents=agents, tasks=tasks, callbacks=[TracecraftCallback(), TracecraftCallback()]).kickoff()
    run = recorded()
    assert run.outline() == TREE
    assert run.tokens == truth.tokens


def test_events_that_are_told_of_late_stand_where_they_happened(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    """A handler of the user's that others depend on holds up what is told of tools that begin."""
    arrived: list[int] = []
    newest, told = 0, threading.Condition()

    def note(source: Any, event: Any) -> None:
        nonlocal newest
        with told:
            newest = max(newest, event.emission_sequence)
            told.notify_all()

    def hold_up(source: Any, event: Any) -> None:
        with told:
            told.wait_for(lambda: newest > event.emission_sequence, 20)

    async def after(source: Any, event: Any) -> None:
        arrived.append(event.emission_sequence)

    crewai_event_bus.on(ToolUsageStartedEvent)(hold_up)
    crewai_event_bus.on(ToolUsageStartedEvent, Depends(hold_up))(after)
    for other in (ToolUsageFinishedEvent, ToolUsageErrorEvent, LLMCallStartedEvent):
        crewai_event_bus.on(other)(note)
        crewai_event_bus.on(other)(after)
    agents, tasks = two_at_work(model)
    Crew(name="papers", agents=agents, tasks=tasks, callbacks=[TracecraftCallback()]).kickoff()
    assert arrived != sorted(arrived)
    run = recorded()
    assert run.outline() == TREE
    assert run.tokens == truth.tokens


def test_a_tool_that_fails_three_times_is_three_attempts(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    class Writes(type(gpt(model))):  # type: ignore[misc]
        """A model without tools: the agent writes what it wants (ReAct)."""

        def supports_function_calling(self) -> bool:
            return False

    model.answer(
        say('Thought: I try\nAction: boom\nAction Input: {"x": 1}'),
        say('Thought: I guess\nAction: nowhere\nAction Input: {"x": 1}'),
        say("Thought: I now know the final answer\nFinal Answer: gave up"),
    )
    TracecraftCallback()
    who = agent(Writes(model="gpt-4o", base_url=model.openai_url), "Actor", boom)
    assert Crew(agents=[who], tasks=[task(who, "act")]).kickoff().raw == "gave up"
    run = recorded()
    assert run.outline() == [
        "task crew (tester)",
        "  task act (Actor)",
        "    llm gpt-4o (Actor)",
        "    tool_call boom (Actor) error",
        "    tool_call boom (Actor) error",
        "    tool_call boom (Actor) error",
        "    llm gpt-4o (Actor)",
        "    tool_call nowhere (Actor) error",
        "    llm gpt-4o (Actor)",
    ]
    assert run.step("boom").input == {"x": 1}
    assert "don't exist" in str(run.step("nowhere").error)
    assert run.tokens == truth.tokens


def test_a_task_that_fails_fails_the_run_and_the_crew_as_without_us(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    model.answer(fail(400, "no such thing"), forever=True)
    who = agent(gpt(model), "Failer")
    TracecraftCallback()
    with pytest.raises(Exception, match="no such thing") as raised:
        Crew(agents=[who], tasks=[task(who, "fail")]).kickoff()
    assert type(raised.value).__name__ == "BadRequestError"
    run = recorded()
    assert run.status == "failed"
    assert run.outline() == [
        "task crew (tester) error",
        "  task fail (Failer) error",
        *["    llm gpt-4o (Failer) error"] * 3,
    ]
    assert str(run.step("fail").error).startswith("BadRequestError: ")
    assert run.tokens == truth.tokens == Usage()


def test_a_model_call_that_fails_inside_of_a_tool_ends_only_itself(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    inner = gpt(model)

    @tool("ask")  # type: ignore[untyped-decorator,unused-ignore]
    def ask(question: str) -> str:
        """Ask another model."""
        try:
            return str(inner.call(question))
        except Exception:
            return "no answer"

    model.answer(fail(400), text="inner question")
    model.answer(call("ask", {"question": "inner question"}), text="do work", turn=0)
    model.answer(say("done"), turn=1)
    who = agent(gpt(model), "Worker", ask)
    TracecraftCallback()
    Crew(name="papers", agents=[who], tasks=[task(who, "work")]).kickoff()
    run = recorded()
    assert run.outline() == [
        "task papers (tester)",
        "  task work (Worker)",
        "    llm gpt-4o (Worker)",
        "    tool_call ask (Worker)",
        "      llm gpt-4o (Worker) error",
        "    llm gpt-4o (Worker)",
    ]
    assert run.step("ask").output == "no answer"
    assert run.tokens == truth.tokens


def test_a_question_to_a_coworker_is_a_handoff(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(call(ASK, {"coworker": "Knower", "question": "why?", "context": "none"}), say("so"), system="Asker")
    model.answer(say("because"), system="Knower")
    asker = agent(gpt(model), "Asker", allow_delegation=True)
    TracecraftCallback()
    Crew(agents=[asker, agent(gpt(model), "Knower")], tasks=[task(asker, "ask")]).kickoff()
    run = recorded()
    (handoff,) = run.of_kind("handoff")
    assert (handoff.name, handoff.agent, handoff.output) == ("hand off to Knower", "Asker", "because")
    assert [(step.kind, step.agent) for step in handoff.children] == [("llm", "Knower")]
    assert run.tokens == truth.tokens


def test_a_manager_hands_tasks_to_its_crew(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(
        call(DELEGATE, {"coworker": "Doer", "task": "do it", "context": "none"}), say("managed"), system="Crew Manager"
    )
    model.answer(say("did it"), system="Doer")
    TracecraftCallback()
    work = Task(name="work", description="do work", expected_output="a word")
    doer = agent(gpt(model), "Doer")
    Crew(agents=[doer], tasks=[work], process=Process.hierarchical, manager_llm=gpt(model)).kickoff()
    run = recorded()
    (handoff,) = run.of_kind("handoff")
    assert (handoff.agent, handoff.output) == ("Crew-Manager", "did it")
    assert [(step.kind, step.agent) for step in handoff.children] == [("llm", "Doer")]
    assert run.tokens == truth.tokens


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_written_caches_are_counted_apart(model: StubModel, truth: Truth, recorded: Recorded, stream: bool) -> None:
    model.answer(say("ok", Usage(input=100, cache_read=20, cache_write=5, output=30)))
    TracecraftCallback()
    who = agent(LLM(model="anthropic/claude-opus-5-5", base_url=model.url, stream=stream), "Claude")
    Crew(agents=[who], tasks=[task(who, "speak")]).kickoff()
    run = recorded()
    assert run.tokens == truth.tokens == Usage(input=100, cache_read=20, cache_write=5, output=30)
    assert run.cost == truth.cost


def test_an_agent_without_a_crew_is_a_run(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(call("add", {"a": 1, "b": 2}), say("three", Usage(input=100, cache_read=20, output=30, reasoning=4)))
    TracecraftCallback()
    agent(gpt(model, stream=True), "Loner", add).kickoff("count")
    run = recorded()
    assert run.outline() == [
        "task Loner (Loner)",
        "  llm gpt-4o (Loner)",
        "  tool_call add (Loner)",
        "  llm gpt-4o (Loner)",
    ]
    assert run.step("Loner").output == "three"
    assert run.tokens == truth.tokens


def test_a_crew_inside_of_a_flow_lies_in_the_flows_run(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    flows = importlib.import_module("crewai.flow.flow")
    model.answer(say("done"))
    who = agent(gpt(model), "Worker")

    class Journey(flows.Flow):  # type: ignore[misc,name-defined,unused-ignore]
        @flows.start()  # type: ignore[untyped-decorator,unused-ignore]
        def first(self) -> str:
            return str(Crew(name="inner", agents=[who], tasks=[task(who, "work")]).kickoff().raw)

        @flows.listen(first)  # type: ignore[untyped-decorator,unused-ignore]
        def second(self, heard: str) -> str:
            return heard.upper()

    TracecraftCallback()
    assert Journey().kickoff() == "DONE"
    run = recorded()
    assert run.outline() == [
        "task Journey (tester)",
        "  task first (tester)",
        "    task inner (tester)",
        "      task work (Worker)",
        "        llm gpt-4o (Worker)",
        "  task second (tester)",
    ]
    assert run.tokens == truth.tokens


def test_inside_of_a_run_of_the_program_a_crew_is_a_step_of_it(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    model.answer(say("done"))
    who = agent(gpt(model), "Worker")
    TracecraftCallback()
    with tracecraft.run("mine") as mine, mine.step("prepare", kind="task"):
        Crew(name="inner", agents=[who], tasks=[task(who, "work")]).kickoff()
    run = recorded()
    assert run.name == "mine"
    assert run.outline() == [
        "task prepare (tester)",
        "  task inner (tester)",
        "    task work (Worker)",
        "      llm gpt-4o (Worker)",
    ]
    assert run.tokens == truth.tokens


async def test_crews_at_the_same_time_do_not_mix(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    def crew(name: str) -> Any:
        model.answer(call("add", {"a": 1, "b": 2}), say("done"), system=f"W{name}")
        who = agent(gpt(model), f"W{name}", add)
        return Crew(name=name, agents=[who], tasks=[task(who, "work")])

    TracecraftCallback()
    names = ["a", "b", "c", "d"]
    crews = [crew(name) for name in names]
    await asyncio.gather(*(each.kickoff_async() for each in crews[:2]), *(each.akickoff() for each in crews[2:]))
    runs = await asyncio.to_thread(recorded.runs, 4)
    assert sorted(run.name for run in runs) == names
    for run in runs:
        assert run.outline() == [
            f"task {run.name} (tester)",
            f"  task work (W{run.name})",
            f"    llm gpt-4o (W{run.name})",
            f"    tool_call add (W{run.name})",
            f"    llm gpt-4o (W{run.name})",
        ]
    assert runs[0].tokens + runs[1].tokens + runs[2].tokens + runs[3].tokens == truth.tokens


def test_a_crew_that_goes_on_from_a_checkpoint_is_a_run_of_what_is_left(
    model: StubModel, truth: Truth, recorded: Recorded, tmp_path: Path
) -> None:
    def crew(**more: Any) -> Any:
        who = agent(gpt(model), "Worker")
        return Crew(name="papers", agents=[who], tasks=[task(who, "one"), task(who, "two")], **more)

    model.answer(say("first"), *[fail(400)] * 3, say("second"))
    TracecraftCallback()
    with pytest.raises(Exception, match="400"):
        crew(checkpoint=CheckpointConfig(location=str(tmp_path))).kickoff()
    (kept,) = tmp_path.glob("main/*.json")
    crew().kickoff(from_checkpoint=CheckpointConfig(location=str(tmp_path), restore_from=kept))
    broken, resumed = recorded.runs(2)
    assert (broken.status, resumed.status) == ("failed", "finished")
    assert resumed.detail.row.tags == {"framework": "crewai", "resumed": "true"}
    assert resumed.outline() == ["task papers (tester)", "  task two (Worker)", "    llm gpt-4o (Worker)"]
    assert broken.tokens + resumed.tokens == truth.tokens


def test_what_crewai_tells_again_is_not_counted_again(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    told: list[tuple[Any, Any]] = []

    def note(source: Any, event: Any) -> None:
        told.append((source, event))

    for kind in (CrewKickoffStartedEvent, LLMCallStartedEvent, LLMCallCompletedEvent, CrewKickoffCompletedEvent):
        crewai_event_bus.on(kind)(note)
    model.answer(say("done"))
    who = agent(gpt(model), "Worker")
    TracecraftCallback()
    Crew(name="papers", agents=[who], tasks=[task(who, "work")]).kickoff()
    crewai_event_bus.flush()
    recorded()
    started, asked, answered, over = sorted(told, key=lambda one: one[1].emission_sequence)
    asked[1].parent_event_id = started[1].event_id  # the agent between them is not told again
    for source, event in (started, asked, answered, over):
        crewai_event_bus.replay(source, event)
    again, first = sorted(recorded.runs(2), key=lambda run: len(run.all))
    assert again.outline() == ["task papers (tester)", "  llm gpt-4o (tester)"]
    assert (first.tokens, again.tokens) == (truth.tokens, Usage())


def test_without_a_bus_the_crew_does_the_same_and_its_run_arrives_later(
    model: StubModel, truth: Truth, deliver: Callable[[], None], recorded: Recorded
) -> None:
    agents, tasks = two_at_work(model)
    crew = Crew(name="papers", agents=agents, tasks=tasks, callbacks=[TracecraftCallback()])
    assert crew.kickoff().raw == "all done"
    deliver()
    run = recorded()
    assert run.outline() == TREE
    assert run.tokens == truth.tokens
    assert run.cost == truth.cost


def test_agents_coordinate_with_tools_whose_answers_are_never_kept(
    model: StubModel, bus: str, project: str, recorded: Recorded
) -> None:
    with tracecraft.Session(server=bus, project=project, agent="boss") as boss:
        held = boss.claim("t.one")
        with held:
            model.answer(
                call("tracecraft_memory_set", {"key": "k", "value": {"found": [1, "two"]}}),
                call("tracecraft_memory_get", {"key": "k"}),
                lambda _: (boss.memory.set("k", 2), call("tracecraft_memory_get", {"key": "k"}))[1],
                call("tracecraft_claim", {"task": "t.one"}),
                say("done"),
            )
            who = agent(gpt(model), "Worker", *tools(agent="worker"))
            TracecraftCallback()
            Crew(name="team", agents=[who], tasks=[task(who, "work")], cache=True).kickoff()
            memory = boss.memory.history("k")
        run = recorded()
    gets = [json.loads(step.output)["value"] for step in run.all if step.name == "tracecraft_memory_get"]
    assert gets == [{"found": [1, "two"]}, 2]
    assert [(name, "boss" in str(error)) for name, error in run.errors] == [("tracecraft_claim", True)]
    assert [entry.by for entry in memory] == ["worker", "boss"]
    assert recorded.mark(memory[0].revision) == f"{run.detail.row.run}/{run.step('tracecraft_memory_set').id}"


def test_a_refused_tool_of_ours_is_an_error_of_its_step(
    model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model)
    who = agent(gpt(model), "Worker", *tools("Worker"))
    TracecraftCallback()
    Crew(name="team", agents=[who], tasks=[task(who, "work")]).kickoff()
    assert_refusals(recorded())


LATE = """
import asyncio, time
from crewai import LLM, Agent, Crew, Task
from crewai.events import TaskCompletedEvent, crewai_event_bus
from tracecraft.integrations.crewai import TracecraftCallback

async def hold_up(source, event):
    loop = asyncio.get_running_loop()
    def later(turns):  # when the bus has told of all before; then it tells of nothing for a while
        loop.call_soon(later, turns - 1) if turns else time.sleep(0.5)
    later(20)

crewai_event_bus.on(TaskCompletedEvent)(hold_up)
who = Agent(role="Worker", goal="to be tested", backstory="none", llm=LLM(model="openai/gpt-4o"))
task = Task(name="work", description="do work", expected_output="a word", agent=who)
Crew(name="papers", agents=[who], tasks=[task], callbacks=[TracecraftCallback()]).kickoff()
"""


def test_a_program_that_ends_right_after_its_crew_has_ended_its_run(model: StubModel, recorded: Recorded) -> None:
    model.answer(say("done"))
    subprocess.run([sys.executable, "-c", LATE], check=True, capture_output=True)
    run = recorded(10)
    assert run.status == "finished"
    assert run.outline() == ["task papers (tester)", "  task work (Worker)", "    llm gpt-4o (Worker)"]


def test_the_page_runs_as_it_stands(model: StubModel, recorded: Recorded, boss: tracecraft.Session) -> None:
    script_claim(model)
    model.answer(say("3"), call("tracecraft_whoami"), say("done"))
    first, _ = run_page("crewai")
    assert first.splitlines()[-1] == "3"
    papers, crew = recorded.runs(2)
    assert (papers.name, papers.status, crew.name, crew.status) == ("papers", "finished", "crew", "finished")
    assert (
        json.loads(crew.step("tracecraft_whoami").output)["agent"] == crew.step("tracecraft_whoami").agent == "Worker"
    )
    assert_left(boss, "Worker")
