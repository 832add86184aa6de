"""Plans: many tasks from one YAML or JSON file, checked whole before anything is written.

This is where people write by hand, so it is validated by pydantic, whose errors name the field.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import pydantic
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict

from tracecraft_core import names, tasks
from tracecraft_core.errors import InvalidPlan

_TaskId = Annotated[str, AfterValidator(names.task)]


class PlannedTask(BaseModel):
    """One task of a plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _TaskId
    title: str | None = None
    after: tuple[_TaskId, ...] = ()
    """Tasks that must be done first; of this plan or already there."""
    data: Annotated[Any, AfterValidator(msgspec.to_builtins)] = None
    """Any JSON that the worker needs; YAML's dates become text."""


class Plan(BaseModel):
    """A plan file: ``tasks:`` and a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[PlannedTask, ...]


_NO_LIST: Final = "must be a list of tasks under tasks:"

_MEANINGS: Final = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "string_type": "must be text: put it into quotes",
    "extra_forbidden": f"is not a field of a task; fields are {', '.join(PlannedTask.model_fields)}",
    "model_type": "must be a task with its fields, for example {id: S1.parse}",
    "dict_type": "must be a task with its fields, for example {id: S1.parse}",
}
"""What pydantic's types of errors mean to somebody who writes a plan."""


def parse(text: str, source: str = "the plan") -> list[PlannedTask]:
    """The tasks of a plan, dependencies first, otherwise in the order of the file.

    Raises `InvalidPlan` with the field for anything that is not a plan, a task that is named twice, and a cycle.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidPlan(f"{source} is neither YAML nor JSON: {error}") from None
    if isinstance(content, list):
        content = {"tasks": content}
    try:
        plan = Plan.model_validate(content)
    except pydantic.ValidationError as error:
        raise InvalidPlan(f"{source}: {_first_problem(error)}; for example 'tasks: [{{id: S1.parse}}]'") from None
    return _ordered(plan.tasks, source)


def _first_problem(error: pydantic.ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if len(problem["loc"]) > 1:
        meaning = _MEANINGS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        return f"{where}: {meaning}"
    if problem["type"] == "extra_forbidden":
        return f"{where}: is not a field of a plan, which has tasks: only"
    return f"{where or 'the file'}: {'is missing' if problem['type'] == 'missing' else _NO_LIST}"


def _ordered(planned: tuple[PlannedTask, ...], source: str) -> list[PlannedTask]:
    by_id: dict[str, PlannedTask] = {}
    for task in planned:
        if task.id in by_id:
            raise InvalidPlan(f"{source}: task {task.id!r} is named twice; give each task its own id")
        by_id[task.id] = task
    cycle = tasks.find_cycle({task.id: task.after for task in planned})
    if cycle:
        raise InvalidPlan(f"{source}: the dependencies go round in a circle: {' -> '.join(cycle)}; remove one of them")
    ordered: dict[str, PlannedTask] = {}
    stack = [(task.id, False) for task in reversed(planned)]
    while stack:
        id_, ready = stack.pop()
        if id_ in ordered or id_ not in by_id:
            continue
        if ready:
            ordered[id_] = by_id[id_]
        else:
            stack.append((id_, True))
            stack.extend((before, False) for before in reversed(by_id[id_].after))
    return list(ordered.values())
