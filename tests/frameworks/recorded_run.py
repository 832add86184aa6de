"""What the log says of a run, as plain data that a test compares with the truth in a line."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.stub_model import Usage
from tracecraft import AsyncSession
from tracecraft_core import subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracecraft_core.queries import RunDetail, StepRow, Tokens


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step and what lies in it, in the order in which it began."""

    agent: str
    name: str
    kind: str
    status: str
    """``ok``, ``error``, ``lost`` or ``open``."""
    input: Any
    output: Any
    error: str | None
    id: str
    tokens: Usage
    cost: float | None
    model: str | None
    children: list[RecordedStep] = field(default_factory=list)

    @property
    def all(self) -> Iterator[RecordedStep]:
        """This one and all inside of it, depth first."""
        yield self
        for child in self.children:
            yield from child.all

    def outline(self, depth: int = 0) -> Iterator[str]:
        """A line for each: ``kind name (agent)``, and its status where it is not ok."""
        yield f"{'  ' * depth}{self.kind} {self.name} ({self.agent}){'' if self.status == 'ok' else ' ' + self.status}"
        for child in self.children:
            yield from child.outline(depth + 1)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run that is over, as the bridge knows it."""

    detail: RunDetail
    steps: list[RecordedStep]
    """The outermost ones."""

    @property
    def name(self) -> str:
        return self.detail.row.name

    @property
    def status(self) -> str:
        return self.detail.row.status

    @property
    def agents(self) -> dict[str, str]:
        """Names and how they ended."""
        return {one.agent: one.status for one in self.detail.agents}

    @property
    def tokens(self) -> Usage:
        """All that it used."""
        return _usage(self.detail.row.tokens)

    @property
    def cost(self) -> float | None:
        """USD."""
        return self.detail.row.cost

    @property
    def errors(self) -> list[tuple[str, str | None]]:
        """Name and error of each step that failed."""
        return [(step.name, step.error) for step in self.all if step.status == "error"]

    @property
    def all(self) -> list[RecordedStep]:
        """All steps, depth first."""
        return [each for step in self.steps for each in step.all]

    def outline(self) -> list[str]:
        """Its tree as lines, see `RecordedStep.outline`."""
        return [line for step in self.steps for line in step.outline()]

    def step(self, name: str) -> RecordedStep:
        """The first step of a name."""
        return next(step for step in self.all if step.name == name)

    def of_kind(self, kind: str) -> list[RecordedStep]:
        """All steps of a kind, depth first."""
        return [step for step in self.all if step.kind == kind]


class Recorded:
    """``recorded()``: the run of this test, once it has ended and is mirrored; ``recorded.runs(2)``: two."""

    def __init__(self, server: str, project: str) -> None:
        self.server, self.project = server, project

    def __call__(self, patience: float = 30.0) -> RecordedRun:
        """The one run of the project. It blocks: in a test with a loop, ``await asyncio.to_thread(recorded)``."""
        (run,) = self.runs(1, patience)
        return run

    def runs(self, count: int, patience: float = 30.0) -> list[RecordedRun]:
        """All runs of the project, by their start, as soon as so many have ended."""
        # In a thread of its own: the test may have a loop.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(self._runs(count, patience))).result()

    def mark(self, revision: int) -> str | None:
        """The run, or the run and the step, in which a revision of the shared memory was written."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(self._mark(revision))).result()

    async def _mark(self, revision: int) -> str | None:
        async with Bus(ServerOptions(servers=(self.server,))) as bus:
            stored = await bus.get(f"KV_{subjects.MEMORY}", revision)
        assert stored is not None
        return stored.headers.get(subjects.RUN)

    async def _runs(self, count: int, patience: float) -> list[RecordedRun]:
        await self._ended(count, patience)
        async with AsyncSession(server=self.server, project=self.project, agent="reader", mode="oneshot") as session:
            rows = await session.runs.list(sort="started")
            assert len(rows) == count, [(row.name, row.status) for row in rows]
            return [await self._run(session, row.run) for row in rows]

    async def _ended(self, count: int, patience: float) -> None:
        """Wait for the ends of so many runs to come by in the log."""
        ended = subjects.run_event(self.project, "*", "*", "ended")
        seen: set[str] = set()
        async with (
            Bus(ServerOptions(servers=(self.server,))) as bus,
            Puller(bus, subjects.LOG, watcher_config([ended], "all")) as log,
        ):
            while len(seen) < count:
                delivery = await log.next(patience)
                assert delivery is not None, f"{len(seen)} runs have ended within {patience:.0f} s, expected {count}"
                seen.add(delivery.stored.subject.split(".")[3])

    async def _run(self, session: AsyncSession, run: str) -> RecordedRun:
        detail = await session.runs.get(run)
        rows = [row async for row in session.runs.steps(run)]
        verified = await session.runs.verify(run)
        assert verified.complete, verified
        async with Bus(ServerOptions(servers=(self.server,))) as bus:
            values = {seq: await _value(bus, seq) for row in rows for seq in (row.input_seq, row.output_seq) if seq}
        return RecordedRun(detail, _nested(rows, lambda seq: values.get(seq or 0)))


async def _value(bus: Bus, seq: int) -> Any:
    """What was logged there; of a value that went into the store, its beginning."""
    stored = await bus.get(subjects.LOG, seq)
    assert stored is not None, seq
    body = json.loads(stored.data)
    return body["value"] if body.get("blob") is None else body["blob"]["preview"]


def _nested(rows: list[StepRow], value: Callable[[int | None], Any]) -> list[RecordedStep]:
    made = {
        row.step: RecordedStep(
            row.agent,
            row.name,
            row.kind,
            row.status,
            value(row.input_seq),
            value(row.output_seq),
            row.error,
            row.step,
            _usage(row.tokens),
            row.cost,
            row.model,
        )
        for row in rows
    }
    outermost: list[RecordedStep] = []
    for row in rows:
        parent = made.get(row.parent or "")
        (outermost if parent is None else parent.children).append(made[row.step])
    return outermost


def _usage(tokens: Tokens | None) -> Usage:
    if tokens is None:
        return Usage()
    return Usage(tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning)
