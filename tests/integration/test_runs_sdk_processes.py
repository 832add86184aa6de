"""Runs of several processes, the printed example, and a run without a bus."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.said import bodies, log
from tracecraft import BusUnreachable, Session
from tracecraft.recording.spool import spools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer

NOBODY = "nats://127.0.0.1:1"

MISSION = """
results = [{"title": "Time, Clocks"}]
import tracecraft

tracecraft.init(project="my-research")
with tracecraft.run("prompt-comparison-v2") as run:
    with run.agent(name="researcher", model="claude-sonnet-4-20250514") as agent:
        with agent.step("search", kind="tool_call") as step:
            step.log_input({"query": "multi-agent coordination"})
            step.log_output(results)
        agent.shared_memory.set("findings", {"papers": 47})
        agent.send("writer", "Research complete")
    run.log_metrics({"quality_score": 0.92, "cost": 0.034})
"""


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def session(nats: NatsServer, project: str) -> Iterator[Session]:
    opened = Session(server=nats.url, project=project, agent="lead")
    yield opened
    opened.close()


def _environment(nats: NatsServer | None) -> dict[str, str]:
    return {**os.environ, "TRACECRAFT_SERVER": nats.url if nats else NOBODY}


# -- several processes ---------------------------------------------------------------------------------------------

CHILD = """
import tracecraft
with tracecraft.run("ignored", params={"child": 1}) as run:
    with run.step("in the child"):
        run.log_metric("loss", 1.0)
with tracecraft.run("later"):
    pass
"""


def test_a_child_process_joins_the_run_inside_the_step_that_started_it(session: Session, nats: NatsServer) -> None:
    with session.run("parent") as run, run.step("spawn") as step:
        env = {**_environment(nats), **run.environment()}
        run.flush()  # the two have connections of their own, and may overtake each other
        subprocess.run([sys.executable, "-c", CHILD], env=env, check=True, timeout=60)
    entries = log(session, f"run.{run.id}.>")
    assert [entry.event for entry in entries if entry.event in ("started", "joined", "left", "ended")] == [
        "started",
        "joined",
        "left",
        "ended",
    ]
    child = bodies(entries, "step.started")[-1]
    assert (child["name"], child["parent"]) == ("in the child", step.id)
    assert bodies(entries, "param")[0]["params"] == {"child": 1}
    writers = {entry.headers["Nats-Msg-Id"].partition(":")[0] for entry in entries}
    assert len(writers) == 2
    later = next(body for body in bodies(log(session), "started") if body["name"] == "later")
    assert later["parent"] == run.id


FORKS = """
import os
import tracecraft
with tracecraft.run("forks") as run:
    child = os.fork()
    run.log_metric("pid", os.getpid(), step=0)
    with run.step("child" if child == 0 else "parent"):
        pass
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_is_a_writer_of_its_own_and_leaves_the_run_to_its_parent(
    session: Session, nats: NatsServer
) -> None:
    env = {**_environment(nats), "TRACECRAFT_PROJECT": session.project}
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], env=env, check=True, timeout=60)
    entries = log(session)
    spoken: dict[str, list[str]] = {}  # by writer: the two have connections of their own, and may overtake each other
    for entry in entries:
        if entry.event in ("started", "joined", "left", "ended"):
            spoken.setdefault(entry.headers["Nats-Msg-Id"].partition(":")[0], []).append(entry.event)
    assert sorted(spoken.values()) == [["joined", "left"], ["started", "ended"]]
    assert sum(len(metric["points"]) for metric in bodies(entries, "metric")) == 2
    steps = bodies(entries, "step.started")
    assert {step["name"] for step in steps} == {"child", "parent"}
    assert len({step["step"] for step in steps}) == 2


# -- the printed example -------------------------------------------------------------------------------------------


def test_the_example_of_the_front_page_runs_as_printed(nats: NatsServer, session: Session, project: str) -> None:
    program = MISSION.replace("my-research", project)
    done = subprocess.run(
        [sys.executable, "-c", program], env=_environment(nats), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert session.memory.get("findings") == {"papers": 47}
    entries = log(session)
    assert bodies(entries, "step.output")[0]["value"] == [{"title": "Time, Clocks"}]
    assert entries[-1].event == "ended"


def test_without_a_bus_only_coordination_raises_and_the_run_lies_in_the_spool(spool: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSION], env=_environment(None), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "BusUnreachable" in done.stderr
    assert str(spool) in done.stderr
    program = MISSION.replace("agent.s", "if 0: agent.s", 3).replace("if 0: agent.step", "agent.step")
    program = program.replace("with if 0: ", "with ").replace('-v2")', '-v2", patience=0.1)')
    done = subprocess.run(
        [sys.executable, "-c", program], env=_environment(None), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert {(one.project, one.alive, one.events > 3) for one in spools(spool)} == {("my-research", False, True)}


def test_a_run_without_a_bus_says_so_and_tells_the_truth(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = Session(server=NOBODY, project="p", agent="a")
    with caplog.at_level(logging.WARNING), session.run("r", patience=0.2) as run, run.agent("b") as agent:
        run.log_metric("loss", 0.5)
        with pytest.raises(BusUnreachable):
            agent.send("c", "hello")
    assert run.summary is not None
    assert (run.summary.acknowledged, run.summary.dropped) == (0, 0)
    assert run.summary.spooled == 5
    assert str(spool) in caplog.text
