"""What a stack does when its parts are killed, stuck, broken or robbed of their ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from queue import Empty, Queue
from typing import TYPE_CHECKING

import psycopg
import pytest

from tracecraft_core.errors import StackError
from tracecraft_stack import Change, Stack, StackEvent, StackOptions, detach, stop_running
from tracecraft_stack.child import Record, read_record
from tracecraft_stack.identity import Identity
from tracecraft_stack.server import http_get
from tracecraft_stack.watch import LONGEST_PAUSE_S, WATCH_S, _pause

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from tracecraft_core.local import StackState
    from tracecraft_stack import NatsServer


def _next(events: Queue[StackEvent], server: str, change: Change) -> StackEvent:
    """The next event of that kind; fails after 30 s."""
    while True:
        event = events.get(timeout=30)
        if (event.server, event.change) == (server, change):
            return event


def _records(data: Path) -> list[Record]:
    found = [read_record(path) for path in sorted((data / "run").iterdir())]
    return [record for record in found if record is not None]


def _kill_supervisor(state: StackState) -> None:
    supervisor = Identity(state.pid, state.pid_started)
    os.kill(supervisor.pid, signal.SIGKILL)
    assert supervisor.await_end(10)


def _remember(state: StackState) -> None:
    with psycopg.connect(state.postgres_dsn) as database:
        database.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def _recall(state: StackState) -> object:
    with psycopg.connect(state.postgres_dsn) as database:
        row = database.execute("SELECT answer FROM kept").fetchone()
    return row[0] if row else None


@pytest.mark.parametrize("name", ["nats", "postgres"])
def test_a_killed_server_is_brought_back_in_its_place(bare_options: StackOptions, name: str) -> None:
    events: Queue[StackEvent] = Queue()
    with Stack(bare_options, events.put) as stack:
        _remember(stack.state)
        server = {"nats": stack.nats, "postgres": stack.postgres}[name]
        before = server.pid
        server.kill()
        assert _next(events, name, Change.DIED).detail == "killed by SIGKILL"
        _next(events, name, Change.RESTARTED)
        assert server.pid != before
        assert server.is_ready()
        assert _recall(stack.state) == 42


def test_a_killed_server_stays_dead_when_told_so(bare_options: StackOptions) -> None:
    events: Queue[StackEvent] = Queue()
    with Stack(replace(bare_options, postgres=False), events.put) as stack:
        _next(events, "stack", Change.READY)
        stack.auto_restart = False
        stack.nats.kill()
        with pytest.raises(Empty):
            events.get(timeout=5 * WATCH_S)
        stack.auto_restart = True
        _next(events, "nats", Change.RESTARTED)


def test_a_server_stopped_or_restarted_on_purpose_is_no_death(bare_options: StackOptions) -> None:
    events: Queue[StackEvent] = Queue()
    with Stack(replace(bare_options, postgres=False), events.put) as stack:
        _next(events, "stack", Change.READY)
        for _ in range(10):
            stack.nats.restart()
        stack.nats.stop()
        assert not stack.nats.died
        stack.nats.start()
        stack.nats.kill()
        assert events.get(timeout=30).change is Change.DIED, "the first thing to report is the kill"


def test_a_server_whose_port_was_taken_comes_back_when_it_is_free_again(bare_options: StackOptions) -> None:
    events: Queue[StackEvent] = Queue()
    with Stack(replace(bare_options, postgres=False), events.put) as stack:
        stack.auto_restart = False
        stack.nats.kill()
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", stack.nats.port))
            thief.listen()
            stack.auto_restart = True
            failed = _next(events, "nats", Change.FAILED)
            assert f"port {stack.nats.port} is taken by pid {os.getpid()}" in failed.detail
        _next(events, "nats", Change.RESTARTED)
        assert stack.nats.is_ready()


def test_a_stuck_server_is_stopped_all_the_same(own_nats: NatsServer) -> None:
    own_nats.pause()
    own_nats.stop()
    assert not own_nats.alive
    assert own_nats.ending == "exit code 0"


def test_a_paused_postgres_answers_when_resumed(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack, psycopg.connect(stack.state.postgres_dsn) as database:
        database.execute("SELECT 1")
        stack.postgres.pause()
        answers: Queue[object] = Queue()
        asking = threading.Thread(target=lambda: answers.put(database.execute("SELECT 2").fetchone()))
        asking.start()
        asking.join(0.5)
        assert answers.empty()
        stack.postgres.resume()
        assert answers.get(timeout=10) == (2,)
        asking.join()


def test_children_of_a_killed_supervisor_end_and_the_next_life_has_the_data(bare_options: StackOptions) -> None:
    state = detach(bare_options)
    _remember(state)
    _kill_supervisor(state)
    with Stack(bare_options) as stack:
        assert _recall(stack.state) == 42
        assert stack.state.nats_url == state.nats_url


def test_orphans_that_the_kernel_left_alone_are_stopped_first(
    bare_options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")  # no setpriv
        state = detach(bare_options)
    _remember(state)
    orphans = _records(bare_options.data)
    _kill_supervisor(state)
    assert all(orphan.child.alive for orphan in orphans)
    events: list[StackEvent] = []
    with Stack(bare_options, events.append) as stack:
        assert not any(orphan.child.alive for orphan in orphans)
        assert _recall(stack.state) == 42
    assert [event.server for event in events if event.change is Change.NOTICE] == ["nats", "postgres", "stack"]


def test_stop_stops_the_orphans_of_a_killed_supervisor(
    bare_options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        state = detach(bare_options)
    orphans = _records(bare_options.data)
    _kill_supervisor(state)
    assert stop_running(bare_options.data)
    assert not any(orphan.child.alive for orphan in orphans)


def test_stop_kills_a_supervisor_that_is_stuck_and_all_it_started(bare_options: StackOptions) -> None:
    state = detach(bare_options)
    records = _records(bare_options.data)
    os.kill(state.pid, signal.SIGSTOP)
    assert stop_running(bare_options.data, patience=0.2)
    assert not Identity(state.pid, state.pid_started).alive
    assert not any(record.child.alive for record in records)


def test_postgres_starts_although_its_old_pid_is_another_program_now(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        stack.auto_restart = False
        _remember(stack.state)
        stack.postgres.kill()
        pid_file = stack.postgres.cluster / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        with subprocess.Popen(["sleep", "60"], user=stack.postgres.cluster.stat().st_uid) as other:
            pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            stack.postgres.start()
            assert _recall(stack.state) == 42
            assert other.poll() is None
            other.kill()


def test_a_first_start_that_was_killed_half_way_is_begun_again(bare_options: StackOptions) -> None:
    draft = bare_options.data / "postgres" / "cluster.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with Stack(bare_options) as stack:
        _remember(stack.state)
    assert not draft.exists()


def test_a_server_that_cannot_start_is_told_with_its_log(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        configuration = stack.postgres.cluster / "postgresql.conf"
    configuration.write_text("nonsense = 1\n")
    with pytest.raises(StackError, match=r"(?s)postgres ended while starting .*unrecognized .*nonsense"):
        Stack(bare_options).start()
    assert not any(record.child.alive for record in _records(bare_options.data))
    assert not (bare_options.data / "stack.json").exists()


def test_a_bridge_that_cannot_start_takes_the_others_down(
    bare_options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(StackError, match="bridge ended while starting"):
        Stack(replace(bare_options, bridge=True)).start()
    records = _records(bare_options.data)
    assert len(records) == 3
    assert not any(record.child.alive for record in records)


def test_a_start_is_given_up_when_a_stop_is_asked_for(bare_options: StackOptions) -> None:
    stack = Stack(bare_options, lambda event: stack.request_stop() if event.change is Change.READY else None)
    with pytest.raises(StackError, match="was stopped"):
        stack.start()
    assert not any(record.child.alive for record in _records(bare_options.data))


def test_pauses_between_starts_grow_to_a_limit() -> None:
    pauses = [_pause(deaths) for deaths in range(12)]
    assert pauses[:4] == [0.0, 0.5, 1.0, 2.0]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert pauses == sorted(pauses)


def test_seaweedfs_keeps_objects_over_a_kill_and_lets_no_stranger_in(bare_options: StackOptions) -> None:
    import boto3
    from botocore.exceptions import ClientError

    events: Queue[StackEvent] = Queue()
    with Stack(replace(bare_options, artifacts=True, postgres=False), events.put) as stack:

        def s3(secret: str) -> S3Client:
            return boto3.client(
                "s3",
                endpoint_url=stack.state.s3_endpoint,
                aws_access_key_id=stack.state.s3_access_key,
                aws_secret_access_key=secret,
                region_name="us-east-1",
            )

        store = s3(stack.state.s3_secret_key)
        for bucket in ("first", "second", "third"):
            store.create_bucket(Bucket=bucket)
            store.put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000)
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            s3("wrong").list_buckets()
        inner = stack.seaweedfs._http
        assert http_get(inner["filer"], "/buckets/first/k")[0] == 404
        for part, answer in (("master", 404), ("volume", 401)):
            assert http_get(inner[part], "/col/delete?collection=first")[0] == answer
            assert http_get(inner[part], "/admin/volume/delete?volume=1")[0] == answer
        stack.seaweedfs.kill()
        _next(events, "seaweedfs", Change.RESTARTED)
        deadline = time.monotonic() + 30
        assert store.get_object(Bucket="third", Key="k")["Body"].read() == b"x" * 100_000
        assert time.monotonic() < deadline
