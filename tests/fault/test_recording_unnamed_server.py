"""What is recorded while nobody named a server goes to the stack of this machine, whatever its port; to no stranger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.folder import short_lived_folder
from tests.support.recording import logged
from tracecraft.recording import spool
from tracecraft_stack import NatsServer, Stack, StackOptions
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
STRANGER = "a-stranger's"


class Machine:
    """Processes that nobody tells where the bus is, and the servers that come and go around them."""

    def __init__(self, folder: Path, project: str, servers: ExitStack) -> None:
        self.folder, self.project = folder, project
        self.port = free_port()
        """Where the default address leads."""
        self.data = folder / "data"
        self._servers = servers

    def __call__(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One process: ``record TEXT``, or a command."""
        known = {"PROJECT": self.project, "AGENT": "alice", "DATA": str(self.data), "SPOOL": str(self.spool)}
        env = {**os.environ, **{f"TRACECRAFT_{name}": value for name, value in known.items()}}
        env |= {"XDG_STATE_HOME": str(self.folder / "state"), "COLUMNS": "400", **environment}
        argv = [sys.executable, "-m", "tests.fault.programs.unnamed", str(self.port), *words]
        return subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def record(self, text: str, **environment: str) -> None:
        done = self("record", text, **environment)
        assert done.returncode == 0, done.stderr

    def serve(self, data: Path | None = None, port: int = 0) -> Stack:
        """A stack of ours, at a port of its own."""
        at = port or free_port({self.port})
        options = StackOptions(data=data or self.data, nats_port=at, postgres=False, artifacts=False, bridge=False)
        return self._servers.enter_context(Stack(options))

    def nats(self, token: str | None = None, port: int = 0) -> NatsServer:
        """A NATS server that no stack of ours has started; where the default address leads, unless told."""
        folder = self.folder / f"nats-{token}-{port}"
        return self._servers.enter_context(NatsServer(folder, port=port or self.port, token=token))

    def waiting(self) -> list[str]:
        """The projects of what lies in the spool."""
        return [one.project for one in spool.spools(self.spool)]

    async def lines(self, url: str, project: str = "") -> list[str]:
        """What the runs on a server have logged, in the order of its log."""
        events = await logged(url, project or self.project)
        return [json.loads(one.data)["text"] for one in events if one.subject.endswith(".log")]


@pytest.fixture
def machine(project: str) -> Iterator[Machine]:
    with short_lived_folder() as folder, ExitStack() as servers:
        yield Machine(folder, project, servers)


@pytest.mark.parametrize("default", ["nobody's", STRANGER])
async def test_a_later_run_delivers_it_to_our_stack_at_whatever_port(machine: Machine, default: str) -> None:
    if default == STRANGER:
        machine.nats("secret")
    machine.record("alone")
    assert machine.waiting() == [machine.project]
    stack = machine.serve()
    machine.record("later")
    assert sorted(await machine.lines(stack.state.nats_url)) == ["alone", "later"]
    assert machine.waiting() == []


async def test_what_was_for_our_stack_follows_it_to_another_port(machine: Machine) -> None:
    with Stack(StackOptions(data=machine.data, postgres=False, artifacts=False, bridge=False)) as before:
        before.nats.pause()
        machine.record("during")
        before.nats.resume()
        gone = before.state.nats_url
    stranger = machine.nats(port=int(gone.rpartition(":")[2]))
    machine.record("while strangers listen", TRACECRAFT_SERVER=stranger.url)
    stack = machine.serve()
    assert stack.state.nats_url != gone
    machine.record("later")
    assert sorted(await machine.lines(stack.state.nats_url)) == ["during", "later"]
    assert "during" not in await machine.lines(stranger.url)


async def test_a_stranger_where_our_stack_may_listen_gets_nothing_that_waits(machine: Machine) -> None:
    with Stack(StackOptions(data=machine.data, postgres=False, artifacts=False, bridge=False)):
        pass
    machine.record("ours")
    stranger = machine.nats()
    machine.record("its own")
    flushed = machine("spool", "flush")
    assert "nothing waits" in flushed.stderr
    assert f"'tracecraft serve', then 'tracecraft spool flush -p {machine.project}'" in flushed.stderr
    assert await machine.lines(stranger.url) == ["its own"]
    assert machine.waiting() == [machine.project]


async def test_a_plain_server_at_the_default_address_gets_it_where_no_stack_has_ever_run(machine: Machine) -> None:
    machine.record("alone")
    plain = machine.nats()
    machine.record("later")
    assert sorted(await machine.lines(plain.url)) == ["alone", "later"]


async def test_of_two_stacks_each_gets_its_own(machine: Machine) -> None:
    machine.record("ours")
    other = machine.folder / "other"
    theirs = machine.serve(other)
    machine.record("theirs", TRACECRAFT_DATA=str(other))
    assert machine("spool", "flush", TRACECRAFT_DATA=str(other)).returncode == 0
    assert await machine.lines(theirs.state.nats_url) == ["theirs"]
    stack = machine.serve()
    assert machine("spool", "flush").returncode == 0
    assert await machine.lines(stack.state.nats_url) == ["ours"]


@pytest.mark.parametrize("said", ["by the address", "by credentials"])
async def test_what_was_recorded_for_an_address_goes_nowhere_else_unasked(machine: Machine, said: str) -> None:
    away = f"nats://secret@127.0.0.1:{machine.port}"
    machine.record("theirs", **({"TRACECRAFT_SERVER": away} if said == "by the address" else {"TRACECRAFT_TOKEN": "x"}))
    stack = machine.serve()
    machine.record("ours")
    flushed = machine("spool", "flush")
    address = away.replace("secret@", "")
    assert f"'tracecraft spool flush -p {machine.project} --server {address}' delivers it" in flushed.stderr
    assert await machine.lines(stack.state.nats_url) == ["ours"]
    assert machine("spool", "flush", "--from", away).returncode == 0
    assert await machine.lines(stack.state.nats_url) == ["ours", "theirs"]
    assert machine.waiting() == []


async def test_what_says_only_its_address_was_recorded_for_that_address(machine: Machine) -> None:
    machine.record("old")
    (owner,) = machine.spool.glob(f"*/*/*/{spool.OWNER}")
    said: dict[str, Any] = json.loads(owner.read_bytes())
    del said["stack"]
    owner.write_text(json.dumps(said))
    stack = machine.serve()
    machine.record("new")
    assert await machine.lines(stack.state.nats_url) == ["new"]
    plain = machine.nats()
    machine.record("there", TRACECRAFT_SERVER=plain.url)
    assert sorted(await machine.lines(plain.url)) == ["old", "there"]


async def test_another_project_waits_for_its_own(machine: Machine) -> None:
    machine.record("theirs", TRACECRAFT_PROJECT="theirs")
    stack = machine.serve()
    machine.record("ours")
    assert machine("spool", "flush").returncode == 0
    assert machine.waiting() == ["theirs"]
    assert await machine.lines(stack.state.nats_url, "theirs") == []


async def test_commands_without_a_server_are_delivered_by_a_flush_to_our_stack(machine: Machine) -> None:
    begun = machine("run", "start", "probe")
    assert begun.returncode == 0, begun.stderr
    assert machine("run", "log-metric", "loss", "2").returncode == 0
    other = machine.folder / "other"
    machine.serve(other)
    assert "nothing waits" in machine("spool", "flush", TRACECRAFT_DATA=str(other)).stderr
    stack = machine.serve()
    assert "2 events" in machine("spool", "flush").stdout
    events = [one.subject.rpartition(".")[2] for one in await logged(stack.state.nats_url, machine.project)]
    assert events == ["started", "metric"]


@pytest.mark.parametrize("server", ["nobody's", "named", "plain"])
async def test_a_run_begun_before_its_server_ran_is_current_when_it_does(machine: Machine, server: str) -> None:
    """Unnamed before a stack of ours, and before a plain server that is named later; named before our stack runs."""
    port = free_port({machine.port})
    address = f"nats://127.0.0.1:{machine.port if server == 'plain' else port}"
    begun = machine("run", "start", "probe", **({"TRACECRAFT_SERVER": address} if server == "named" else {}))
    assert begun.returncode == 0, begun.stderr
    url = machine.nats().url if server == "plain" else machine.serve(port=port).state.nats_url
    since = {"TRACECRAFT_SERVER": address} if server == "plain" else {}
    metric = machine("run", "log-metric", "loss", "2", **since)
    assert metric.returncode == 0, metric.stderr
    ended = machine("run", "end", **since)
    assert ended.returncode == 0, ended.stderr
    events = [one.subject.rpartition(".")[2] for one in await logged(url, machine.project)]
    assert events == ["started", "metric", "ended"]
    assert "no run is current" in machine("run", "end", **since).stderr


def test_a_run_takes_the_place_of_one_begun_before_the_stack_ran(machine: Machine) -> None:
    port = free_port({machine.port})
    assert machine("run", "start", "first", TRACECRAFT_SERVER=f"nats://127.0.0.1:{port}").returncode == 0
    machine.serve(port=port)
    assert machine("run", "start", "second").returncode == 0
    assert machine("run", "end").returncode == 0
    assert "no run is current" in machine("run", "end").stderr


def test_a_run_is_not_current_where_its_stack_is_not(machine: Machine) -> None:
    assert machine("run", "start", "probe").returncode == 0
    other = machine.folder / "other"
    machine.serve(other)
    assert "no run is current" in machine("run", "log-metric", "loss", "2", TRACECRAFT_DATA=str(other)).stderr


def test_doctor_and_status_say_what_waits_why_and_what_delivers_it(machine: Machine) -> None:
    machine.record("alone")
    (waits,) = spool.spools(machine.spool)
    away = machine("status")
    assert away.returncode == 69
    machine.serve()
    line = (
        f"{waits.events} events, 0 files of project {machine.project} wait on this machine, "
        f"recorded while the bus could not be reached: 'tracecraft spool flush -p {machine.project}'"
    )
    assert [one for one in machine("status").stdout.splitlines() if one.startswith("spool")] == [f"spool      {line}"]
    assert json.loads(machine("status", "--json").stdout)["result"]["waiting"] == line
    assert f"warn spool: {line}" in machine("doctor").stdout.splitlines()
    elsewhere = machine("status", TRACECRAFT_DATA=str(machine.folder / "other")).stderr
    assert f"recorded for the stack in {machine.data}: 'tracecraft serve', then" in elsewhere
    assert machine("spool", "flush").returncode == 0
    assert "spool" not in machine("status").stdout + machine("doctor").stdout


def test_a_stranger_that_refuses_us_at_the_default_address_is_no_reason_to_look_for_its_token(machine: Machine) -> None:
    stranger = machine.nats("secret")
    refused = machine("tasks")
    assert refused.returncode == 69
    assert "start yours with 'tracecraft serve'" in refused.stderr
    assert "tracecraft serve --detach" in machine("doctor").stdout
    named = machine("tasks", TRACECRAFT_SERVER=stranger.url.replace("secret", "wrong"))
    assert named.returncode == 69
    assert "tracecraft serve" not in named.stderr
