"""`Plan`: what a run is asked for, by the caller, the place around the call, and the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft.recording.place import PLACE
from tracecraft.recording.system_metrics import interval
from tracecraft.recording.traceparent import TraceParent, given, parse
from tracecraft_core import ids, names
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_core.run_events import Purpose
    from tracecraft_core.settings import Settings

RUN_VARIABLE: Final = "TRACECRAFT_RUN"
"""Environment variable with the id of the run that the first run of a process joins."""
PROJECT_VARIABLE: Final = "TRACECRAFT_PROJECT"
"""Environment variable with the project of that run."""
TRACE_VARIABLE: Final = "TRACEPARENT"
"""Environment variable with the step inside of which a process works."""
PATIENCE_S: Final = 10.0
"""Seconds that the end of a run waits until all of it is acknowledged."""
LONGEST_NAME: Final = 256
"""Characters in a run's name."""

_adopted: set[tuple[int, str]] = set()
"""Runs that this process (by its id) has joined because the environment said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run was asked for, checked."""

    settings: Settings
    name: str
    id: str
    joins: bool
    """Whether another process has started it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)
    parent: str | None = None
    purpose: Purpose = "original"
    forked_from: str | None = None
    forked_at: int | None = None
    trace: TraceParent | None = None
    sampling_s: float | None = None
    """Seconds between two samples of the system's metrics."""
    patience_s: float = PATIENCE_S


def plan(
    settings: Settings,
    name: str | None,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, object] | None = None,
    parent: str | None = None,
    run_id: str | None = None,
    new_id: str | None = None,
    purpose: Purpose = "original",
    forked_from: str | None = None,
    forked_at: int | None = None,
    traceparent: str | None = None,
    system_metrics: bool | float = False,
    patience: float = PATIENCE_S,
) -> Plan:
    """Check what a run is asked for; what is not said comes from the place of the caller and the environment."""
    outer = None if (place := PLACE.get()) is None or place._book.project != settings.project else place._book.run
    if run_id and new_id:
        raise UsageError(f"run_id={run_id!r} joins a run and new_id={new_id!r} starts one: give one of them")
    adopted = None if run_id or new_id or outer else _from_environment(settings)
    joins = run_id or adopted
    if joins is None and (not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME):
        raise UsageError(f"run {name!r}: a name of 1 to {LONGEST_NAME} characters is expected, for example 'baseline'")
    if purpose not in ("original", "fork", "replay", "eval"):
        raise UsageError(f"purpose {purpose!r}: one of original, fork, replay, eval is expected")
    if outer is None and parent is None and joins is None:
        parent = _adopted_before()
    return Plan(
        settings=settings,
        name=name or "",
        id=names.run(joins or new_id or ids.run()),
        joins=joins is not None,
        params=params or {},
        tags=tags or {},
        parent=names.run(parent) if parent else (None if joins else outer),
        purpose=purpose,
        forked_from=names.run(forked_from) if forked_from else None,
        forked_at=forked_at,
        trace=_trace(traceparent, nested=outer is not None),
        sampling_s=interval(system_metrics),
        patience_s=patience,
    )


def _from_environment(settings: Settings) -> str | None:
    """The run that this process is told to join, once."""
    told = os.environ.get(RUN_VARIABLE)
    elsewhere = os.environ.get(PROJECT_VARIABLE, settings.project) != settings.project
    if not told or elsewhere or (os.getpid(), told) in _adopted:
        return None
    _adopted.add((os.getpid(), names.run(told)))
    return told


def _adopted_before() -> str | None:
    """The run that this process was told to join, and has joined: later runs are inside of it."""
    told = os.environ.get(RUN_VARIABLE)
    return told if told and (os.getpid(), told) in _adopted else None


def _trace(said: str | None, *, nested: bool) -> TraceParent | None:
    if said is not None:
        return given(said)
    told = os.environ.get(TRACE_VARIABLE)
    return parse(told) if told and not nested else None
