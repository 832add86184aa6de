"""Plans and cycles, as pure functions."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft_core import plans
from tracecraft_core.errors import InvalidPlan
from tracecraft_core.tasks import find_cycle

if TYPE_CHECKING:
    from collections.abc import Mapping

names = st.integers(0, 9).map(lambda number: f"T{number}")
graphs = st.dictionaries(names, st.lists(names, max_size=4), max_size=10)


def reaches(after: Mapping[str, list[str]], start: str, goal: str) -> bool:
    """The definition that `find_cycle` is compared with: one or more steps from ``start`` to ``goal``."""
    found: set[str] = set()
    edge = set(after.get(start, ()))
    while edge - found:
        found |= edge
        edge = {before for task in edge for before in after.get(task, ())}
    return goal in found


@given(graphs)
def test_a_cycle_is_found_exactly_when_some_task_comes_after_itself(after: dict[str, list[str]]) -> None:
    cycle = find_cycle(after)
    assert (cycle is not None) == any(reaches(after, task, task) for task in after)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert len(cycle) == len(set(cycle)) + 1
        assert all(before in after[task] for task, before in itertools.pairwise(cycle))


def test_a_deep_plan_without_a_cycle_is_no_trouble() -> None:
    assert find_cycle({f"T{number}": [f"T{number - 1}"] for number in range(1, 50_000)}) is None


@given(graphs)
def test_a_plan_has_every_task_once_and_dependencies_first(after: dict[str, list[str]]) -> None:
    text = json.dumps([{"id": task, "after": before} for task, before in after.items()])
    if find_cycle(after) is not None:
        with pytest.raises(InvalidPlan, match=r"round in a circle: \S+ -> "):
            plans.parse(text)
        return
    ordered = [task.id for task in plans.parse(text)]
    assert sorted(ordered) == sorted(after)
    place = {task: number for number, task in enumerate(ordered)}
    for task, befores in after.items():
        assert all(place[before] < place[task] for before in befores if before in place)


def test_tasks_that_do_not_depend_on_each_other_keep_the_order_of_the_file() -> None:
    ordered = plans.parse("[{id: C}, {id: A, after: [D]}, {id: B}, {id: D}]")
    assert [task.id for task in ordered] == ["C", "D", "A", "B"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file: must be a list of tasks under tasks:"),
        ("a: 1", "tasks: is missing"),
        ("just text", "for example"),
        ("tasks: [{id: x, after: b}]", r"tasks\.0\.after: must be a list"),
        ("tasks: [{id: 5}]", r"tasks\.0\.id: must be text: put it into quotes"),
        ("tasks: [{id: x, owner: me}]", r"owner: is not a field of a task; fields are id, title, after, data"),
        ("tasks: [x]", r"tasks\.0: must be a task with its fields"),
        ("tasks: {x: 1}", "tasks: must be a list of tasks under tasks:"),
        ("tasks: 5", "tasks: must be a list of tasks under tasks:"),
        ("tasks: [{id: x}, {id: x}]", "'x' is named twice"),
        ("tasks: [{title: x}]", r"tasks\.0\.id: is missing"),
        ("tasks: [{id: x.}]", r"tasks\.0\.id: task id 'x\.': has an empty token"),
        ("tasks: [{id: x, after: [y, '*']}]", r"tasks\.0\.after\.1"),
        ("tasks: [{id: x}]\nowner: me", "owner: is not a field of a plan"),
        ("\t", "neither YAML nor JSON"),
    ],
)
def test_what_is_not_a_plan_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(InvalidPlan, match=says):
        plans.parse(text, "plan.yaml")
