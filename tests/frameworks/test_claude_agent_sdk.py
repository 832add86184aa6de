"""The Claude Agent SDK and the Claude Code in it, against the stub model: what is recorded is what happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("claude_agent_sdk")

from claude_agent_sdk import (
    AgentDefinition,
    ClaudeAgentOptions,
    HookMatcher,
    ResultMessage,
    create_sdk_mcp_server,
    query,
    tool,
)

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Usage, call, say
from tracecraft.integrations.claude_agent_sdk import Agent, TracecraftSessionStore, tools, tracecraft_hooks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.frameworks.recorded_run import Recorded, RecordedRun
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel

MODEL = "claude-sonnet-4-5"
ONE = Usage(input=1, output=1)


@tool("add", "Add two numbers", {"a": int, "b": int})
async def add(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": str(arguments["a"] + arguments["b"])}]}


@tool("boom", "Fail", {"x": int})
async def boom(arguments: dict[str, Any]) -> dict[str, Any]:
    raise ValueError(f"kaboom {arguments['x']}")


@pytest.fixture
def given(tmp_path: Path, model: StubModel) -> dict[str, Any]:
    """What every run here has besides the line of the documentation."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    environment = {
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": "stub",
        "CLAUDE_CONFIG_DIR": str(tmp_path / "home"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "ENABLE_TOOL_SEARCH": "false",
    }
    return {
        "model": MODEL,
        "cwd": str(tmp_path / "work"),
        "env": environment,
        "setting_sources": [],
        "mcp_servers": {"calc": create_sdk_mcp_server("calc", "1.0", [add, boom])},
        "allowed_tools": ["mcp__calc", "mcp__tracecraft", "Agent", "Task"],
        "agents": {"bob": AgentDefinition(description="Checks sums", prompt="You are Bob", model="inherit")},
        "max_turns": 8,
    }


def script(model: StubModel) -> None:
    model.answer(say("sure", Usage(input=30, cache_read=4, output=2)), system="You are Bob")
    model.answer(
        call("mcp__calc__add", {"a": 1, "b": 2}, Usage(input=100, cache_read=20, cache_write=7, output=5)),
        call("mcp__calc__boom", {"x": 7}, Usage(input=120, output=4)),
        call(
            "Agent",
            {"description": "check", "prompt": "sure?", "subagent_type": "bob", "run_in_background": False},
            Usage(input=140, output=6),
        ),
        say("it is 3", Usage(input=150, output=2)),
        text="1 + 2?",
    )


async def ask(options: ClaudeAgentOptions, prompt: str = "1 + 2?") -> ResultMessage:
    results = [message async for message in query(prompt=prompt, options=options) if isinstance(message, ResultMessage)]
    return results[-1]


def check(run: RecordedRun, truth: Truth) -> None:
    outline = [line.strip() for line in run.outline()]
    assert run.status == "finished"
    assert run.tokens == truth.tokens
    assert run.cost == truth.cost
    assert [step.name for step in run.of_kind("tool_call")][:2] == ["mcp__calc__add", "mcp__calc__boom"]
    assert "kaboom 7" in str(dict(run.errors)["mcp__calc__boom"])
    assert run.of_kind("handoff"), outline
    (bob,) = set(run.agents) - {"tester"}
    assert bob.startswith("tester-bob-"), outline
    assert [step.agent for step in run.of_kind("llm")].count(bob) == 1
    assert "3" in str(run.step("mcp__calc__add").output)


async def test_the_line_records_a_session(
    given: dict[str, Any], model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    script(model)
    result = await ask(ClaudeAgentOptions(hooks=tracecraft_hooks(), session_store=TracecraftSessionStore(), **given))
    assert result.result == "it is 3"
    run = await asyncio.to_thread(recorded)
    check(run, truth)
    assert run.cost == pytest.approx(result.total_cost_usd)
    assert run.detail.row.run == f"claude-{result.session_id}"
    assert run.detail.row.tags["session"] == result.session_id


async def test_our_agent_takes_the_promised_words(
    given: dict[str, Any], model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    script(model)
    calls: list[str] = []

    async def own(told: Any, tool_use_id: str | None, context: Any) -> Any:
        calls.append(told["tool_name"])
        return {}

    hooks = tracecraft_hooks(tracecraft_hooks({"PreToolUse": [HookMatcher(hooks=[own])]}))
    given.pop("model")
    agent = Agent(model=MODEL, hooks=hooks, **given)
    answer = await agent.run("1 + 2?")
    assert (answer.text, answer.failed) == ("it is 3", False)
    assert calls == ["mcp__calc__add", "mcp__calc__boom", "Agent"]
    run = await asyncio.to_thread(recorded)
    check(run, truth)
    assert answer.cost == pytest.approx(run.cost)


async def test_a_session_is_resumed_on_another_machine(
    given: dict[str, Any], model: StubModel, recorded: Recorded, tmp_path: Path
) -> None:
    model.answer(say("I shall remember 47", ONE), say("47", ONE))
    first = await ask(ClaudeAgentOptions(session_store=TracecraftSessionStore(), **given), "remember 47")
    elsewhere = {**given, "env": {**given["env"], "CLAUDE_CONFIG_DIR": str(tmp_path / "another machine")}}
    options = ClaudeAgentOptions(session_store=TracecraftSessionStore(), resume=first.session_id, **elsewhere)
    second = await ask(options, "what was it?")
    assert second.result == "47"
    assert "I shall remember 47" in model.requests[-1].text
    assert "remember 47" in model.requests[-1].text


async def test_two_turns_of_a_session_are_one_run(
    given: dict[str, Any], model: StubModel, truth: Truth, recorded: Recorded
) -> None:
    model.answer(say("one", Usage(input=10, output=1)), say("two", Usage(input=20, output=1)))
    given.pop("model")
    agent = Agent(model=MODEL, hooks=tracecraft_hooks(), **given)
    first = await agent.run("a")
    assert await asyncio.to_thread(tracecraft.integrations.flush)
    await agent.run("b", resume=first.session)
    assert await asyncio.to_thread(tracecraft.integrations.flush)
    run = await asyncio.to_thread(recorded)
    assert len(run.of_kind("llm")) == 2
    assert (run.status, run.tokens) == ("finished", truth.tokens)


async def test_inside_of_a_run_of_the_program_it_is_a_child(
    given: dict[str, Any], model: StubModel, recorded: Recorded
) -> None:
    model.answer(say("hello", ONE))
    async with tracecraft.run("experiment") as mine:
        await ask(ClaudeAgentOptions(hooks=tracecraft_hooks(), **given), "hi")
    runs = await asyncio.to_thread(recorded.runs, 2)
    assert {run.name: run.detail.row.parent for run in runs}["experiment"] is None
    assert [run.detail.row.parent for run in runs if run.name != "experiment"] == [mine.id]


async def test_agents_coordinate_with_our_tools(
    given: dict[str, Any], model: StubModel, recorded: Recorded, project: str
) -> None:
    model.answer(
        call("mcp__tracecraft__memory_set", {"key": "findings", "value": {"papers": 47}}, ONE),
        call("mcp__tracecraft__claim", {"task": "S1.parse"}, ONE),
        call("mcp__tracecraft__claim", {"task": "not a name"}, ONE),
        say("done", ONE),
    )
    given["mcp_servers"] = {"tracecraft": tools(agent="researcher")}
    await ask(ClaudeAgentOptions(hooks=tracecraft_hooks(), **given), "go")
    async with tracecraft.AsyncSession(project=project, agent="reader") as session:
        assert await session.memory.get("findings") == {"papers": 47}
        task = await session.tasks.show("S1.parse")
        assert task is not None
        assert task.record.owner == "researcher"
    run = await asyncio.to_thread(recorded)
    assert "not a name" in str(run.of_kind("tool_call")[-1].error)


async def test_a_refused_tool_of_ours_is_an_error_of_its_step(
    given: dict[str, Any], model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model, "mcp__tracecraft__")
    given["mcp_servers"] = {"tracecraft": tools(agent="researcher")}
    await ask(ClaudeAgentOptions(hooks=tracecraft_hooks(), **given), "go")
    assert_refusals(await asyncio.to_thread(recorded), "mcp__tracecraft__")


async def test_without_a_bus_the_session_is_the_same_and_the_run_arrives_later(
    given: dict[str, Any], model: StubModel, truth: Truth, recorded: Recorded, deliver: Callable[[], None]
) -> None:
    script(model)
    result = await ask(ClaudeAgentOptions(hooks=tracecraft_hooks(), **given))
    assert result.result == "it is 3"
    assert await asyncio.to_thread(tracecraft.integrations.flush)
    await asyncio.to_thread(deliver)
    check(await asyncio.to_thread(recorded), truth)


def test_the_programs_of_the_page_run(
    given: dict[str, Any],
    model: StubModel,
    recorded: Recorded,
    boss: tracecraft.Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in given["env"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(given["cwd"])
    script_claim(model, "mcp__tracecraft__")
    model.answer(say("3", ONE), forever=True)
    assert run_page("claude-agent-sdk") == ["3\n", "3\n", "3\n"]
    assert [run.status for run in recorded.runs(3)] == ["finished"] * 3
    assert_left(boss, "researcher")
