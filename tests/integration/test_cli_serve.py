"""``tracecraft serve`` and ``stop``, as processes; without SeaweedFS, which is slow to start and to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.folder import short_lived_folder
from tracecraft_core.local import read_state, running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAN = ("--without", "artifacts", "--without", "postgres")


def argv(*args: str) -> list[str]:
    return [sys.executable, "-m", "tracecraft_cli", *args]


def run(data: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TRACECRAFT_DATA": str(data), "TRACECRAFT_AGENT": "alice"}
    return subprocess.run(argv(*args), env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder; what still runs in it at the end is stopped."""
    with short_lived_folder() as folder:
        yield folder / "data"
        run(folder / "data", "stop")


def test_serve_runs_in_the_foreground_until_interrupted_and_clients_find_it(data: Path) -> None:
    env = {**os.environ, "TRACECRAFT_DATA": str(data)}
    with subprocess.Popen(
        argv("serve", *LEAN), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        assert serving.stderr is not None
        first = serving.stdout.readline()
        state = running_stack(data)
        assert state is not None
        assert first == f"bus: nats://{state.nats_url.partition('@')[2]} (with its token: tracecraft status --json)\n"
        assert "durability: interval, flushed to disk every second" in serving.stdout.readline()
        assert run(data, "claim", "T").returncode == 0
        url = json.loads(run(data, "status", "--json").stdout)["result"]["bus"]["url"]
        assert url == state.nats_url
        second = run(data, "serve", *LEAN)
        assert second.returncode == 1
        assert f"pid {serving.pid}" in second.stderr
        serving.send_signal(signal.SIGINT)
        said = serving.stderr.read()
        assert serving.wait(30) == 0
    assert "nats      ready 0." in said
    assert "nats      stopped" in said
    token = state.nats_url.partition("//")[2].partition("@")[0]
    assert token not in first + said
    assert running_stack(data) is None
    assert run(data, "tasks").returncode == 69


def test_a_detached_stack_keeps_its_data_and_its_url_until_and_beyond_its_stop(data: Path) -> None:
    started = run(data, "serve", "--detach", "--durability", "durable", "--json", *LEAN)
    assert started.returncode == 0, started.stderr
    result = json.loads(started.stdout)["result"]
    assert result["durability"] == "durable"
    assert "@" not in result["bus"]
    before = read_state(data)
    assert before is not None
    assert run(data, "memory", "set", "k", "1").returncode == 0
    stopped = run(data, "stop", "--json")
    assert json.loads(stopped.stdout)["result"] == {"data": str(data), "stopped": True}
    again = run(data, "stop")
    assert (again.returncode, again.stdout) == (0, "")
    assert f"no stack runs in {data}" in again.stderr
    assert run(data, "serve", "--detach", *LEAN).returncode == 0
    after = read_state(data)
    assert after is not None
    assert after.nats_url == before.nats_url
    assert run(data, "memory", "get", "k").stdout == "1\n"


def test_a_stack_with_its_bridge_is_whole_after_one_command(data: Path) -> None:
    started = run(data, "serve", "--detach", "--without", "artifacts")
    assert started.returncode == 0, started.stderr
    for name in ("nats", "postgres", "bridge", "stack"):
        assert f"{name:<10}ready" in started.stderr
    assert "/metrics" in started.stdout
    status = run(data, "status")
    assert status.returncode == 0, status.stdout
    assert "bridge" in status.stdout
    assert run(data, "doctor").returncode == 0
    assert run(data, "stop").stdout == "stopped\n"


def test_a_taken_port_is_named(data: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run(data, "serve", "--detach", "--port", str(port), *LEAN)
    assert refused.returncode == 1
    assert str(port) in refused.stderr
    assert running_stack(data) is None


def test_a_stack_in_another_folder_is_named_in_every_hint(data: Path) -> None:
    other = data.with_name("its data")
    started = run(data, "serve", "--detach", "--data", str(other), *LEAN)
    try:
        assert started.returncode == 0, started.stderr
        assert f"stop it with tracecraft stop --data '{other}'\n" in started.stderr
        assert f"clients find it with: export TRACECRAFT_DATA='{other}'\n" in started.stdout
        assert f"with its token: TRACECRAFT_DATA='{other}' tracecraft status --json" in started.stdout
    finally:
        stopped = run(data, "stop", "--data", str(other))
    assert stopped.stdout == "stopped\n"
    assert f"stopping the stack in {other}" in stopped.stderr


@pytest.mark.parametrize("command", ["serve", "stop"])
def test_an_empty_data_folder_is_refused(data: Path, command: str) -> None:
    refused = run(data, command, "--data", "")
    assert refused.returncode == 2
    assert "must not be empty" in refused.stderr


def test_an_empty_variable_is_the_default_folder(data: Path) -> None:
    env = {**os.environ, "TRACECRAFT_DATA": "", "XDG_DATA_HOME": str(data)}
    done = subprocess.run(argv("stop"), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, f"no stack runs in {data / 'tracecraft'}\n")


def test_stop_and_an_interrupt_say_at_once_that_seaweedfs_takes_its_time(data: Path) -> None:
    with subprocess.Popen(
        argv("serve", "--data", str(data), "--without", "postgres"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout is not None
        assert serving.stderr is not None
        serving.stdout.readline()
        with subprocess.Popen(argv("stop", "--data", str(data)), stderr=subprocess.PIPE, text=True) as stopping:
            assert stopping.stderr is not None
            assert "SeaweedFS takes about 15 s" in stopping.stderr.readline()
            assert serving.poll() is None, "it is said before the stop, not after it"
            assert stopping.wait(60) == 0
        assert "stack     notice: stopping; SeaweedFS takes about 15 s" in serving.stderr.read()
