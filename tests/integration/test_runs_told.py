"""Runs that are told afterwards, from what somebody else wrote down: with times and ids of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tracecraft import Session, UsageError
from tracecraft_core.run_events import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_stack import Stack

MARCH = 1_772_366_400.25
"""2026-03-01 12:00:00.25 UTC."""


@pytest.fixture
def session(stack: Stack, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))
    with Session(server=stack.state.nats_url, project=project, agent="teller") as opened:
        yield opened


def test_a_run_is_told_with_its_own_times_and_ids(session: Session) -> None:
    run = session.run("yesterday", new_id="claude-1a2b").start(time=MARCH)
    agent = run.agent("coder")
    agent.start(time=MARCH + 1)
    step = agent.step("edit", "tool_call", id="00000000000000ab").start(time=MARCH + 2)
    step.log_input({"file": "a.py"}, time=MARCH + 2)
    step.log_usage(input=3, output=4, model="m", time=MARCH + 2)
    inner = step.step("lint", "tool_call", id="00000000000000ac").start(time=MARCH + 3)
    inner.end(Failure(type="LintError", message="line 3", trace="at line 3"), time=MARCH + 3.5)
    step.end(time=MARCH + 4)
    agent.end(time=MARCH + 5)
    run.end(time=MARCH + 6)

    row = session.runs.get("claude-1a2b").row
    assert (row.run, row.name, row.status, row.errors) == ("claude-1a2b", "yesterday", "finished", 1)
    assert (row.started, row.ended) == ("2026-03-01T12:00:00.250000Z", "2026-03-01T12:00:06.250000Z")
    steps = {step.step: step for step in session.runs.steps("claude-1a2b")}
    assert (steps["00000000000000ab"].started, steps["00000000000000ab"].seconds) == (
        "2026-03-01T12:00:02.250000Z",
        2.0,
    )
    failed = steps["00000000000000ac"]
    assert (failed.parent, failed.seconds, failed.status) == ("00000000000000ab", 0.5, "error")
    assert failed.error == "LintError: line 3"


def test_a_run_fails_by_what_somebody_else_says_of_it(session: Session) -> None:
    run = session.run("told").start()
    run.end(error=Failure(type="Overloaded", message="429 with key sk-ant-api03-" + "x" * 40))

    told = session.runs.get(run.id)
    assert told.row.status == "failed"
    assert told.error is not None
    assert told.error["type"] == "Overloaded"
    assert "xxxx" not in told.error["message"]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0, 1e18, "noon"], ids=str)
def test_a_time_that_is_none_is_refused_and_nothing_is_recorded(session: Session, time: Any) -> None:
    with pytest.raises(UsageError, match=r"seconds since 1970 are expected, as time\.time\(\) gives"):
        session.run("never").start(time=time)


@pytest.mark.parametrize("id", ["", "1", "0" * 16, "A" * 16, "g" * 16, 5], ids=repr)
def test_a_step_id_that_is_none_is_refused(session: Session, id: Any) -> None:
    with session.run("ids") as run, pytest.raises(UsageError, match=r"16 hexadecimal digits are expected"):
        run.step("s", id=id)


def test_joining_and_starting_at_once_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        session.run("both", run_id="a", new_id="b")
