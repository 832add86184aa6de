"""The tree of a run's steps, as ``runs inspect`` shows it."""

from __future__ import annotations

from tracecraft_cli.runs_view.tree import lines
from tracecraft_core.queries import StepRow

START = "2026-11-22T12:00:00.000000Z"


def step(name: str, status: str, first_seq: int, parent: str | None = None) -> StepRow:
    return StepRow(
        step=name,
        agent="ann",
        name=f"step {name}",
        kind="other",
        status=status,
        started=START,
        ended=START,
        seconds=1.0,
        first_seq=first_seq,
        last_seq=first_seq + 1,
        parent=parent,
    )


def test_a_step_that_ended_and_began_again_is_shown_with_both_of_its_ends() -> None:
    rows = [step("a", "ok", 1), step("b", "ok", 3, "a"), step("a", "lost", 5)]
    shown = lines(rows, START, 10.0, 100, bars=False)
    assert [line.split()[1:5] for line in shown] == [
        ["ms", "ann", "step", "a"],
        ["ms", "ann", "step", "b"],
        ["ms", "ann", "step", "a"],
    ]
    assert [line.endswith("LOST") for line in shown] == [False, False, True]


def test_steps_that_are_inside_of_each_other_are_shown_once_each() -> None:
    rows = [step("a", "ok", 1, "b"), step("b", "ok", 2, "a"), step("c", "ok", 3, "c")]
    assert len(lines(rows, START, 10.0, 100, bars=False)) == 3
