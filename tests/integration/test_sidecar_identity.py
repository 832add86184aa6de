"""Who a coding agent's session is: its name, its run, its sidecar, and the commands in its shell."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.coding_agent import CodingAgents, until
from tracecraft import AsyncSession
from tracecraft_cli.sidecar.identity import take_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.cli import CommandLine


@pytest.fixture
async def bob(cli: CommandLine) -> AsyncIterator[AsyncSession]:
    """Another agent of the project."""
    async with AsyncSession(server=cli.server, project=cli.project, agent="bob") as session:
        yield session


def who(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output)["result"]
    return found


def test_a_session_is_an_agent_with_a_name_a_run_and_a_short_welcome(
    coding_agents: CodingAgents, cli: CommandLine
) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    told = agent.start()
    run = f"claude-{agent.id}"
    assert f"You are the agent 'alice' of the tracecraft project '{cli.project}' (run {run})" in told
    assert "No other agent is online." in told
    assert len(told) <= 2_000
    assert agent.tool() == ""
    [seen] = json.loads(cli("agents", "--json").stdout)["result"]
    assert (seen["name"], seen["online"], seen["mode"]) == ("alice", True, "live")


def test_commands_in_the_agents_shell_are_the_same_agent_session_and_run(
    coding_agents: CodingAgents, cli: CommandLine
) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    agent.start()
    said = who(agent.cli("whoami", "--json")["stdout"])
    assert (said["agent"], said["session"]) == ("alice", f"claude-{agent.id}")
    assert said["origin"]["session"] == f"the Claude Code session {agent.id[:8]}"
    assert agent.cli("memory", "set", "k", "1")["code"] == 0
    assert f"claude-{agent.id}" in cli("log", "--json").stdout


def test_a_command_that_says_who_it_is_is_that_agent(coding_agents: CodingAgents) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    agent.start()
    said = who(agent.cli("whoami", "--json", env={"TRACECRAFT_AGENT": "carol"})["stdout"])
    assert said["agent"] == "carol"


def test_two_sessions_in_one_folder_get_two_names_and_each_command_the_name_of_its_own(
    coding_agents: CodingAgents,
) -> None:
    wish = {"TRACECRAFT_AGENT": "alice"}
    first, second = coding_agents(env=wish), coding_agents(env=wish)
    first.start()
    told = second.start()
    assert (first.name, second.name) == ("alice", "alice-2")
    assert "The name 'alice' is taken by another session." in told
    assert "Online besides you: alice" in told
    for agent in (first, second):
        assert who(agent.cli("whoami", "--json")["stdout"])["agent"] == agent.name


def test_who_works_by_single_commands_is_not_said_to_be_online(coding_agents: CodingAgents, cli: CommandLine) -> None:
    assert cli("inbox", agent="carol").returncode == 0
    told = coding_agents(env={"TRACECRAFT_AGENT": "alice"}).start()
    assert "No other agent is online.\nSeen lately, by single commands: carol\n" in told
    states = {one["name"]: one["state"] for one in json.loads(cli("agents", "--json").stdout)["result"]}
    assert states == {"alice": "online", "carol": "active"}


async def test_sessions_that_begin_at_the_same_moment_get_different_names(bob: AsyncSession) -> None:
    taken = await asyncio.gather(*(take_name(bob.context, "alice", f"claude-{number}") for number in range(10)))
    assert sorted(taken) == sorted(["alice", *(f"alice-{number}" for number in range(2, 11))])
    assert await take_name(bob.context, "bob", bob.context.holder.session) == "bob"
    assert await take_name(bob.context, "bob", "claude-11") == "bob-2"


def test_a_name_that_only_a_command_in_a_shell_has_left_behind_is_free(
    coding_agents: CodingAgents, cli: CommandLine
) -> None:
    for name in ("alice", "dora"):
        assert cli("inbox", agent=name).returncode == 0
    assert cli("claim", "T", agent="dora").returncode == 0
    for name, got in (("alice", "alice"), ("dora", "dora-2")):  # dora is at work on T
        agent = coding_agents(env={"TRACECRAFT_AGENT": name})
        agent.start()
        assert agent.name == got


def test_a_command_leaves_the_presence_of_the_session_as_it_is(coding_agents: CodingAgents, cli: CommandLine) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    agent.start()
    assert agent.cli("inbox")["code"] == 0
    assert cli("inbox", agent="alice").returncode == 0  # in the person's own shell
    [seen] = json.loads(cli("agents", "--json").stdout)["result"]
    assert (seen["mode"], seen["session"]) == ("live", f"claude-{agent.id}")


def test_a_session_inside_of_a_session_is_another_agent(coding_agents: CodingAgents) -> None:
    outer = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    outer.start()
    # The inner one has the environment that the outer one's shell has, and so has its shell.
    inner = coding_agents(env={"TRACECRAFT_AGENT": "alice", "CLAUDE_CODE_SESSION_ID": outer.id}, kind="codex")
    inner.start()
    said = who(inner.cli("whoami", "--json")["stdout"])
    assert (said["agent"], said["session"]) == ("alice-2", f"codex-{inner.id}")


def test_where_a_sandbox_hides_the_ancestors_the_environment_tells_the_session(
    coding_agents: CodingAgents, cli: CommandLine
) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"}, kind="codex")
    agent.start()
    outside = {**coding_agents.env, "CODEX_THREAD_ID": agent.id}
    said = who(cli("whoami", "--json", env=outside).stdout)
    assert (said["agent"], said["session"]) == ("alice", f"codex-{agent.id}")


def test_the_same_session_keeps_its_name_and_its_sidecar_when_its_context_is_compacted(
    coding_agents: CodingAgents,
) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    agent.start()
    before = agent.sidecar
    assert "You are the agent 'alice'" in agent.context("SessionStart", source="compact")
    assert agent.context("UserPromptSubmit", prompt="go on") == ""
    assert agent.sidecar == before


def test_clearing_the_conversation_keeps_name_claims_and_sidecar_and_begins_another_run(
    coding_agents: CodingAgents,
) -> None:
    agent = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    agent.start()
    before = agent.sidecar
    assert agent.cli("claim", "T")["code"] == 0
    until(lambda: "T" in agent.stop(), "the claim is known")
    agent.hook("SessionEnd", reason="clear")
    agent.id = f"{agent.id}-next"
    told = agent.start("clear")
    assert "You are the agent 'alice'" in told
    assert f"(run claude-{agent.id})" in told
    assert "You hold: T." in told
    assert agent.sidecar == before


def test_a_resumed_session_has_its_name_back(coding_agents: CodingAgents) -> None:
    first = coding_agents(env={"TRACECRAFT_AGENT": "alice"})
    first.start()
    first.end()
    first.gone()
    again = coding_agents(env={"TRACECRAFT_AGENT": "alice"}, id_=first.id)
    again.start("resume")
    assert again.name == "alice"


def test_what_the_sidecar_writes_is_for_this_user_alone(coding_agents: CodingAgents) -> None:
    agent = coding_agents()
    agent.start()
    state = agent.state()
    assert state is not None
    folder = Path(state.socket).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    folder.chmod(0o750)
    assert agent.state() is None  # others could have written it
