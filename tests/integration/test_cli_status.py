"""``tracecraft status`` and ``doctor``: the truth about what runs, and a fix for what does not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft_cli import diagnosis
from tracecraft_core.errors import BusUnreachable
from tracecraft_stack import NatsServer, Stack, StackOptions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cli import CommandLine

NOWHERE = "nats://secret@127.0.0.1:1"


def result(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)["result"]


def findings(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    return {finding["check"]: finding for finding in result(done, code)["findings"]}


def on_stack(stack: Stack, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that is told nothing but where the data folder is."""
    env = {**os.environ, "TRACECRAFT_DATA": stack.state.data, "TRACECRAFT_AGENT": "alice", **environment}
    argv = [sys.executable, "-m", "tracecraft_cli", *args]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


# -- status -------------------------------------------------------------------------------------------------------


def test_status_of_a_foreign_server_tells_of_bus_streams_agents_tasks_and_mail(cli: CommandLine) -> None:
    cli("claim", "A", agent="bob")
    cli("claim", "B", agent="bob")
    cli("complete", "B", "--to", "alice", agent="bob")
    found = result(cli("status", "--json", agent="alice"))
    assert found["healthy"] is True
    assert found["bus"]["jetstream"] is True
    assert found["bus"]["version"].startswith("2.")
    assert found["project"] == {
        "name": cli.project,
        "agent": "alice",
        "agents_online": ["bob"],
        "tasks": {"claimed": 1, "done": 1},
        "unread": 1,
    }
    streams = {stream["name"]: stream for stream in found["streams"]}
    assert set(streams) == {"TC_LOG", "KV_tc_memory", "KV_tc_tasks", "KV_tc_leases", "KV_tc_agents"}
    assert streams["TC_LOG"]["messages"] > 0
    assert all(stream["drift"] == [] for stream in streams.values())
    text = cli("status", agent="alice").stdout
    for words in ("1 claimed, 1 done", "1 online: bob", "1 unread", "TC_LOG"):
        assert words in text


def test_status_never_prints_the_token_of_a_server_that_is_not_its_own(cli: CommandLine) -> None:
    token = cli.server.partition("//")[2].partition("@")[0]
    for args in (["status"], ["status", "--json"], ["doctor"], ["doctor", "--json"]):
        done = cli(*args)
        assert done.returncode == 0, done.stderr
        assert token not in done.stdout + done.stderr


def test_status_counts_a_task_whose_lease_is_gone_as_lapsed_as_tasks_does(cli: CommandLine) -> None:
    cli("claim", "A", agent="bob")
    cli("claim", "B", "--lease", "1s", agent="bob")
    until = time.monotonic() + 20
    while "lapsed" not in cli("tasks", agent="alice").stdout:
        assert time.monotonic() < until
    assert result(cli("status", "--json", agent="alice"))["project"]["tasks"] == {"claimed": 1, "lapsed": 1}
    assert "1 claimed, 1 lapsed" in cli("status", agent="alice").stdout


def test_status_of_a_fresh_server_creates_nothing_on_it(own_nats: NatsServer, cli: CommandLine) -> None:
    assert cli("doctor", env={"TRACECRAFT_SERVER": own_nats.url}).returncode == 0
    for _ in range(2):
        found = result(cli("status", "--json", env={"TRACECRAFT_SERVER": own_nats.url}))
        assert [stream["exists"] for stream in found["streams"]] == [False] * 5


def test_status_without_a_bus_exits_with_69_and_says_what_to_do(cli: CommandLine) -> None:
    began = time.monotonic()
    done = cli("status", env={"TRACECRAFT_SERVER": NOWHERE})
    assert done.returncode == 69
    assert "tracecraft serve" in done.stderr
    assert "secret" not in done.stderr
    assert time.monotonic() - began < 3


def test_status_of_the_stack_of_this_machine_has_all_of_its_parts_and_the_url_for_other_clients(stack: Stack) -> None:
    found = result(on_stack(stack, "status", "--json"))
    assert found["healthy"] is True
    assert found["bus"]["url"] == stack.state.nats_url
    assert found["stack"]["data"] == stack.state.data
    assert found["stack"]["durability"] == "interval"
    assert found["postgres"]["up"] is True
    assert found["seaweedfs"] is None
    assert found["bridge"]["up"] is True
    assert found["bridge"]["role"] == "active"
    assert found["bridge"]["lag"] >= 0
    text = on_stack(stack, "status")
    assert text.returncode == 0
    assert "durability interval: flushed to disk every second" in text.stdout
    assert "messages behind" in text.stdout
    assert stack.nats.token is not None
    assert stack.nats.token not in text.stdout + text.stderr


def test_status_otel_prints_what_points_an_exporter_at_the_receiver_and_nothing_else(stack: Stack) -> None:
    printed = on_stack(stack, "-p", "shop", "status", "--otel")
    assert printed.returncode == 0
    environment = subprocess.run(
        ["env", "-i", "sh", "-c", f"{printed.stdout}\nenv"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {line for line in environment if line.startswith("OTEL_")} == {
        f"OTEL_EXPORTER_OTLP_ENDPOINT={stack.state.otlp_url}",
        f"OTEL_EXPORTER_OTLP_HEADERS=x-tracecraft-token={stack.state.otlp_token}",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES=tracecraft.project=shop",
    }
    found = result(on_stack(stack, "-p", "shop", "status", "--otel", "--json"))
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == stack.state.otlp_url


def test_status_otel_says_what_has_a_receiver_where_none_is(cli: CommandLine) -> None:
    done = cli("status", "--otel")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'tracecraft serve --detach'" in done.stderr


def test_status_exits_with_1_when_a_part_of_the_stack_is_down(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        assert on_stack(stack, "status").returncode == 0
        stack.auto_restart = False
        stack.postgres.kill()
        found = result(on_stack(stack, "status", "--json"), code=1)
        assert found["healthy"] is False
        assert found["problems"] == [f"PostgreSQL at 127.0.0.1:{stack.postgres.port} is down"]
        assert "DOWN" in on_stack(stack, "status").stdout


# -- doctor -------------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_where_nothing_is(cli: CommandLine) -> None:
    cli("tasks", agent="alice")
    cli("claim", "T", agent="alice")
    found = findings(cli("doctor", "--json", agent="alice"))
    assert {check: finding["level"] for check, finding in found.items()} == dict.fromkeys(
        ("installation", "identity", "extra local", "bus", "version", "streams", "clock", "project", "names"), "ok"
    )
    assert all(finding["fix"] is None for finding in found.values())


def test_doctor_says_how_to_start_a_server_when_there_is_none(cli: CommandLine) -> None:
    done = cli("doctor", agent="alice", env={"TRACECRAFT_SERVER": NOWHERE})
    assert done.returncode == 1
    assert "bad  bus: no NATS server answers at nats://127.0.0.1:1" in done.stdout
    assert "fix: check the address, which comes from environment variable TRACECRAFT_SERVER" in done.stdout
    assert "secret" not in done.stdout


def test_doctor_tells_a_wrong_token_from_a_missing_server(cli: CommandLine) -> None:
    wrong = cli.server.replace("://", "://not-")
    found = findings(cli("doctor", "--json", env={"TRACECRAFT_SERVER": wrong}), code=1)
    assert "Authorization" in found["bus"]["message"]
    assert "TRACECRAFT_SERVER" in found["bus"]["fix"]


def test_a_sandbox_without_network_is_named_with_its_fix_by_doctor_and_by_every_command(cli: CommandLine) -> None:
    env = {"TRACECRAFT_SERVER": NOWHERE, "CODEX_SANDBOX_NETWORK_DISABLED": "1"}
    found = findings(cli("doctor", "--json", env=env), code=1)
    assert "sandbox_workspace_write.network_access=true" in found["bus"]["fix"]
    for command in (["claim", "T"], ["status"]):
        refused = cli(*command, env=env)
        assert refused.returncode == 69
        assert "sandbox_workspace_write.network_access=true" in refused.stderr
    assert "sandbox" not in cli("tasks", env={"TRACECRAFT_SERVER": NOWHERE}).stderr


def test_doctor_warns_of_a_name_that_is_only_derived(cli: CommandLine) -> None:
    found = findings(cli("doctor", "--json"))
    assert found["identity"]["level"] == "warn"
    assert "TRACECRAFT_AGENT" in found["identity"]["fix"]


def test_doctor_suspects_the_wrong_project_where_nothing_ever_happened(own_nats: NatsServer, cli: CommandLine) -> None:
    env = {"TRACECRAFT_SERVER": own_nats.url}
    cli("claim", "T", agent="bob", env=env, project="lively")
    found = findings(cli("doctor", "--json", agent="alice", env=env, project="livly"))
    assert found["project"]["level"] == "warn"
    assert "agents are online in lively" in found["project"]["message"]
    assert found["project"]["fix"] == "tracecraft init --project lively"


def test_doctor_reports_streams_that_are_missing_or_drifted(own_nats: NatsServer, cli: CommandLine) -> None:
    env = {"TRACECRAFT_SERVER": own_nats.url}
    cli("claim", "T", agent="alice", env=env)
    change = """
import asyncio
from tracecraft.async_session import AsyncSession
async def main():
    async with AsyncSession(mode="oneshot") as session:
        bus = session.context.bus
        bus.on_missing_stream = None
        config = (await bus.api("STREAM.INFO.TC_LOG"))["config"]
        await bus.api("STREAM.UPDATE.TC_LOG", config | {"discard": "old"})
        await bus.api("STREAM.DELETE.KV_tc_agents")
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", change], env=cli.environment(env=env), check=True)
    done = cli("doctor", agent="alice", env=env)
    assert done.returncode == 1
    assert "bad  streams: TC_LOG: discard is 'old', tracecraft needs 'new'" in done.stdout
    assert "bad  streams: KV_tc_agents is missing" in done.stdout
    status = cli("status", agent="alice", env=env)
    assert status.returncode == 0
    assert "drift: TC_LOG: discard is 'old', tracecraft needs 'new'" in status.stdout


def test_doctor_warns_of_one_name_on_two_machines(cli: CommandLine) -> None:
    elsewhere = """
import asyncio, socket
socket.gethostname = lambda: "another-machine"
from tracecraft.async_session import AsyncSession
async def main():
    async with AsyncSession():
        pass
asyncio.run(main())
"""
    cli("claim", "T", agent="alice")
    subprocess.run([sys.executable, "-c", elsewhere], env=cli.environment("alice"), check=True)
    found = findings(cli("doctor", "--json", agent="alice"))
    assert found["names"]["level"] == "warn"
    assert (
        f"alice is used on {' and '.join(sorted(['another-machine', socket.gethostname()]))}"
        in (found["names"]["message"])
    )


def test_doctor_finds_another_distribution_that_installs_a_package_of_the_same_name(
    cli: CommandLine, tmp_path: Path
) -> None:
    metadata = tmp_path / "tracecraft_ai-0.2.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tracecraft-ai\nVersion: 0.2.5\n")
    found = findings(cli("doctor", "--json", agent="alice", env={"PYTHONPATH": str(tmp_path)}), code=1)
    assert "tracecraft-ai installs a package 'tracecraft' too" in found["installation"]["message"]
    assert found["installation"]["fix"].startswith("pip uninstall -y tracecraft-ai && ")


def test_doctor_notices_a_stack_that_was_killed(cli: CommandLine, bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        state = (bare_options.data / "stack.json").read_text()
        env = {"TRACECRAFT_DATA": stack.state.data}
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    pid = int(gone.stdout)
    (bare_options.data / "stack.json").write_text(json.dumps(json.loads(state) | {"pid": pid}))
    found = findings(cli("doctor", "--json", agent="alice", env=env))
    assert found["stack"]["level"] == "warn"
    assert f"pid {pid} is gone" in found["stack"]["message"]
    assert found["stack"]["fix"] == "tracecraft serve"


@pytest.mark.parametrize(
    ("version", "level"),
    [("2.13.9", "bad"), ("2.14.0", "warn"), ("2.15.0", "warn"), ("2.15.1", "ok"), ("2.16.0-RC.1", "ok"), ("", "bad")],
)
def test_an_old_server_is_bad_and_an_untested_one_is_warned_of(version: str, level: str) -> None:
    assert diagnosis.version(version).level == level


@pytest.mark.parametrize(
    ("skew", "level", "says"),
    [(0.5, "ok", "agree"), (-5, "warn", "5 s behind the server"), (1000, "bad", "1000 s ahead of the server")],
)
def test_a_clock_that_is_off_is_measured(skew: float, level: str, says: str) -> None:
    found = diagnosis.clock(skew)
    assert found.level == level
    assert says in found.message


def test_an_overwritten_package_is_bad_even_when_its_distribution_is_gone() -> None:
    assert diagnosis.name_clash([], ours=False).level == "bad"


def test_without_a_sandbox_a_missing_server_is_to_be_started() -> None:
    error = BusUnreachable("nats://127.0.0.1:4222", "Connection refused")
    assert diagnosis.unreachable(error, sandboxed=False).fix == "tracecraft serve --detach"


def test_a_stack_of_this_machine_that_does_not_answer_is_to_be_started() -> None:
    error = BusUnreachable("nats://127.0.0.1:4222", "Connection refused")
    found = diagnosis.unreachable(error, sandboxed=False, origin="the stack that runs in /data")
    assert found.fix == "tracecraft serve --detach"


def test_a_refusal_at_the_default_address_points_to_the_data_folder_of_another_stack() -> None:
    error = BusUnreachable("nats://127.0.0.1:4222", "Authorization Violation")
    found = diagnosis.unreachable(error, sandboxed=False)
    assert "another stack may run" in found.message
    assert "TRACECRAFT_DATA" in str(found.fix)
    named = diagnosis.unreachable(error, sandboxed=False, origin="given by the caller")
    assert "TRACECRAFT_DATA" not in str(named.fix)
