"""`Step`: one thing that an agent does in a run, with what went in, what came out, and how it ended."""

from __future__ import annotations

import os
import random
import re
import time as clock
from typing import TYPE_CHECKING, Any, Final, get_args

from tracecraft.recording.failure import reported, succeeded
from tracecraft.recording.logbook import moment
from tracecraft.recording.place import PLACE, around, enter, leave
from tracecraft.recording.scope import Scope
from tracecraft.recording.traceparent import TraceParent
from tracecraft_core import names
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import Failure, StepEnded, StepKind, StepStarted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tracecraft.recording.logbook import Logbook
    from tracecraft.recording.place import Place

LONGEST_NAME: Final = 256
"""Characters of a step's name that are kept."""
_KINDS: Final = frozenset(get_args(StepKind))

_ids: Final = random.Random()
os.register_at_fork(after_in_child=_ids.seed)


class Step(Scope):
    """A step: ``with agent.step("search", kind="tool_call") as step``; ``async with`` does the same.

    An exception that leaves the block is recorded and goes on. Steps nest by where the code is; `step` says it
    outright. Outside of a block, `start` and `end` do what its ends do.
    """

    __slots__ = ("_began", "_began_at", "_parent", "_refusal", "_tags", "kind", "name")

    def __init__(
        self,
        book: Logbook,
        agent: str,
        name: str,
        kind: StepKind = "other",
        *,
        task: str | None = None,
        parent: Place | None = None,
        model: str | None = None,
        id: str | None = None,
    ) -> None:
        if type(name) is not str or not name:
            raise UsageError(f"step {name!r}: a name is expected, for example 'search'")
        if kind not in _KINDS:
            raise UsageError(f"kind {kind!r}: one of {', '.join(get_args(StepKind))} is expected")
        outer = parent or around(book)
        if task is None:
            task = None if outer is None else outer.task
        else:
            names.task(task)
        super().__init__(book, agent, f"{_ids.getrandbits(64) or 1:016x}" if id is None else _checked(id), task)
        self.name = book.text(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")
        self.kind: StepKind = kind
        self._parent = (None if outer is None else outer.step_id) or book.root_step
        self._began = 0
        self._began_at = 0
        self._tags: dict[str, str] = {}
        self._refusal: Failure | None = None
        self.model = model

    @property
    def id(self) -> str:
        """16 hexadecimal digits, unique in the run."""
        assert self.step_id is not None
        return self.step_id

    @property
    def traceparent(self) -> str:
        """W3C trace context for what this step calls: pass it on as header or in ``TRACEPARENT``."""
        return str(TraceParent(self._book.trace, self.id))

    def start(self, *, time: float | None = None) -> Step:
        """Record that it begins, or began at ``time`` (seconds since 1970). Raises `UsageError` the second time."""
        if self._began:
            raise UsageError(f"step {self.name!r} has begun already: make another one for every time")
        self._began_at = moment(time)
        self._book.event(
            self.agent_name,
            "step.started",
            StepStarted(
                step=self.id,
                name=self.name,
                time=self._began_at,
                kind=self.kind,
                parent=self._parent,
                task=self.task,
            ),
        )
        self._began = clock.perf_counter_ns()
        return self

    def end(self, error: BaseException | Failure | None = None, *, time: float | None = None) -> None:
        """Record that it has ended, well or with ``error``; the second time nothing happens.

        ``error`` is an exception, or a `Failure` where somebody else tells of one. ``time`` is when it ended, in
        seconds since 1970 (default: now, and the duration is that of the monotonic clock).
        """
        if self.over:
            return
        error = self._refusal or error
        at = moment(time)
        if time is None:
            duration = (clock.perf_counter_ns() - self._began) // 1000 if self._began else 0
        else:
            duration = max(0, at - self._began_at) if self._began else 0
        self.over = True
        self._book.late_event(
            self.agent_name,
            "step.ended",
            StepEnded(
                step=self.id,
                name=self.name,
                time=at,
                duration=duration,
                kind=self.kind,
                parent=self._parent,
                task=self.task,
                status="ok" if succeeded(error) else "error",
                error=reported(error, self._book.text),
                tags=self._tags,
            ),
        )

    def __enter__(self) -> Step:
        self.start()
        enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end(error)
        leave(self)

    async def __aenter__(self) -> Step:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def step(self, name: str, kind: StepKind = "other", *, task: str | None = None, id: str | None = None) -> Step:
        """A step inside this one, also from another thread or task; ``id`` as in `RunAgent.step`."""
        return Step(self._book, self.agent_name, name, kind, task=task, parent=self, model=self.model, id=id)

    def log_input(self, value: Any, *, time: float | None = None) -> None:
        """Record what goes in, as it is now: any JSON, or anything else by its representation."""
        self._book.data(self.agent_name, "step.input", self.id, value, time)

    def log_output(self, value: Any, *, time: float | None = None) -> None:
        """Record what comes out, as it is now; logged again, the last counts."""
        self._book.data(self.agent_name, "step.output", self.id, value, time)

    def set_tag(self, key: str, value: object) -> None:
        """Tag the step; recorded when it ends."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Tag the step; recorded when it ends."""
        self._tags = {**self._tags, **self._book.tags(tags)}


def step_of(
    run: Scope,
    agent: str,
    name: str,
    kind: StepKind = "other",
    *,
    task: str | None = None,
    parent: Step | None = None,
    model: str | None = None,
) -> Step:
    """A step of any agent of a run, for one who tells of what others do."""
    return Step(run._book, agent, name, kind, task=task, parent=parent, model=model)


def refuse(step: Step, refusal: Failure | None) -> None:
    """Have a step end with this failure, whatever its end is told: its code was refused, and returned words of it."""
    step._refusal = refusal


def _checked(id: object) -> str:
    if not isinstance(id, str) or not re.fullmatch(r"[0-9a-f]{16}", id) or not id.strip("0"):
        raise UsageError(f"step id {id!r}: 16 hexadecimal digits are expected, for example '00f067aa0ba902b7'")
    return id


def current_step() -> Step | None:
    """The step around the code that runs now, if there is one."""
    place = PLACE.get()
    while place is not None and (place.over or not isinstance(place, Step)):
        place = place._outer
    return place if isinstance(place, Step) else None
