"""The row of a run, and of an agent in it."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  # msgspec reads the annotation
from typing import Final

import msgspec

from tracecraft_bridge.projection.table import Table


class RunRow(msgspec.Struct, gc=False):
    """A row of ``run``."""

    project: str
    run: str
    name: str
    agent: str
    started: str
    heard: str
    epoch: int
    first_seq: int
    last_seq: int
    status: str = "running"
    purpose: str = "original"
    begun: bool = False
    parent: str | None = None
    forked_from: str | None = None
    forked_at: int | None = None
    trace: str | None = None
    ended: str | None = None
    host: str | None = None
    pid: int | None = None
    command: str | None = None
    python: str | None = None
    tracecraft: str | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    error_type: str | None = None
    error_message: str | None = None
    reason: str | None = None
    last_step: str | None = None
    events: int = 0
    steps: int = 0
    errors: int = 0
    points: int = 0
    problems: int = 0
    dropped: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    unpriced: int = 0


class AgentRow(msgspec.Struct, gc=False):
    """A row of ``run_agent``."""

    project: str
    run: str
    agent: str
    started: str
    first_seq: int
    status: str = "running"
    ended: str | None = None
    model: str | None = None
    role: str | None = None
    steps: int = 0
    errors: int = 0
    last_step: str | None = None


class DeletedRow(msgspec.Struct, gc=False):
    """A row of ``run_deleted``."""

    project: str
    run: str
    epoch: int
    seq: int
    time: str
    by: str
    reason: str | None


RUNS: Final = Table("run", RunRow, ("project", "run"))
AGENTS: Final = Table("run_agent", AgentRow, ("project", "run", "agent"))
DELETED: Final = Table("run_deleted", DeletedRow, ("project", "run"))
