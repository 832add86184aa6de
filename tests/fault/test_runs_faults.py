"""A run goes on while every server, and at last its own process, is killed: nothing is missing, nothing is twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING

import pytest

import tracecraft
from tests.fault.programs.handle import Program
from tests.support.folder import short_lived_folder
from tracecraft_stack import Change, Stack, StackEvent, StackOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_core.queries import RunDetail

SERVERS = ("nats", "postgres", "bridge", "seaweedfs")


@pytest.fixture(scope="module")
def events() -> Queue[StackEvent]:
    return Queue()


@pytest.fixture(scope="module")
def own_stack(events: Queue[StackEvent]) -> Iterator[Stack]:
    with short_lived_folder() as folder, Stack(StackOptions(data=folder, fsync=False), events.put) as running:
        yield running


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))


@contextmanager
def running(stack: Stack, project: str, folder: Path) -> Iterator[tuple[Program, str]]:
    """The process, and the id of its run."""
    with Program("running", stack.state.nats_url, project, "worker", folder) as program:
        yield program, program.hear("running")["run"]


def taken(folder: Path) -> int:
    """How many rounds the process has finished."""
    return int.from_bytes((folder / "taken").read_bytes(), "little")


def go_on(folder: Path, rounds: int) -> None:
    """Wait until the process has done so many more rounds."""
    wanted, until = taken(folder) + rounds, time.monotonic() + 30
    while taken(folder) < wanted:
        assert time.monotonic() < until, "the run stands still"
        time.sleep(0.01)


def back(events: Queue[StackEvent], server: str) -> None:
    """Wait until a killed server is up again."""
    while True:
        event = events.get(timeout=60)
        if (event.server, event.change) == (server, Change.RESTARTED):
            return


def holds(found: RunDetail, rounds: int) -> None:
    """The mirror has every round, once."""
    metric = next(one for one in found.metrics if one.key == "number" and not one.agent)
    assert (metric.points, metric.value, metric.min, metric.max) == (rounds, rounds, 1, rounds)
    assert metric.mean * rounds == pytest.approx(rounds * (rounds + 1) / 2)
    assert len({file.name for file in found.artifacts}) == len(found.artifacts) == rounds // 25
    assert found.problems == 0


def test_every_server_is_killed_in_turn_under_load_and_nothing_is_missing_or_twice(
    own_stack: Stack, events: Queue[StackEvent], project: str, tmp_path: Path
) -> None:
    with running(own_stack, project, tmp_path) as (program, run):
        go_on(tmp_path, 100)
        for name in SERVERS:
            server = getattr(own_stack, name)
            server.kill()
            go_on(tmp_path, 200)
            back(events, name)
        go_on(tmp_path, 100)
        program.say("end")
        ended = program.hear("ended", 90)
    assert (ended["spooled"], ended["dropped"], ended["waiting"]) == (0, 0, 0), ended
    with tracecraft.connect(server=own_stack.state.nats_url, project=project, agent="judge") as session:
        verified = session.runs.verify(run, deep=True)
        assert verified.complete, verified
        found = session.runs.get(run)
        holds(found, ended["number"])
        assert (found.row.status, found.row.steps) == ("finished", ended["number"])
        assert [step.output_blob is not None for step in session.runs.steps(run)].count(True) == ended["number"] // 50


def test_what_a_killed_process_had_not_handed_over_is_delivered_later_and_its_end_is_named_as_missing(
    own_stack: Stack, project: str, tmp_path: Path
) -> None:
    with running(own_stack, project, tmp_path) as (program, run):
        go_on(tmp_path, 300)
        own_stack.nats.pause()
        go_on(tmp_path, 100)
        program.kill()
        own_stack.nats.resume()
    rounds = taken(tmp_path)
    with tracecraft.connect(server=own_stack.state.nats_url, project=project, agent="judge") as session:
        before = session.runs.verify(run)
        assert not before.complete
        assert before.unfinished == [before.writers[0].writer]
        assert before.writers[0].received < 6 * rounds
        flush = [sys.executable, "-m", "tracecraft_cli", "spool", "flush", "--project", project]
        environment = {**os.environ, "TRACECRAFT_SERVER": own_stack.state.nats_url}
        assert subprocess.run(flush, env=environment, check=False).returncode == 0
        after = session.runs.verify(run, deep=True)
        assert [(writer.missing, writer.dropped) for writer in after.writers] == [([], 0)] * len(after.writers)
        assert after.unfinished == before.unfinished, "the process never said that it was done, and it is named"
        assert (after.missing_blobs, after.damaged_blobs, after.problems, after.gaps) == ([], [], [], [])
        found = session.runs.get(run)
        points = next(one for one in found.metrics if one.key == "number" and not one.agent).points
        assert points in (rounds, rounds + 1), "the round that was under way may have got as far as its point"
        assert found.row.steps in (rounds, rounds + 1)
