"""What is the same for our tools in every framework: a refusal is an error of its step, and the end is no crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.said import log
from tests.support.stub_model import call, say

if TYPE_CHECKING:
    from tests.frameworks.recorded_run import RecordedRun
    from tests.support.stub_model import StubModel
    from tracecraft import Session

HELD = "t.held"
"""The task that somebody else holds (fixture ``boss``)."""
PREFIX = "tracecraft_"


def script_refusals(model: StubModel, prefix: str = PREFIX) -> None:
    """The model claims what somebody else holds, then nothing that there could be, then what is free."""
    tasks = (HELD, "not a name", "t.free")
    model.answer(*(call(f"{prefix}claim", {"task": task}) for task in tasks), say("done"))


def assert_refusals(run: RecordedRun, prefix: str = PREFIX) -> None:
    """Two calls are errors, with code and message; the third is none, and the run none the less a good one."""
    calls = [step for step in run.of_kind("tool_call") if step.name == f"{prefix}claim"]
    told = [(step.status, (step.error or "").partition(": ")) for step in calls]
    assert [(status, code) for status, (code, _, _) in told] == [
        ("error", "held"),
        ("error", "invalid_arguments"),
        ("ok", ""),
    ]
    assert told[0][1][2].startswith(f"claim refused: boss holds {HELD} since ")
    assert "'not a name'" in told[1][1][2]
    assert run.status == "finished"


def script_claim(model: StubModel, prefix: str = PREFIX) -> None:
    """A program that offers our tools takes a task, and does not settle it."""
    model.answer(call(f"{prefix}claim", {"task": "t.free"}), tool=f"{prefix}claim")


def assert_left(boss: Session, agent: str) -> None:
    """That program has ended: its agent has left, and what it had taken is free again."""
    events = [entry.subject for entry in log(boss, "agent.>") if entry.subject.split(".")[3] == agent]
    assert [subject.rpartition(".")[2] for subject in events] == ["joined", "left"]
    task = boss.tasks.show("t.free")
    assert task is not None
    assert (task.record.state, task.record.attempt) == ("open", 1)
