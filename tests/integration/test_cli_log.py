"""``tracecraft log`` and ``agents``: what happened, in order, and who is there."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tracecraft import AsyncSession
from tracecraft_cli.main import main
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import AgentEvent

if TYPE_CHECKING:
    import subprocess

    from tests.support.cli import CommandLine


def entries(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["result"] for line in done.stdout.splitlines()]


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def entries_once(cli: CommandLine, count: int, *args: str) -> list[dict[str, Any]]:
    """The entries, once there are so many: the server copies memory and task changes into the log a moment later."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = entries(cli("log", "--json", *args))
        if len(found) >= count:
            return found
    pytest.fail(f"the log did not get {count} entries")


async def test_the_log_tells_everything_in_one_order(cli: CommandLine) -> None:
    async with AsyncSession(server=cli.server, project=cli.project, agent="ann") as ann:
        revision = await ann.memory.set("k", {"x": 1})
        sent = await ann.send("bob", "over to you\nplease")
        async with ann.claim("S1.parse") as claim:
            fence = claim.fence
            await claim.complete("see findings")
    found = entries_once(cli, 6)
    assert [entry["seq"] for entry in found] == sorted(entry["seq"] for entry in found)
    by_family = {entry["family"]: entry for entry in found}
    assert set(by_family) == {"agent", "memory", "msg", "task"}
    assert (by_family["memory"]["body"], by_family["memory"]["revision"]) == ({"x": 1}, revision)
    assert (by_family["msg"]["seq"], by_family["msg"]["who"]) == (sent.id, "ann")
    assert fence in [entry["revision"] for entry in found if entry["family"] == "task"]
    told = [" ".join(line.split()[2:]) for line in cli("log").stdout.splitlines()]
    assert [words[:3] for words in map(str.split, told) if words[0] == "ann" and words[2:3] == ["on"]] == [
        ["ann", "joined", "on"],
        ["ann", "left", "on"],
    ]
    assert 'ann memory k = {"x": 1}' in told
    assert "ann to bob: over to you\\nplease" in told
    assert "ann task S1.parse claimed" in told
    assert "ann task S1.parse done - see findings" in told


def test_a_filter_and_a_limit_and_a_start_choose_entries(cli: CommandLine) -> None:
    for number in range(4):
        cli("memory", "set", f"a.{number}", str(number), agent="ann")
    everything = entries_once(cli, 4, "--subject", "memory.>")
    assert [entry["body"] for entry in everything] == [0, 1, 2, 3]
    assert entries(cli("log", "--json", "--subject", f"tc.{cli.project}.memory.a.2"))[0]["body"] == 2
    assert [entry["body"] for entry in entries(cli("log", "--json", "--subject", "memory.*.*", "--limit", "2"))] == [
        2,
        3,
    ]
    start = str(everything[1]["seq"])
    since = entries(cli("log", "--json", "--subject", "memory.>", "--since", start, "--limit", "2"))
    assert [entry["body"] for entry in since] == [1, 2]
    assert len(entries(cli("log", "--json", "--subject", "memory.>", "--since", "10m"))) == 4
    none = cli("log", "--subject", "task.>")
    assert (none.returncode, none.stdout) == (0, "")
    assert none.stderr.startswith("nothing in the log of project")


async def test_the_last_fifty_are_shown_unless_more_are_asked_for(cli: CommandLine) -> None:
    async with AsyncSession(server=cli.server, project=cli.project, agent="ann") as ann:
        for number in range(60):
            await ann.memory.set("k", number)
        entries_once(cli, 60, "--subject", "memory.k", "--limit", "1000")
        assert [entry["body"] for entry in entries(cli("log", "--json", "--subject", "memory.k"))] == list(
            range(10, 60)
        )
        assert len(entries(cli("log", "--json", "--subject", "memory.k", "--limit", "1000"))) == 60


def test_following_prints_what_was_and_what_comes_until_interrupted(cli: CommandLine) -> None:
    cli("memory", "set", "k", "0", agent="ann")
    follower = cli.popen("log", "--follow", "--subject", "memory.>", "--limit", "1")
    assert follower.stdout is not None
    assert follower.stdout.readline().endswith("memory k = 0\n")
    cli("memory", "set", "k", "1", agent="ann")
    cli("memory", "set", "k", "2", agent="ann")
    assert follower.stdout.readline().endswith("memory k = 1\n")
    assert follower.stdout.readline().endswith("memory k = 2\n")
    follower.send_signal(2)
    _, errors = follower.communicate(timeout=10)
    assert (follower.returncode, errors) == (130, "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--subject", "tc.other.>"), "is not in project"),
        (("--subject", "a b"), "character ' ' at position 2"),
        (("--since", "yesterday"), "neither a duration nor a sequence number; for example --since 15m or --since 1200"),
        (("--since", "9" * 30), "no sequence is that large"),
        (("--limit", "-1"), "Invalid value for '--limit'"),
    ],
)
def test_wrong_usage_exits_with_2_without_a_server(args: tuple[str, ...], message: str) -> None:
    outcome = CliRunner().invoke(main, ["log", *args, "-s", "nats://127.0.0.1:1"])
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


async def test_agents_tells_live_from_one_shot_from_gone(cli: CommandLine) -> None:
    async with AsyncSession(server=cli.server, project=cli.project, agent="gone"):
        pass
    cli("inbox", agent="oneshot")
    async with AsyncSession(server=cli.server, project=cli.project, agent="live") as live, live.claim("S1.parse"):
        lost = bodies.encode(AgentEvent(task="S0"))
        await live.context.bus.publish(subjects.agent_event(cli.project, "live", "lost"), lost)
        await live.context.bus.publish(subjects.agent_event(cli.project, "dead", "lost"), b"{}")
        lines = cli("agents").stdout.splitlines()
        everyone = {agent["name"]: agent for agent in result(cli("agents", "--all", "--json"))}
        told = cli("agents", "--all").stdout
    assert lines[0].split() == ["agent", "state", "tasks", "since", "last", "seen"]
    assert [line.split()[:2] for line in lines[1:]] == [["live", "online"], ["oneshot", "active"]]
    assert "S1.parse" in lines[1]
    assert {name: agent["state"] for name, agent in everyone.items()} == {
        "dead": "lost",
        "gone": "left",
        "live": "online",
        "oneshot": "active",
    }
    assert (everyone["live"]["tasks"], everyone["live"]["last_event"]) == (["S1.parse"], "joined")
    assert everyone["oneshot"]["since"] is not None
    assert 0 <= everyone["gone"]["seconds_since_seen"] < 60
    assert " left " in told
    assert " lost " in told


def test_a_one_shot_agent_is_active_long_after_its_command_ended(cli: CommandLine) -> None:
    cli("memory", "set", "k", "1", agent="ann")
    time.sleep(1.2)
    (ann,) = result(cli("agents", "--json", agent="other"))
    assert (ann["name"], ann["state"], ann["online"]) == ("ann", "active", True)
    assert ann["seconds_since_seen"] >= 1.2


def test_nobody_is_a_note_and_no_output(cli: CommandLine) -> None:
    done = cli("agents", agent="ann")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"nobody is here in project {cli.project}; --all shows who was\n"
