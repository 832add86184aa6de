"""Things die, hang and are away: the coding agent is never stopped, nothing is lost, nobody waits for the dead."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.coding_agent import CodingAgents, alive, until
from tracecraft import AsyncSession, leases
from tracecraft_cli.hook import DEADLINE_VARIABLE
from tracecraft_cli.sidecar import door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.cli import CommandLine
    from tests.support.coding_agent import CodingAgent
    from tracecraft_stack.nats_server import NatsServer

EVENTS: dict[str, dict[str, Any]] = {
    "SessionStart": {"source": "compact"},
    "UserPromptSubmit": {"prompt": "x"},
    "PreToolUse": {"tool_name": "Write", "tool_input": {"file_path": "a.py"}},
    "PostToolUse": {"tool_name": "Bash", "tool_input": {}, "tool_response": ""},
    "Stop": {"stop_hook_active": False},
    "SessionEnd": {"reason": "clear"},
}
USUAL = {DEADLINE_VARIABLE: ""}
"""The environment of a hook that waits as long as it does for users."""


@pytest.fixture
async def bob(cli: CommandLine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=cli.server, project=cli.project, agent="bob") as session:
        yield session


async def blocking(work: Callable[..., Any], *args: Any, **named: Any) -> Any:
    return await asyncio.to_thread(work, *args, **named)


def alice(coding_agents: CodingAgents, **more: Any) -> CodingAgent:
    env = {"TRACECRAFT_AGENT": "alice", **more.pop("env", {})}
    return coding_agents(env=env, **more)


def claimed(agent: CodingAgent, task: str) -> None:
    assert agent.cli("claim", task)["code"] == 0
    until(lambda: task in agent.stop(), "the claim is known")


# -- the sidecar --------------------------------------------------------------------------------------------------


def test_a_sidecar_that_hangs_holds_up_no_event(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    agent.start()
    pid = agent.sidecar
    os.kill(pid, signal.SIGSTOP)
    try:
        for event, fields in EVENTS.items():  # for how long, the benchmark tells
            assert agent.hook(event, env=USUAL, **fields) == {}
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_hundred_events_at_a_sidecar_that_hangs_all_end(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    agent.start()
    pid = agent.sidecar
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(5):
            assert agent.hooks("PostToolUse", 20, env=USUAL, **EVENTS["PostToolUse"]) == [{}] * 20
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: agent.stop() == "" and agent.hook("PostToolUse", **EVENTS["PostToolUse"]) == {}, "it is well again")
    assert agent.sidecar == pid


async def test_a_killed_sidecar_is_replaced_with_the_same_name_claims_and_no_message_lost(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    first = agent.sidecar
    os.kill(first, signal.SIGKILL)
    await bob.send("alice", "hello")
    told = await blocking(until, lambda: _with(agent.tool(), "from bob"), "the next sidecar tells")
    assert "You are the agent 'alice'" in told or (agent.name == "alice")
    assert agent.sidecar != first
    assert "T" in await blocking(agent.stop)
    holder = (await leases.read(bob.context, "T")).lease
    assert holder is not None
    assert (holder.owner, holder.session) == ("alice", f"claude-{agent.id}")


def _with(told: str, words: str) -> str:
    return told if words in told else ""


async def test_what_was_lost_while_no_sidecar_watched_is_told_by_the_next(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    os.kill(agent.sidecar, signal.SIGKILL)
    from tracecraft import claims
    from tracecraft_core.bodies import Handoff

    await claims.force(bob.context, "T", "blocked", Handoff(), "the plan has changed")
    await blocking(until, lambda: _with(agent.tool(), "You no longer hold T"), "the loss is told")


async def test_an_announcement_that_was_broken_off_is_made_again(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await bob.send("alice", "hello")
    state = agent.state()
    assert state is not None
    event = {"event": "PostToolUse", "id": agent.id, "kind": "claude", "wait": 5}

    def ask() -> str:
        """A hook that is killed when it has the answer, before it has printed it."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(state.socket)
            line.sendall(json.dumps(event).encode() + b"\n")
            return _with(line.makefile().readline(), "from bob")

    await blocking(until, ask, "the message is there")
    await blocking(until, lambda: _with(agent.tool(), "from bob"), "it is told again")
    assert await blocking(agent.tool) == ""


async def test_a_message_that_was_announced_is_not_announced_again_by_the_next_sidecar(
    coding_agents: CodingAgents, bob: AsyncSession, own_nats: NatsServer
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    first = await bob.send("alice", "hello")
    await blocking(until, lambda: _with(agent.tool(), "from bob"), "it is announced")
    await blocking(until, lambda: (state := agent.state()) and state.announced == first.id, "it is noted")
    os.kill(agent.sidecar, signal.SIGKILL)
    later = await bob.send("alice", "later")
    told = await blocking(until, lambda: _with(agent.tool(), "from bob"), "the next sidecar tells")
    assert f"1 unread message for you from bob (id {later.id})" in told


async def lapse(session: AsyncSession, task: str) -> None:
    """What is left when nobody could renew: a machine that slept."""
    lease = await leases.read(session.context, task)
    assert await leases.drop(session.context, task, lease.revision)


async def test_a_lease_that_lapsed_while_nobody_took_the_task_is_taken_again_without_a_word(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    await lapse(bob, "T")
    async with asyncio.timeout(20):
        while (found := (await leases.read(bob.context, "T")).lease) is None:  # noqa: ASYNC110 - the server is asked
            await asyncio.sleep(0.05)
    assert (found.owner, found.session) == ("alice", f"claude-{agent.id}")
    assert await blocking(agent.tool) == ""
    assert (await blocking(agent.cli, "complete", "T"))["code"] == 0


async def test_who_lost_a_task_to_another_is_told_who_has_it(coding_agents: CodingAgents, bob: AsyncSession) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    await lapse(bob, "T")
    async with bob.claim("T"):
        told = await blocking(until, lambda: agent.tool(), "the loss is told")
        assert told.startswith("You no longer hold T: bob has it now.")
        assert await blocking(agent.tool) == ""
        assert (await blocking(agent.cli, "complete", "T"))["code"] == 4


# -- the coding agent ---------------------------------------------------------------------------------------------


async def test_the_tasks_of_a_killed_coding_agent_are_free_at_once(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    pid = agent.sidecar
    agent.kill()
    async with asyncio.timeout(leases.LIVE_TTL_S / 2), bob.claim("T", wait=leases.LIVE_TTL_S) as claim:
        assert claim.record.handoff is not None
        assert claim.record.handoff.note == "given back: alice was killed"
        assert claim.record.took_over_from is None  # given back, not lapsed
    await blocking(until, lambda: not alive(pid), "no sidecar is left")


async def test_when_agent_and_sidecar_are_killed_the_lease_lapses(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents)
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    os.kill(agent.sidecar, signal.SIGKILL)
    agent.kill()
    async with asyncio.timeout(leases.LIVE_TTL_S + 15), bob.claim("T", wait=leases.LIVE_TTL_S + 10) as claim:
        assert claim.record.took_over_from is not None
        assert claim.record.took_over_from.owner == "alice"


async def test_a_sidecar_whose_agent_is_killed_while_the_bus_is_away_ends_too(
    coding_agents: CodingAgents, own_nats: NatsServer
) -> None:
    agent = alice(coding_agents, env={"TRACECRAFT_SERVER": own_nats.url})
    await blocking(agent.start)
    await blocking(claimed, agent, "T")
    pid = agent.sidecar
    own_nats.pause()
    agent.kill()
    await blocking(until, lambda: agent.state() is None, "it has gone")
    own_nats.resume()
    await blocking(until, lambda: not alive(pid), "it has ended")


# -- the bus ------------------------------------------------------------------------------------------------------


def test_a_session_that_begins_without_a_bus_goes_on_and_is_an_agent_once_there_is_one(
    coding_agents: CodingAgents, own_nats: NatsServer
) -> None:
    own_nats.kill()
    agent = alice(coding_agents, env={"TRACECRAFT_SERVER": own_nats.url})
    assert agent.start() == ""
    for event in ("PreToolUse", "PostToolUse", "Stop"):
        assert agent.hook(event, **EVENTS[event]) == {}
    own_nats.start()
    told = until(lambda: agent.tool(), "it is on the bus")
    assert "You are the agent 'alice'" in told


async def test_while_the_bus_is_away_hooks_answer_from_what_is_known_and_mail_comes_when_it_is_back(
    coding_agents: CodingAgents, own_nats: NatsServer, project: str
) -> None:
    agent = alice(coding_agents, env={"TRACECRAFT_SERVER": own_nats.url})
    async with AsyncSession(server=own_nats.url, project=project, agent="bob") as bob:
        await blocking(agent.start)
        await bob.reservations.reserve("a.py", folder=agent.work)
        await blocking(until, lambda: agent.edit(str(agent.work / "a.py")), "the reservation is known")
        own_nats.pause()
        assert "bob" in await blocking(agent.edit, str(agent.work / "a.py"))  # no round trip
        assert await blocking(agent.tool) == ""
        own_nats.resume()
        await bob.send("alice", "back again")
        await blocking(until, lambda: _with(agent.tool(), "from bob"), "it is told")


# -- odd edits ----------------------------------------------------------------------------------------------------


def _patch(*headlines: str) -> dict[str, Any]:
    text = "".join(f"{line}\n+x\n" for line in headlines)
    return {"tool_name": "apply_patch", "tool_input": {"command": f"*** Begin Patch\n{text}*** End Patch"}}


ODD_PATCHES: dict[str, list[str]] = {
    "indented": ["  *** Update File: held.py"],
    "the-201st": [*(f"*** Add File: f{number}" for number in range(200)), "*** Update File: held.py"],
    "long-names": [*(f"*** Add File: {'f' * 300}{number}" for number in range(160)), "*** Update File: held.py"],
    "half-a-character": ["*** Add File: \ud800", "*** Update File: held.py"],
}


async def test_no_patch_is_so_odd_that_it_goes_past_a_reservation(
    coding_agents: CodingAgents, bob: AsyncSession
) -> None:
    agent = alice(coding_agents, kind="codex")
    await blocking(agent.start)
    for headlines in ODD_PATCHES.values():  # who is alone is not held up
        assert await blocking(agent.hook, "PreToolUse", **_patch(*headlines)) == {}
    await bob.reservations.reserve("held.py", folder=agent.work)
    await blocking(until, lambda: agent.edit("held.py"), "the reservation is known")
    for name, headlines in ODD_PATCHES.items():
        said = (await blocking(agent.hook, "PreToolUse", **_patch(*headlines))).get("hookSpecificOutput", {})
        assert said.get("permissionDecision") == "deny", name
        assert ("bob" if len(headlines) < 100 else "split the patch") in said["permissionDecisionReason"]
    assert await blocking(agent.hook, "PreToolUse", **_patch("*** Add File: free.py")) == {}


# -- odd surroundings ---------------------------------------------------------------------------------------------


def test_twenty_hooks_at_once_start_one_sidecar(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    assert len(agent.hooks("UserPromptSubmit", 20, **EVENTS["UserPromptSubmit"])) == 20
    pid = agent.sidecar
    until(lambda: _sidecars(coding_agents.home) == [pid], "one is left")


def _sidecars(home: Path) -> list[int]:
    """Those of this test: others run at the same time."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"tracecraft_cli.sidecar" in command and str(home).encode() in environment:
                found.append(int(entry.name))
    return found


def test_garbage_at_the_door_disturbs_nobody(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    agent.start()
    state = agent.state()
    assert state is not None
    for garbage in (b"\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * 2_000_000, b'{"event": 3}\n', b""):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(state.socket)
            try:
                line.sendall(garbage)
                line.shutdown(socket.SHUT_WR)
                assert line.recv(100) == b""
            except (BrokenPipeError, ConnectionResetError):
                continue
    assert agent.hook("PostToolUse", **EVENTS["PostToolUse"]) == {}
    assert agent.sidecar == state.sidecar


def test_who_knocks_and_says_nothing_keeps_nobody_waiting(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    agent.start()
    state = agent.state()
    assert state is not None
    silent = [socket.socket(socket.AF_UNIX) for _ in range(door.MAX_KNOCKS + 10)]
    for line in silent:
        line.connect(state.socket)
    until(lambda: "alice" in agent.context("SessionStart", source="compact"), "there is room again")
    for line in silent:
        line.close()


def test_another_user_is_not_served() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert door.is_same_user(ours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12_345)
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            assert not door.is_same_user(ours)


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/x"], ids=["no-folder", "a-file"])
def test_where_nothing_can_be_written_hooks_answer_nothing(place: str, coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents, env={"XDG_STATE_HOME": place, "TMPDIR": place})
    assert agent.start() == ""
    for event, fields in EVENTS.items():
        assert agent.hook(event, **fields) == {}


def test_a_session_in_a_folder_with_a_long_path_is_served(coding_agents: CodingAgents) -> None:
    state = coding_agents.home / ("d" * 120)
    agent = alice(coding_agents, env={"XDG_STATE_HOME": str(state)})
    assert "You are the agent 'alice'" in agent.start()
    found = agent.state()
    assert found is not None
    assert not found.socket.startswith(str(state))


def test_modules_in_the_agents_folder_are_not_taken_for_ours(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    for name in ("asyncio", "nats", "msgspec", "logging"):
        (agent.work / f"{name}.py").write_text("raise SystemExit('taken')")
    assert "You are the agent 'alice'" in agent.start()


def test_a_sidecar_that_dies_at_once_holds_up_no_event_however_large(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    broken = coding_agents.home / "broken"
    (broken / "msgspec").mkdir(parents=True)
    (broken / "msgspec" / "__init__.py").write_text("raise ImportError('half installed')")
    wide = "\U0001f600" * 4_096
    fields = {"cwd": wide, "transcript_path": wide, "source": wide, "reason": wide, "tool_name": wide}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tracecraft_cli.hook"],
        input=agent.payload("SessionStart", **fields),
        env={**agent.env, "PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{}\n", "")
    log = next(coding_agents.home.rglob("*.log"))
    until(lambda: "half installed" in log.read_text(), "it has died")


def test_a_session_whose_first_event_is_large_has_a_sidecar(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    wide = "\U0001f600" * 4_096
    agent.hook("SessionStart", source=wide, reason=wide, tool_name=wide)
    assert "You are the agent 'alice'" in until(lambda: agent.context("UserPromptSubmit", prompt="x"), "it is told")


def test_what_is_no_state_file_holds_up_neither_hook_nor_command(coding_agents: CodingAgents) -> None:
    agent = alice(coding_agents)
    agent.start()
    [found] = coding_agents.home.rglob("claude-*.json")
    os.mkfifo(found.with_name("claude-0.json"))
    found.with_name("claude-00.json").write_bytes(b"[" * 200_000)
    assert agent.hook("PostToolUse", **EVENTS["PostToolUse"]) == {}
    assert agent.cli("whoami")["code"] == 0
    agent.id = "0"
    assert "You are the agent 'alice" in agent.start()


@pytest.mark.parametrize(
    "wrapper",
    [["timeout", "60"], [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"]],
    ids=["timeout", "a-program"],
)
def test_a_session_whose_hooks_are_wrapped_is_served_until_its_agent_ends(
    wrapper: list[str], coding_agents: CodingAgents
) -> None:
    agent = alice(coding_agents)
    argv = [*wrapper, sys.executable, "-P", "-m", "tracecraft_cli.hook"]
    for event in ("SessionStart", "UserPromptSubmit"):
        [done] = agent.children(argv, input=agent.payload(event, **EVENTS[event]))
    assert "You are the agent 'alice'" in done["stdout"]
    state = agent.state()
    assert state is not None
    assert state.pid == agent.process.pid
    pid = agent.sidecar
    agent.kill()
    until(lambda: not alive(pid), "the sidecar ends")
