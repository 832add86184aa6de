"""``tracecraft run``: one-shot commands write a run, number their events, and lose nothing when the bus is away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cli import CommandLine
from tests.support.folder import short_lived_folder
from tracecraft_core import subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a state folder of the test's own: which run is current hangs on both."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def events(cli: CommandLine, filter_: str = "run.>") -> list[tuple[str, str, Any, dict[str, str]]]:
    """What the log has of the project: agent, event, body, headers."""
    found = []
    async with Bus(ServerOptions(servers=(cli.server,))) as bus:
        config = watcher_config([f"tc.{cli.project}.{filter_}"], "all")
        async with Puller(bus, subjects.LOG, config) as puller:
            async for delivery in puller.backlog():
                tokens = delivery.stored.subject.split(".", 5)
                body = json.loads(delivery.stored.data)
                found.append((tokens[4] if len(tokens) > 4 else "", tokens[-1], body, dict(delivery.stored.headers)))
    return found


def numbers(found: list[tuple[str, str, Any, dict[str, str]]]) -> dict[str, list[int]]:
    """The numbers of each writer's events, in the order of the log."""
    by_writer: dict[str, list[int]] = {}
    for _, _, _, headers in found:
        writer, _, number = headers[subjects.MSG_ID].rpartition(":")
        by_writer.setdefault(writer, []).append(int(number))
    return by_writer


async def test_commands_write_one_run_whose_events_are_numbered_without_holes(cli: CommandLine) -> None:
    run = said(cli("run", "start", "probe", "--param", "lr=0.001", "--tag", "team=a", agent="w1"))
    assert said(cli("run", "log-metric", "loss", "nan", "--step", "7", agent="w1")) == ""
    said(cli("run", "log-param", "layers", "[64, 32]", agent="w1"))
    said(cli("run", "log-metric", "inner", "1", "--run", run, agent="w2"))
    assert said(cli("run", "end", "--status", "failed", "--reason", "NaN", agent="w1")) == f"{run} failed"
    found = await events(cli)
    assert [(agent, event) for agent, event, _, _ in found] == [
        ("w1", "started"), ("w1", "metric"), ("w1", "param"),
        ("w2", "joined"), ("w2", "metric"), ("w2", "left"), ("w1", "ended"),
    ]  # fmt: skip
    assert sorted(numbers(found).values()) == [[1, 2, 3], [1, 2, 3, 4]]
    assert (found[0][2]["params"], found[0][2]["tags"]) == ({"lr": 0.001}, {"team": "a"})
    assert found[1][2]["points"][0][:3] == ["loss", "NaN", 7]
    assert found[-1][2]["error"]["message"] == "NaN"
    assert cli("run", "end", agent="w1").returncode == 2


async def test_a_finished_step_is_told_whole_and_without_secrets(cli: CommandLine) -> None:
    said(cli("run", "start", "probe", agent="w1"))
    step = said(
        cli("run", "log-step", "ask", "--kind", "llm", "--model", "m", "--seconds", "2", "--input", "-",
            "--output", "fine", "--input-tokens", "900", "--output-tokens", "80", "--error", "cut short",
            agent="w1", input='{"prompt": "password=hunter22x"}')
    )  # fmt: skip
    found = {event: body for _, event, body, _ in await events(cli)}
    assert found["step.input"]["value"] == {"prompt": "password=[redacted:assignment]"}
    assert found["step.input"]["redacted"] == {"assignment": 1}
    ended = found["step.ended"]
    assert (ended["step"], ended["status"], ended["duration"]) == (step, "error", 2_000_000)
    assert found["step.started"]["time"] == ended["time"] - 2_000_000
    assert (found["usage"]["input"], found["usage"]["output"], found["usage"]["step"]) == (900, 80, step)


async def test_what_is_written_inside_a_run_carries_its_id(cli: CommandLine) -> None:
    run = said(cli("run", "start", "probe", agent="w1"))
    said(cli("memory", "set", "best", "1", agent="w1"))
    trace = f"00-{'1' * 32}-00f067aa0ba902b7-01"
    said(cli("send", "w2", "hello", agent="w1", env={"TRACECRAFT_RUN": run, "TRACEPARENT": trace}))
    said(cli("run", "end", agent="w1"))
    said(cli("memory", "set", "best", "2", agent="w1"))
    marks = [headers.get(subjects.RUN) for *_, headers in await events(cli, "memory.>") + await events(cli, "msg.>")]
    assert marks == [run, None, f"{run}/00f067aa0ba902b7"]


def test_the_current_run_is_that_of_the_agent_in_the_folder_and_the_environment_wins(
    cli: CommandLine, place: Path
) -> None:
    outer = said(cli("run", "start", "outer", agent="w1"))
    (place / "below").mkdir()
    os.chdir(place / "below")
    log = ("run", "log-metric", "loss", "1", "--json")
    assert json.loads(said(cli(*log, agent="w1")))["result"]["run"] == outer
    inner = said(cli("run", "start", "inner", "--parent", agent="w1"))
    assert json.loads(said(cli(*log, agent="w1")))["result"]["run"] == inner
    assert json.loads(said(cli(*log, agent="w1", env={"TRACECRAFT_RUN": outer})))["result"]["run"] == outer
    os.chdir(place)
    assert json.loads(said(cli(*log, agent="w1")))["result"]["run"] == outer
    refused = cli("run", "log-metric", "loss", "1", agent="w2")
    assert refused.returncode == 2
    assert "run start" in refused.stderr


def test_when_a_run_inside_another_ends_the_outer_one_is_current_again(cli: CommandLine) -> None:
    outer = said(cli("run", "start", "outer", agent="w1"))
    inner = said(cli("run", "start", "inner", "--parent", agent="w1"))
    innermost = said(cli("run", "start", "innermost", "--parent", inner, agent="w1"))
    said(cli("run", "end", "--run", inner, agent="w1"))
    for run in (innermost, outer):
        assert said(cli("run", "end", agent="w1")) == f"{run} finished"
    assert cli("run", "end", agent="w1").returncode == 2


def test_a_run_that_was_left_open_is_not_current_again(cli: CommandLine) -> None:
    said(cli("run", "start", "left open", agent="w1"))
    run = said(cli("run", "start", "the next", agent="w1"))
    assert said(cli("run", "end", agent="w1")) == f"{run} finished"
    assert cli("run", "end", agent="w1").returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("log-metric", "loss", "much"), "not a number"),
        (("log-metric", " ", "1"), "NAME is empty"),
        (("log-metric", "loss", "1", "--step", "-1"), "step -1 is not a whole number from 0 to 2**62"),
        (("log-metric", "loss", "1", "--step", str(2**63 - 1)), "step 9223372036854775807 is not a whole number"),
        (("start", "x", "--param", "lr"), "KEY=VALUE"),
        (("log-step", "x", "--parent", "7"), "16 hexadecimal digits"),
        (("log-step", "x", "--cost", "-1"), "no amount"),
        (("log-artifact", "../x", "."), "cannot name a file"),
        (("log-artifact", "x", "nowhere"), "no such file"),
        (("log-metric", "loss", "1", "--run", "a.b"), "run 'a.b'"),
        (("exec", "x"), "behind '--' stands the program"),
        (("exec", "x", "--", "no-such-program"), "not a program"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_asked(words: tuple[str, ...], says: str) -> None:
    away = CommandLine("nats://127.0.0.1:1", "p")
    done = away("run", *words, agent="w1")
    assert done.returncode == 2
    assert says in done.stderr


@pytest.fixture
def coming_and_going() -> Iterator[tuple[NatsServer, CommandLine]]:
    """A server that the test starts and stops."""
    with short_lived_folder() as folder:
        server = NatsServer(folder / "nats", port=free_port())
        try:
            yield server, CommandLine(f"nats://127.0.0.1:{server.port}", "p")
        finally:
            server.stop()


async def test_without_a_bus_a_run_is_kept_here_and_delivered_later_in_order_and_once(
    coming_and_going: tuple[NatsServer, CommandLine],
) -> None:
    server, cli = coming_and_going
    begun = cli("run", "start", "probe", agent="w1")
    run = said(begun)
    assert "kept on this machine" in begun.stderr
    assert json.loads(said(cli("run", "log-metric", "loss", "2", "--json", agent="w1")))["result"]["delivered"] is False
    said(cli("run", "log-metric", "loss", "1", agent="w1"))
    waits = json.loads(said(cli("spool", "status", "--json")))["result"]
    assert [(one["run"], one["agent"], one["events"]) for one in waits] == [(run, "w1", 3)]
    assert f"{run}  w1" in said(cli("spool"))
    assert [one["run"] for one in json.loads(said(cli("spool", "--json")))["result"]] == [run]
    server.start()
    said(cli("run", "log-metric", "loss", "0", agent="w1"))
    assert json.loads(said(cli("spool", "status", "--json")))["result"] == []
    server.stop()
    said(cli("run", "end", agent="w1"))
    server.start()
    delivered = json.loads(said(cli("spool", "flush", "--json", agent="w9")))["result"]
    assert (delivered["run"], delivered["events"], delivered["problem"]) == (run, 1, None)
    found = await events(cli)
    assert [event for _, event, _, _ in found] == ["started", "metric", "metric", "metric", "ended"]
    assert list(numbers(found).values()) == [[1, 2, 3, 4, 5]]


async def test_commands_at_the_same_time_take_turns_at_the_numbers(cli: CommandLine) -> None:
    said(cli("run", "start", "probe", agent="w1"))
    racing = [cli.popen("run", "log-metric", "loss", str(number), agent="w1") for number in range(8)]
    assert [process.wait(30) for process in racing] == [0] * 8
    assert list(numbers(await events(cli)).values()) == [list(range(1, 10))]


async def test_exec_is_a_run_and_commands_inside_write_into_it(cli: CommandLine) -> None:
    inner = f"{sys.executable} -m tracecraft_cli run log-metric inner 1"
    script = f"echo out; echo err >&2; {inner}; exit 3"
    done = cli("run", "exec", "train", "--param", "lr=1", "--json", "--", "sh", "-c", script, agent="w1")
    assert (done.returncode, done.stdout.splitlines()[0]) == (3, "out")
    assert "err\n" in done.stderr
    result = json.loads(done.stdout.splitlines()[1])["result"]
    assert (result["status"], result["exit_code"]) == ("failed", 3)
    found = await events(cli, f"run.{result['run']}.>")
    by_event = {event: body for _, event, body, _ in found}
    assert by_event["started"]["params"] == {"lr": 1}
    assert by_event["step.ended"]["error"] == {"type": "exit code 3", "message": "err"}
    assert by_event["ended"]["status"] == "failed"
    assert [event for _, event, _, _ in found][-1] == "ended"
    assert sorted(numbers(found).values()) == [[1, 2, 3], [1, 2, 3, 4]]


async def test_a_signal_to_exec_reaches_the_program_and_the_run_ends_killed(cli: CommandLine, place: Path) -> None:
    script = "trap 'echo stopping; exit 9' TERM; touch ready; while :; do sleep 0.05; done"
    wrapper = cli.popen("run", "exec", "train", "--", "sh", "-c", script, agent="w1")
    deadline = time.monotonic() + 10
    while not (place / "ready").exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    wrapper.send_signal(signal.SIGTERM)
    out, _ = wrapper.communicate(timeout=30)
    assert (wrapper.returncode, out) == (9, "stopping\n")
    ended = [body for _, event, body, _ in await events(cli) if event == "ended"]
    assert [body["status"] for body in ended] == ["killed"]
