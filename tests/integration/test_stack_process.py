"""A stack as a process of its own: in the foreground, in the background, as root and as an ordinary user."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from tracecraft_core.errors import StackError
from tracecraft_core.local import running_stack
from tracecraft_stack import Change, Durability, Stack, StackEvent, StackOptions, detach, stop_running
from tracecraft_stack.options import dump_options, load_options
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def nobody() -> int:
    """The id of an ordinary user; skips when we cannot become one, or that one cannot run this Python."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    uid = pwd.getpwnam("nobody").pw_uid
    try:
        subprocess.run([sys.executable, "-c", "import tracecraft_stack"], user=uid, cwd="/", check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"user {uid} may not run {sys.executable}")
    return uid


SERVE = """
import sys
from tracecraft_stack import run_foreground
from tracecraft_stack.options import load_options
run_foreground(
    load_options(sys.argv[1]),
    lambda event: print(event.server, event.change, flush=True),
    lambda state: print(state.postgres_dsn, flush=True),
)
print("done")
"""


def _serve(options: StackOptions, user: int | None = None) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", SERVE, dump_options(options)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, user=user, cwd="/")


def _read_until(process: subprocess.Popen[str], beginning: str) -> str:
    assert process.stdout is not None
    return next(line.strip() for line in process.stdout if line.startswith(beginning))


def test_options_survive_the_way_to_the_background(bare_options: StackOptions) -> None:
    options = replace(bare_options, durability=Durability.DURABLE, nats_port=1234)
    assert load_options(dump_options(options)) == options


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_foreground_in_order(bare_options: StackOptions, number: signal.Signals) -> None:
    with _serve(bare_options) as process:
        _read_until(process, "postgresql://")
        process.send_signal(number)
        rest = process.communicate(timeout=30)[0].split("\n")
    assert rest[:4] == ["stack notice", "nats stopped", "postgres stopped", "done"]
    assert process.returncode == 0


def test_a_signal_during_the_start_is_no_error(bare_options: StackOptions) -> None:
    with _serve(bare_options) as process:
        _read_until(process, "nats ready")
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    assert rest.endswith("done\n")


def test_a_detached_stack_reports_runs_on_and_is_stopped_by_its_folder(bare_options: StackOptions) -> None:
    events: list[StackEvent] = []
    state = detach(bare_options, events.append)
    try:
        assert running_stack(bare_options.data) == state
        assert state.pid != os.getpid()
        assert {event.server for event in events if event.change is Change.READY} == {"nats", "postgres", "stack"}
        with psycopg.connect(state.postgres_dsn) as database:
            assert database.execute("SELECT 1").fetchone() == (1,)
    finally:
        assert stop_running(bare_options.data)
    assert running_stack(bare_options.data) is None
    assert not stop_running(bare_options.data), "there is nothing left to stop"


def test_a_detached_stack_that_fails_says_why_in_the_same_words(bare_options: StackOptions) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} for nats is taken by pid {os.getpid()}"):
            detach(replace(bare_options, nats_port=port))
    assert not stop_running(bare_options.data)


def test_nothing_to_stop_where_nothing_is(tmp_path: Path) -> None:
    assert not stop_running(tmp_path / "nowhere")


def test_an_ordinary_user_runs_a_stack_too(bare_options: StackOptions, nobody: int) -> None:
    bare_options.data.mkdir()
    for folder in (bare_options.data.parent, bare_options.data):
        os.chown(folder, nobody, -1)
    with _serve(bare_options, user=nobody) as process:
        dsn = _read_until(process, "postgresql://")
        with psycopg.connect(dsn) as database:
            assert database.execute("SELECT 1").fetchone() == (1,)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_folder_of_someone_else_is_refused_in_plain_words(server_folder: Path, nobody: int) -> None:
    argv = [sys.executable, "-c", SERVE, dump_options(StackOptions(data=server_folder / "data", bridge=False))]
    done = subprocess.run(argv, capture_output=True, text=True, user=nobody, cwd="/", check=False)
    assert f"not accessible to user {nobody}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs as another account for root only")
def test_postgres_reaches_a_cluster_below_a_closed_folder_of_root(bare_options: StackOptions) -> None:
    closed = bare_options.data.parent / "closed"
    closed.mkdir(mode=0o700)
    events: list[StackEvent] = []
    with (
        Stack(replace(bare_options, data=closed / "data"), events.append) as stack,
        psycopg.connect(stack.state.postgres_dsn) as database,
    ):
        assert database.execute("SELECT 1").fetchone() == (1,)
    notices = [event.detail for event in events if event.change is Change.NOTICE]
    assert any(str(closed) in notice for notice in notices)
    assert closed.stat().st_mode & 0o077 == 0o001, "passing through is all that is allowed"


def test_the_supervisor_in_the_background_is_nobodys_child(bare_options: StackOptions) -> None:
    state = detach(replace(bare_options, postgres=False))
    try:
        assert psutil.Process(state.pid).ppid() != os.getpid()
    finally:
        stop_running(bare_options.data)
