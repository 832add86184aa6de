"""The structure of a run without its data: who took part, the tree of steps, who wrote to whom.

It stands in columns, because 100,000 steps must open in an instant; texts are numbers into one list of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

STATUS: Final = ("open", "ok", "error")
"""Words of `StepColumns.status`."""


class AgentMark(msgspec.Struct, frozen=True, kw_only=True):
    """An agent in a run. Times are microseconds since 1970, the server's clock."""

    agent: str
    run: str
    first_seq: int
    started: int
    ended: int | None = None
    model: str | None = None
    role: str | None = None
    status: str = "open"


class StepColumns(msgspec.Struct, kw_only=True):
    """One step a row, in the order in which they began (a step whose beginning is missing: its end)."""

    id: list[str] = []
    run: list[int] = []
    agent: list[int] = []
    name: list[int] = []
    kind: list[int] = []
    task: list[int] = []
    """-1: none."""
    parent: list[int] = []
    """Row of the step inside of which it is; -1: none."""
    status: list[int] = []
    """Number into `STATUS`."""
    first_seq: list[int] = []
    last_seq: list[int] = []
    """0: it did not end."""
    started: list[int] = []
    """Microseconds since 1970, the writer's clock."""
    duration: list[int] = []
    """Microseconds; -1: it did not end."""

    def __len__(self) -> int:
        return len(self.id)


class MessageColumns(msgspec.Struct, kw_only=True):
    """One message a row."""

    seq: list[int] = []
    time: list[int] = []
    """Microseconds since 1970, the server's clock."""
    sender: list[int] = []
    recipient: list[int] = []
    """-1: everybody."""
    kind: list[int] = []

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True, slots=True)
class StepMark:
    """One row of the steps, in words. Times in microseconds."""

    row: int
    id: str
    run: str
    agent: str
    name: str
    kind: str
    task: str | None
    parent: int | None
    """Row of the step inside of which it is."""
    status: str
    first_seq: int
    last_seq: int | None
    started: int
    duration: int | None


class Skeleton(msgspec.Struct, kw_only=True, dict=True):
    """``skeleton.json.zst``."""

    names: list[str] = []
    agents: list[AgentMark] = []
    steps: StepColumns = msgspec.field(default_factory=StepColumns)
    messages: MessageColumns = msgspec.field(default_factory=MessageColumns)

    def step(self, row: int) -> StepMark:
        """One step."""
        at, names = self.steps, self.names
        return StepMark(
            row=row,
            id=at.id[row],
            run=names[at.run[row]],
            agent=names[at.agent[row]],
            name=names[at.name[row]],
            kind=names[at.kind[row]],
            task=names[at.task[row]] if at.task[row] >= 0 else None,
            parent=at.parent[row] if at.parent[row] >= 0 else None,
            status=STATUS[at.status[row]],
            first_seq=at.first_seq[row],
            last_seq=at.last_seq[row] or None,
            started=at.started[row],
            duration=at.duration[row] if at.duration[row] >= 0 else None,
        )

    def step_row(self, step: str) -> int | None:
        """The row of a step, by its id."""
        rows: dict[str, int] | None = self.__dict__.get("_rows")
        if rows is None:
            rows = self.__dict__["_rows"] = {id_: row for row, id_ in enumerate(self.steps.id)}
        return rows.get(step)

    def matches(self) -> bool:
        """Whether all columns are of one length and all numbers into the names are in their range."""
        lengths = {len(column) for column in msgspec.structs.astuple(self.steps)}
        lengths_of_messages = {len(column) for column in msgspec.structs.astuple(self.messages)}
        texts: list[Any] = [self.steps.run, self.steps.agent, self.steps.name, self.steps.kind, self.steps.task]
        texts += [self.messages.sender, self.messages.recipient, self.messages.kind]
        highest = max((max(column, default=-1) for column in texts), default=-1)
        return len(lengths) == 1 and len(lengths_of_messages) == 1 and highest < len(self.names)
