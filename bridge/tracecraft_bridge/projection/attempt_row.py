"""The row of an attempt at a task."""

from __future__ import annotations

from typing import Final

import msgspec

from tracecraft_bridge.projection.table import Table


class AttemptRow(msgspec.Struct, gc=False):
    """A row of ``task_attempt``."""

    project: str
    task: str
    attempt: int
    agent: str
    session: str | None
    fence: int | None
    epoch: int
    first_seq: int
    last_seq: int
    claimed: str
    ended: str | None = None
    outcome: str = "claimed"
    run: str | None = None
    note: str | None = None


ATTEMPTS: Final = Table("task_attempt", AttemptRow, ("project", "task", "attempt", "epoch"))
