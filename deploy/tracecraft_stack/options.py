"""What a stack is asked to be, and what it reports while it comes up, runs and goes down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tracecraft_core.local import data_dir

if TYPE_CHECKING:
    from collections.abc import Callable


class Durability(StrEnum):
    """What an acknowledged write survives besides a crash of nats-server, which it always does."""

    INTERVAL = "interval"
    """Flushed to disk once a second: a crash of the operating system can cost the last second."""
    DURABLE = "durable"
    """Flushed before every acknowledgement: nothing acknowledged is lost; writes are slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Which servers run, where their data is, and on which ports (0: last time's, the default, or a free one)."""

    data: Path = field(default_factory=data_dir)
    durability: Durability = Durability.INTERVAL
    postgres: bool = True
    artifacts: bool = True
    """SeaweedFS."""
    bridge: bool = True
    """Needs PostgreSQL."""
    nats_port: int = 0
    monitor_port: int = 0
    postgres_port: int = 0
    s3_port: int = 0
    bridge_port: int = 0
    fsync: bool = True
    """``False`` for a throw-away stack: PostgreSQL does not wait for the disk, SeaweedFS is killed after a second."""
    restart: bool = True
    """Bring back a server that dies."""


def dump_options(options: StackOptions) -> str:
    """The options as JSON, for the command line of a supervisor in the background."""
    return json.dumps({**asdict(options), "data": str(options.data.absolute())})


def load_options(dumped: str) -> StackOptions:
    """What `dump_options` wrote."""
    fields = json.loads(dumped)
    return StackOptions(**{**fields, "data": Path(fields["data"]), "durability": Durability(fields["durability"])})


class Change(StrEnum):
    """What happened to a server."""

    READY = "ready"
    DIED = "died"
    RESTARTED = "restarted"
    FAILED = "failed"
    """It could not be brought back; the next attempt follows."""
    STOPPED = "stopped"
    NOTICE = "notice"
    """Something the operator should know."""


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One thing that happened to one server; ``server`` is ``stack`` for the whole."""

    server: str
    change: Change
    seconds: float = 0.0
    """How long that took."""
    detail: str = ""


def say_nothing(_event: StackEvent) -> None:
    """The reporter of those who do not want to know."""


if TYPE_CHECKING:
    Report = Callable[[StackEvent], None]
    """Called from any thread, one event at a time."""
