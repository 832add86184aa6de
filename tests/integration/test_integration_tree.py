"""`Tree`: what a framework tells by its own ids becomes a run, whatever the order, the thread and the faults."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import tracecraft
from tracecraft import Session
from tracecraft.integrations import closing
from tracecraft.integrations.actors import Actors
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import Tree, failed
from tracecraft.recording.takeover import deliver_spools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_core.queries import RunRow, StepRow
    from tracecraft_stack import Stack

NOBODY = "nats://127.0.0.1:1"

PROGRAM = """
import sys, time
import tracecraft
from tracecraft.integrations.tree import Tree

tracecraft.init(project=sys.argv[1], server=sys.argv[2], agent="p")
tree = Tree("program")
tree.begin_run(1, "short")
began = time.monotonic()
tree.end_run(1, output="done")
print(time.monotonic() - began < 1.0)
"""


@pytest.fixture
def session(stack: Stack, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))
    with Session(server=stack.state.nats_url, project=project, agent="lead") as opened:
        yield opened


def only_run(session: Session) -> RunRow:
    assert closing.flush()
    (row,) = session.runs.list()
    return row


def by_name(session: Session, run: str) -> dict[str, StepRow]:
    return {step.name: step for step in session.runs.steps(run)}


@pytest.mark.parametrize("tokens", [-3, float("nan"), "many"], ids=str)
def test_a_step_ends_though_its_token_counts_cannot_be(
    session: Session, tokens: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tree = Tree("crew", session=session)
    tree.begin_run("r", "ask")
    tree.begin("l", "r", "gpt-x", "llm")
    tree.usage("l", {"input_tokens": tokens, "output_tokens": 1})
    tree.end("l", output="an answer")
    tree.end_run("r")
    found = by_name(session, only_run(session).run)["gpt-x"]
    assert (found.status, found.output) == ("ok", "an answer")
    assert "a whole number of tokens" in caplog.text


def test_a_framework_s_ids_become_a_tree(session: Session) -> None:
    tree = Tree("crew", session=session, tags={"team": "a"})
    tree.begin_run("r", "write a paper", input={"topic": "clocks"}, params={"n": 2})
    tree.begin("t", "r", "outline", "task", input="outline it")
    tree.begin_agent("a", "t", "Senior Researcher", model="gpt-x")
    tree.begin("l", "a", "gpt-x", "llm", input=[{"role": "user"}])
    tree.usage("l", input=10, output=5, cache_read=3, request="req-1")
    tree.usage("l", input=10, output=5, cache_read=3, request="req-1")
    tree.end("l", output="call the tool")
    tree.begin("tool", "a", "search", "tool_call", input={"q": "clocks"})
    tree.end("tool", error=failed("ToolError", "no network"), tags={"attempt": 1})
    tree.handoff("h", "a", "writer", note={"task": "write"})
    tree.end("a")
    tree.end("t", output="the outline")
    tree.end("t", output="again")
    tree.end_run("r", output="the paper")

    row = only_run(session)
    assert (row.name, row.status, row.params) == ("write a paper", "finished", {"n": 2})
    assert row.tags == {"framework": "crew", "team": "a"}
    steps = by_name(session, row.run)
    root, task, call, tool = (steps[name] for name in ("write a paper", "outline", "gpt-x", "search"))
    assert (root.parent, task.parent, call.parent, tool.parent) == (None, root.step, task.step, task.step)
    assert (root.agent, task.agent, call.agent, tool.agent) == (
        "lead",
        "lead",
        "Senior-Researcher",
        "Senior-Researcher",
    )
    assert (tool.status, tool.error) == ("error", "ToolError: no network")
    assert (steps["hand off to writer"].kind, steps["hand off to writer"].agent) == ("handoff", "Senior-Researcher")
    detail = session.runs.get(row.run)
    assert {agent.agent: agent.role for agent in detail.agents}["Senior-Researcher"] == "Senior Researcher"
    assert call.tokens is not None
    assert (call.tokens.input, call.tokens.cache_read, call.tokens.output) == (10, 3, 5)
    assert session.runs.verify(row.run).complete


def test_inside_a_run_of_the_program_it_is_a_step_of_that_run(session: Session) -> None:
    tree = Tree("crew", session=session)
    with session.run("mine") as run:
        tree.begin_run("r", "kickoff")
        tree.begin_run("r2", "a crew in a crew")
        tree.end_run("r2")
        tree.begin("s", "r", "still heard", "task")
        tree.end("s")
        tree.end_run("r", output=1)
        with run.step("after"):
            pass

    row = only_run(session)
    assert (row.name, row.status) == ("mine", "finished")
    assert [(step.name, step.status) for step in session.runs.steps(row.run)] == [
        ("kickoff", "ok"),
        ("a crew in a crew", "ok"),
        ("still heard", "ok"),
        ("after", "ok"),
    ]
    assert "r" not in tree


def test_code_inside_of_a_step_writes_in_its_name_from_several_threads(session: Session) -> None:
    tree = Tree("crew", session=session)
    tree.begin_run("r", "run")
    tree.begin("a", "r", "tool a", "tool_call")
    inside = threading.Barrier(2)

    def work(number: int) -> None:
        with tree.inside("a"):
            inside.wait(10)
            step = tracecraft.current_step()
            assert step is not None
            with step.step(f"own {number}"):
                pass
            inside.wait(10)
        assert tracecraft.current_step() is None

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    tree.end("a")
    tree.end_run("r")

    steps = by_name(session, only_run(session).run)
    assert steps["own 0"].parent == steps["own 1"].parent == steps["tool a"].step


def test_a_failed_run_says_why(session: Session) -> None:
    tree = Tree("crew", session=session)
    tree.begin_run("r", "run")
    tree.end_run("r", error=ValueError("no model"))

    row = only_run(session)
    detail = session.runs.get(row.run)
    assert (row.status, detail.error) == ("failed", {"type": "ValueError", "message": "no model"})


def test_what_is_not_known_is_passed_over(session: Session) -> None:
    tree = Tree("crew", session=session)
    tree.begin("s", "nobody", "lost")
    tree.begin_agent("a", "nobody", "x")
    tree.end("s")
    tree.usage("s", input=1)
    tree.end_run("r")
    tree.begin_run("r", "run")
    tree.begin_run("r", "again")
    tree.end_run("r")
    tree.begin("late", "r", "late")

    assert [step.name for step in session.runs.steps(only_run(session).run)] == ["run"]


def test_the_end_of_a_run_waits_for_nobody_and_the_end_of_the_program_delivers(session: Session) -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, session.project, session.settings.values["server"]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (said.stdout, said.stderr) == ("True\n", "")
    assert only_run(session).status == "finished"


def test_without_a_bus_nothing_is_held_up_and_nothing_is_lost(session: Session, project: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, project, NOBODY], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "True\n"
    assert session.runs.list() == []
    asyncio.run(deliver_spools(session.settings, project=project))
    assert [(row.name, row.status) for row in session.runs.list()] == [("short", "finished")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Senior Researcher", "Senior-Researcher"),
        ("Élodie", "Elodie"),
        ("研究员", "agent-fb2f4efd"),
        ("", "agent"),
        (None, "agent"),
        ("x" * 100, "x" * 64),
        ("a.b>c*", "a-b-c"),
    ],
    ids=["words", "accents", "no latin letters", "empty", "none", "long", "wildcards"],
)
def test_any_text_is_a_name_on_the_bus(text: str | None, name: str) -> None:
    assert Actors().name(text) == name


def test_two_agents_have_two_names() -> None:
    actors = Actors()
    assert [actors.name(text) for text in ("a b", "a.b", "a b", "x" * 70, "x" * 71)] == [
        "a-b",
        "a-b-2",
        "a-b",
        "x" * 64,
        "x" * 60 + "-2",
    ]


async def test_a_callback_that_fails_is_told_once_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @guarded
    def breaks(value: int) -> Any:
        return 1 // value

    @guarded
    async def breaks_later(value: int) -> Any:
        return 1 // value

    with caplog.at_level(logging.WARNING):
        assert (breaks(1), breaks(0), breaks(0)) == (1, None, None)
        assert (await breaks_later(1), await breaks_later(0)) == (1, None)
    assert [record.getMessage().split(" failed")[0].rpartition(".")[2] for record in caplog.records] == [
        "breaks",
        "breaks_later",
    ]
