"""AutoGen 0.7: a team's tree, tokens and cost are what the model knows to be true."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("autogen_agentchat")

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Handoff
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat, SelectorGroupChat, Swarm
from autogen_agentchat.tools import AgentTool
from autogen_core import EVENT_LOGGER_NAME
from autogen_core.models import ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient
from autogen_ext.models.replay import ReplayChatCompletionClient

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Reply, ToolCall, Usage, call, fail, say
from tracecraft.integrations.autogen import run, tools, trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.frameworks.recorded_run import Recorded, RecordedRun
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel


async def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


async def boom(x: int) -> str:
    """Fail."""
    raise ValueError(f"kaboom {x}")


def gpt(**more: Any) -> Any:
    return OpenAIChatCompletionClient(model="gpt-4o", **more)


def agent(name: str, *its_tools: Any, client: Any = None, **more: Any) -> Any:
    more = {"system_message": f"You are {name}.", "reflect_on_tool_use": False, **more}
    return AssistantAgent(name, client or gpt(), tools=list(its_tools), **more)


def two_at_work(model: StubModel) -> Any:
    """Alice adds and hands over to Bob, whose tool fails, and who then calls two at once."""
    model.answer(
        call("add", {"a": 1, "b": 2}, Usage(input=100, cache_read=20, output=10, reasoning=3)),
        call("transfer_to_bob", {}, Usage(input=130, output=6)),
        system="You are alice.",
    )
    model.answer(
        call("boom", {"x": 1}, Usage(input=140, output=6)),
        Reply(
            calls=(ToolCall("add", {"a": 3, "b": 4}), ToolCall("add", {"a": 5, "b": 6})),
            usage=Usage(input=50, output=4),
        ),
        say("done TERMINATE", Usage(input=90, cache_read=60, output=8)),
        system="You are bob.",
    )
    stop = MaxMessageTermination(20) | TextMentionTermination("TERMINATE")
    return Swarm(
        [agent("alice", add, handoffs=["bob"]), agent("bob", boom, add)], name="pair", termination_condition=stop
    )


TREE = [
    "task pair (tester)",
    "  llm gpt-4o (alice)",
    "  tool_call add (alice)",
    "  llm gpt-4o (alice)",
    "  handoff hand off to bob (alice)",
    "  llm gpt-4o (bob)",
    "  tool_call boom (bob) error",
    "  llm gpt-4o (bob)",
    "  tool_call add (bob)",
    "  tool_call add (bob)",
    "  llm gpt-4o (bob)",
]


async def the(recorded: Recorded) -> RecordedRun:
    return await asyncio.to_thread(recorded)


async def test_the_line_as_documented_records_a_team(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    team = two_at_work(model)
    heard = [type(message).__name__ async for message in trace(team.run_stream(task="add it all"))]
    assert heard[0] == "TextMessage"
    assert heard[-1] == "TaskResult"
    found = await the(recorded)
    assert (found.name, found.status, found.detail.row.tags) == ("pair", "finished", {"framework": "autogen"})
    assert found.outline() == TREE
    assert found.tokens == truth.tokens
    assert found.cost == truth.cost
    assert found.agents == {"tester": "ended", "alice": "ok", "bob": "ok"}
    assert found.errors == [("boom", "ToolError: kaboom 1")]


async def test_the_twin_of_run_gives_its_result(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    result = await run(two_at_work(model), task="add it all")
    assert result.stop_reason == "Text 'TERMINATE' mentioned"
    assert result.messages[-1].content == "done TERMINATE"
    found = await the(recorded)
    assert found.outline() == TREE
    assert found.tokens == truth.tokens


async def test_what_goes_in_and_comes_out_is_recorded(model: StubModel, recorded: Recorded) -> None:
    await run(two_at_work(model), task="add it all")
    found = await the(recorded)
    assert (found.step("pair").input, found.step("pair").output) == ("add it all", "done TERMINATE")
    first, *_ = found.of_kind("llm")
    assert [message["role"] for message in first.input] == ["system", "user"]
    assert first.output["tool_calls"][0]["function"]["name"] == "add"
    assert first.tokens == Usage(input=100, cache_read=20, output=10, reasoning=3)
    assert (found.step("add").input, found.step("add").output) == ({"a": 1, "b": 2}, "3")
    assert found.step("hand off to bob").output.startswith("Transferred to bob")


async def test_a_stream_traced_twice_is_recorded_once(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    async for _ in trace(trace(two_at_work(model).run_stream(task="add"))):
        pass
    found = await the(recorded)
    assert found.outline() == TREE
    assert found.tokens == truth.tokens


async def test_a_handoff_by_another_name_is_a_handoff(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(call("ask_the_boss", {}), system="You are alice.")
    model.answer(say("TERMINATE"), system="You are boss.")
    handoff = Handoff(target="boss", name="ask_the_boss", message="your turn")
    team = Swarm([agent("alice", handoffs=[handoff]), agent("boss")], termination_condition=MaxMessageTermination(3))
    await run(team, name="mine", task="go")
    found = await the(recorded)
    assert found.outline() == [
        "task mine (tester)",
        "  llm gpt-4o (alice)",
        "  tool_call ask_the_boss (alice)",
        "  handoff hand off to boss (alice)",
        "  llm gpt-4o (boss)",
    ]
    assert found.step("hand off to boss").input == "your turn"
    assert found.tokens == truth.tokens


async def test_calls_that_no_message_tells_of_are_counted(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(say("bob", Usage(input=300, output=1)), say("alice", Usage(input=310, output=1)), text="Select")
    model.answer(say("I am bob", Usage(input=20, output=3)), system="You are bob.")
    model.answer(say("I am alice", Usage(input=30, output=3)), system="You are alice.")
    team = SelectorGroupChat(
        [agent("alice", description="a"), agent("bob", description="b")],
        gpt(),
        selector_prompt="Select one of {participants} for {history} by {roles}",
        termination_condition=MaxMessageTermination(3),
        allow_repeated_speaker=True,
    )
    await run(team, task="go")
    found = await the(recorded)
    assert [(step.agent, step.tokens.input) for step in found.of_kind("llm")] == [
        ("SelectorGroupChatManager", 300),
        ("bob", 20),
        ("SelectorGroupChatManager", 310),
        ("alice", 30),
    ]
    assert found.tokens == truth.tokens
    assert found.cost == truth.cost


async def test_an_agent_that_is_a_tool_works_inside_of_the_call(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    model.answer(call("helper", {"task": "help"}), say("done"), system="You are boss.")
    model.answer(call("add", {"a": 1, "b": 2}, Usage(input=33, output=3)), say("three"), system="You are helper.")
    helper = agent("helper", add, description="helps", max_tool_iterations=3)
    boss = agent("boss", AgentTool(helper), client=gpt(parallel_tool_calls=False), max_tool_iterations=3)
    assert (await run(boss, task="go")).messages[-1].content == "done"
    found = await the(recorded)
    assert found.outline() == [
        "task boss (tester)",
        "  llm gpt-4o (boss)",
        "  tool_call helper (boss)",
        "    llm gpt-4o (helper)",
        "    tool_call add (helper)",
        "    llm gpt-4o (helper)",
        "  llm gpt-4o (boss)",
    ]
    assert found.tokens == truth.tokens
    assert found.cost == truth.cost


async def test_a_streamed_answer_is_counted_when_its_client_asks_for_the_usage(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    model.answer(call("add", {"a": 1, "b": 2}, Usage(input=100, output=9)), say("three", Usage(input=110, output=4)))
    client = gpt(stream_options={"include_usage": True})
    lone = agent("lone", add, client=client, model_client_stream=True, max_tool_iterations=2)
    await run(lone, model="gpt-4o", task="go")
    found = await the(recorded)
    assert found.outline() == [
        "task lone (tester)",
        "  llm gpt-4o (lone)",
        "  tool_call add (lone)",
        "  llm gpt-4o (lone)",
    ]
    assert found.of_kind("llm")[1].output == "three"
    assert found.tokens == truth.tokens
    assert found.cost == truth.cost


async def test_a_client_without_a_log_is_counted_by_its_messages(recorded: Recorded) -> None:
    info = ModelInfo(vision=False, function_calling=True, json_output=False, family="unknown", structured_output=False)
    client = ReplayChatCompletionClient(["one two three"], model_info=info)
    team = RoundRobinGroupChat([agent("ann", client=client)], max_turns=1)
    result = await run(team, model="gpt-4o", task="go")
    used = result.messages[-1].models_usage
    found = await the(recorded)
    assert found.outline() == ["task RoundRobinGroupChat (tester)", "  llm gpt-4o (ann)"]
    assert found.tokens == Usage(input=used.prompt_tokens, output=used.completion_tokens)
    assert found.step("gpt-4o").output == "one two three"


async def test_a_team_that_fails_fails_the_run_as_without_us(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    model.answer(say("fine"), fail(400, "no such thing"))
    team = RoundRobinGroupChat([agent("ann")], max_turns=2)
    with pytest.raises(RuntimeError, match="no such thing"):
        await run(team, task="go")
    found = await the(recorded)
    assert found.status == "failed"
    assert found.outline() == ["task RoundRobinGroupChat (tester) error", "  llm gpt-4o (ann)"]
    assert "no such thing" in str(found.errors)
    assert found.tokens == truth.tokens


async def test_whoever_leaves_the_loop_ends_the_run(model: StubModel, recorded: Recorded) -> None:
    model.answer(say("one"))
    team = RoundRobinGroupChat([agent("ann")], max_turns=1)
    async for message in trace(team.run_stream(task="go")):
        if message.source == "ann":
            break
    gc.collect()
    found = await the(recorded)
    assert found.status == "killed"
    assert found.outline()[1:] == ["  llm gpt-4o (ann)"]


async def test_inside_of_a_run_of_the_program_a_team_is_a_step_of_it(
    model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    async def noted(text: str) -> str:
        """Note it."""
        current = tracecraft.current_step()
        assert current is not None
        with current.step("noted"):
            return text

    model.answer(call("noted", {"text": "x"}), say("done"))
    async with tracecraft.AsyncSession() as session, session.run("mine") as mine:
        with mine.step("prepare"):
            await run(agent("ann", noted, max_tool_iterations=2), task="go")
    found = await the(recorded)
    assert found.name == "mine"
    assert found.outline() == [
        "other prepare (tester)",
        "  task ann (tester)",
        "    llm gpt-4o (ann)",
        "    tool_call noted (ann)",
        "    other noted (tester)",
        "    llm gpt-4o (ann)",
    ]
    assert found.tokens == truth.tokens


async def test_teams_at_the_same_time_do_not_mix(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    names = ["a", "b", "c"]
    for name in names:
        model.answer(call("add", {"a": 1, "b": 2}), say("done"), system=f"You are w{name}.")
    teams = [RoundRobinGroupChat([agent(f"w{name}", add)], name=name, max_turns=2) for name in names]
    await asyncio.gather(*(run(team, task="go") for team in teams))
    runs = await asyncio.to_thread(recorded.runs, 3)
    assert sorted(found.name for found in runs) == names
    for found in runs:
        who = f"w{found.name}"
        assert found.outline() == [
            f"task {found.name} (tester)",
            f"  llm gpt-4o ({who})",
            f"  tool_call add ({who})",
            f"  llm gpt-4o ({who})",
        ]
    assert runs[0].tokens + runs[1].tokens + runs[2].tokens == truth.tokens


async def test_autogens_log_is_as_loud_as_before(
    model: StubModel, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    events = logging.getLogger(EVENT_LOGGER_NAME)
    before = events.level, list(events.filters)
    logging.getLogger().setLevel(logging.WARNING)
    await run(two_at_work(model), task="add it all")
    await the(recorded)
    assert [record for record in caplog.records if record.name == EVENT_LOGGER_NAME] == []
    assert (events.level, list(events.filters)) == before


async def test_without_a_bus_the_team_does_the_same_and_its_run_arrives_later(
    model: StubModel, truth: Truth, deliver: Callable[[], None], recorded: Recorded
) -> None:
    result = await run(two_at_work(model), task="add it all")
    assert result.messages[-1].content == "done TERMINATE"
    await asyncio.to_thread(deliver)
    found = await the(recorded)
    assert found.outline() == TREE
    assert found.tokens == truth.tokens
    assert found.cost == truth.cost


async def test_agents_coordinate_with_tools(model: StubModel, bus: str, project: str, recorded: Recorded) -> None:
    async with tracecraft.AsyncSession(server=bus, project=project, agent="boss") as boss, boss.claim("t.one"):
        model.answer(
            call("tracecraft_memory_set", {"key": "k", "value": {"found": [1, "two"]}}),
            call("tracecraft_memory_get", {"key": "k"}),
            call("tracecraft_claim", {"task": "t.one"}),
            say("done"),
        )
        await run(agent("ann", *tools(agent="ann"), max_tool_iterations=4), task="go")
        entry = await boss.memory.entry("k")
    found = await the(recorded)
    assert entry is not None
    assert (entry.value, entry.by) == ({"found": [1, "two"]}, "ann")
    mark = await asyncio.to_thread(recorded.mark, entry.revision)
    assert mark == f"{found.detail.row.run}/{found.step('ann').id}"
    assert json.loads(found.step("tracecraft_memory_get").output)["value"] == {"found": [1, "two"]}
    assert [(name, "boss" in str(error)) for name, error in found.errors] == [("tracecraft_claim", True)]


async def test_a_refused_tool_of_ours_is_an_error_of_its_step(
    model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model)
    await run(agent("ann", *tools(agent="ann"), max_tool_iterations=4), task="go")
    assert_refusals(await the(recorded))


def test_the_page_runs_as_it_stands(model: StubModel, recorded: Recorded, boss: tracecraft.Session) -> None:
    script_claim(model)
    model.answer(say("3"), call("tracecraft_whoami"), say("done"))
    first, _ = run_page("autogen")
    assert "content='3'" in first
    pair, ann = recorded.runs(2)
    assert (pair.name, pair.status, ann.name, ann.status) == ("pair", "finished", "ann", "finished")
    assert [step.name for step in ann.all if step.kind == "tool_call"] == ["tracecraft_claim", "tracecraft_whoami"]
    assert_left(boss, "ann")
