"""One nats-server alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import nats as client
import pytest

from tracecraft_core.errors import StackError
from tracecraft_stack.child import read_record
from tracecraft_stack.nats_server import NatsServer

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_started_server_has_jetstream_and_wants_its_token(own_nats: NatsServer) -> None:
    connection = await client.connect(own_nats.url)
    await connection.jetstream().add_stream(name="S", subjects=["s"])
    await connection.close()
    with socket.create_connection(("127.0.0.1", own_nats.port), timeout=5) as stranger:
        stranger.sendall(b"CONNECT {}\r\nPING\r\n")
        answers = stranger.makefile("rb")
        assert answers.readline().startswith(b"INFO ")
        assert answers.readline() == b"-ERR 'Authorization Violation'\r\n"


async def test_what_was_acknowledged_survives_a_kill_and_comes_back_on_the_same_url(own_nats: NatsServer) -> None:
    url = own_nats.url
    connection = await client.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="S", subjects=["s"])
    await stream.publish("s", b"kept")
    own_nats.kill()
    assert not own_nats.alive
    assert own_nats.ending == "killed by SIGKILL"
    own_nats.start()
    await connection.close()
    connection = await client.connect(url)
    assert (await connection.jetstream().get_msg("S", 1)).data == b"kept"
    await connection.close()


async def test_a_paused_server_answers_only_when_resumed(own_nats: NatsServer) -> None:
    connection = await client.connect(own_nats.url)
    own_nats.pause()
    with pytest.raises(client.errors.TimeoutError):
        await connection.jetstream(timeout=0.5).account_info()
    own_nats.resume()
    await connection.jetstream(timeout=5).account_info()
    await connection.close()


def test_the_configuration_with_the_token_is_private(own_nats: NatsServer) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in own_nats.folder.iterdir() if path.is_file()}
    assert modes == {"nats.conf": 0o600, "nats.log": 0o600, "nats.json": 0o600}


async def test_a_limit_given_for_jetstream_is_enforced(server_folder: Path) -> None:
    with NatsServer(server_folder, jetstream="max_file_store: 1MB") as server:
        connection = await client.connect(server.url)
        info = await connection.jetstream().account_info()
        assert info.limits.max_storage in (-1, 1024 * 1024)
        with pytest.raises(client.js.errors.APIError, match="insufficient storage"):
            await connection.jetstream().add_stream(name="S", subjects=["s"], max_bytes=2 * 1024 * 1024)
        await connection.close()


async def test_users_given_in_the_configuration_take_the_place_of_the_token(server_folder: Path) -> None:
    users = 'authorization { users: [{ user: "a", password: "b" }] }'
    with NatsServer(server_folder, extra_config=users) as server:
        connection = await client.connect(f"nats://a:b@127.0.0.1:{server.port}")
        await connection.close()


def test_a_wrong_configuration_is_refused_with_the_words_of_the_server(server_folder: Path) -> None:
    with pytest.raises(StackError, match="nonsense"):
        NatsServer(server_folder, extra_config="nonsense: true").start()


def test_a_port_taken_by_another_process_is_named_with_its_holder(own_nats: NatsServer, server_folder: Path) -> None:
    other = NatsServer(server_folder / "other", port=own_nats.port)
    with pytest.raises(StackError, match=rf"port {own_nats.port} is taken by pid {own_nats.pid} \(nats-server\)"):
        other.start()


def test_a_second_server_on_a_folder_is_refused_while_the_first_is_supervised(own_nats: NatsServer) -> None:
    with pytest.raises(StackError, match=f"already runs here .pid {own_nats.pid}."):
        NatsServer(own_nats.folder).start()
    assert own_nats.alive


START_AND_WAIT = """
import sys, pathlib
from tracecraft_stack.nats_server import NatsServer
server = NatsServer(pathlib.Path(sys.argv[1]), token="t")
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_a_server_whose_supervisor_was_killed_is_stopped_before_the_next_starts(server_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(server_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": ""},  # no setpriv: the kernel does not stop the orphan
    ) as supervisor:
        assert supervisor.stdout is not None
        orphan = int(supervisor.stdout.readline())
        supervisor.kill()
    record = read_record(server_folder / "nats.json")
    assert record is not None
    assert record.child.pid == orphan
    assert record.child.alive
    with NatsServer(server_folder, token="t") as server:
        assert not record.child.alive
        assert server.pid != orphan


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_server_ends_with_its_supervisor(server_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(server_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        record = read_record(server_folder / "nats.json")
        assert record is not None
        assert record.child.alive
        supervisor.send_signal(signal.SIGKILL)
    assert record.child.await_end(5)


def test_an_orphan_that_is_not_recorded_is_noticed(own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracecraft_stack.child.LOCK_PATIENCE_S", 0.1)
    own_nats.record.write_text(json.dumps({}))
    with pytest.raises(StackError, match="still runs here: a process that is not recorded"):
        NatsServer(own_nats.folder).start()


def test_a_start_takes_a_fraction_of_a_second(server_folder: Path) -> None:
    began = time.monotonic()
    with NatsServer(server_folder):
        assert time.monotonic() - began < 5  # a generous bound on a shared machine; 0.05 s is usual
