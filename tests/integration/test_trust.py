"""Nobody's repository decides where a person's agents connect to: the commands, and a coding agent's sidecar."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.coding_agent import CodingAgents, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.coding_agent import CodingAgent


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """A port that is reached by the name of this machine, which is no name of the loopback."""
    with socket.socket() as listening:
        listening.bind(("", 0))
        listening.listen()
        listening.setblocking(False)
        yield listening


@pytest.fixture
def agent(coding_agents: CodingAgents, elsewhere: socket.socket) -> CodingAgent:
    """A coding agent in a clone whose file names that port."""
    config = coding_agents.home / "config"
    made = coding_agents(
        env={"TRACECRAFT_SERVER": "", "XDG_CONFIG_HOME": str(config), "TRACECRAFT_DATA": str(config / "data")}
    )
    port = elsewhere.getsockname()[1]
    (made.work / ".tracecraft.toml").write_text(f'server = "nats://{socket.gethostname()}:{port}"\n')
    return made


def _called(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_a_sidecar_connects_to_no_server_that_nobody_approved(agent: CodingAgent, elsewhere: socket.socket) -> None:
    agent.hook("SessionStart", source="startup")
    until(lambda: "which you have not approved" in _log(agent), "the sidecar says why")
    assert not _called(elsewhere)
    _approve(agent)
    until(lambda: _called(elsewhere), "it connects once the person has approved")


def test_a_command_refuses_until_a_person_approves_which_the_model_cannot(
    agent: CodingAgent, elsewhere: socket.socket
) -> None:
    refused = agent.cli("memory", "list", "--json")
    assert refused["code"] == 2
    assert "'tracecraft trust' approves it" in json.loads(refused["stdout"])["error"]["message"]
    inside = agent.cli("trust", env={"CLAUDE_CODE_SESSION_ID": agent.id})
    assert (inside["code"], "a person approves servers" in inside["stderr"]) == (2, True)
    assert not _called(elsewhere)
    _approve(agent)
    who = json.loads(agent.cli("whoami", "--json")["stdout"])["result"]
    assert who["server"].endswith(f":{elsewhere.getsockname()[1]}")
    assert json.loads(agent.cli("trust", "--list", "--json")["stdout"])["result"]["approved"] == [who["server"].lower()]
    assert agent.cli("trust", "--revoke")["stdout"].startswith("revoked: nats://")
    assert agent.cli("memory", "list")["code"] == 2


def test_whoever_writes_a_server_with_init_has_approved_it(agent: CodingAgent) -> None:
    (agent.work / ".tracecraft.toml").unlink()
    assert agent.cli("init", "--server", "nats://team.example.com:4222")["code"] == 0
    assert agent.cli("whoami")["code"] == 0
    (agent.work / ".tracecraft.toml").write_text('server = "nats://team.example.com:4223"\n')
    assert agent.cli("whoami")["code"] == 2


def test_there_is_nothing_to_approve_without_a_server_in_the_file(agent: CodingAgent) -> None:
    (agent.work / ".tracecraft.toml").write_text('project = "p"\n')
    refused = agent.cli("trust")
    assert (refused["code"], "names no server: there is nothing to approve" in refused["stderr"]) == (2, True)


def _log(agent: CodingAgent) -> str:
    return "".join(path.read_text() for path in Path(agent.home).rglob("*.log"))


def _approve(agent: CodingAgent) -> None:
    """In a shell of the person's own."""
    done = subprocess.run(
        [sys.executable, "-m", "tracecraft_cli", "trust"],
        cwd=agent.work,
        env=agent.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.startswith("approved: nats://")) == (0, True), done
