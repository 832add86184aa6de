"""What people are told of the id of a task: of a reservation's, which is made of its glob, the glob."""

from __future__ import annotations

import pytest

from tracecraft_core import reservations, task_ids
from tracecraft_core.errors import ClaimLost, NotFound

LONG = reservations.task_of("x" * 400)


@pytest.mark.parametrize(
    ("task", "said", "with_kind"),
    [
        ("S1.parse", "S1.parse", "task S1.parse"),
        (reservations.task_of("src/*.py"), "the reservation of src/*.py", "the reservation of src/*.py"),
        (reservations.task_of("\u202ea"), "the reservation of \\u202ea", "the reservation of \\u202ea"),
        (LONG, LONG, f"task {LONG}"),
        ("file", "file", "task file"),
        ("file.a=2G", "file.a=2G", "task file.a=2G"),
    ],
    ids=["work", "glob", "invisible", "long", "prefix", "broken"],
)
def test_people_are_told_the_glob_of_a_reservation(task: str, said: str, with_kind: str) -> None:
    assert (task_ids.spoken(task), task_ids.spoken_kind(task)) == (said, with_kind)


def test_errors_speak_of_the_glob_and_keep_the_id_as_a_fact() -> None:
    task = reservations.task_of("src/a.py")
    lost, unknown = ClaimLost(task, "bob", "claimed"), NotFound("task", task)
    assert str(lost).startswith("you no longer hold the reservation of src/a.py: bob has it now")
    assert (lost.task, str(unknown), unknown.name) == (task, "no reservation of src/a.py", task)
