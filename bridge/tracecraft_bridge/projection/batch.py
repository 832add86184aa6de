"""What the entries of one transaction change, table by table, until it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_bridge.projection.copy_text import MILLION, stamp
from tracecraft_bridge.projection.table import Table
from tracecraft_core import subjects

if TYPE_CHECKING:
    from tracecraft_bridge.prices import Prices
    from tracecraft_bridge.projection.artifact_row import ArtifactRow
    from tracecraft_bridge.projection.attempt_row import AttemptRow
    from tracecraft_bridge.projection.entry import Entry
    from tracecraft_bridge.projection.label_row import ParamRow, TagRow
    from tracecraft_bridge.projection.metric_row import BucketRow, Series
    from tracecraft_bridge.projection.run_row import DeletedRow
    from tracecraft_bridge.projection.run_state import RunState
    from tracecraft_bridge.projection.step_row import OpenStep, StepRow
    from tracecraft_bridge.projection.writers import Writer

EARLIEST_US: Final = 946_684_800 * MILLION
"""2000-01-01: no event of a run is older."""
AHEAD_US: Final = 300 * MILLION
"""How far the writer's clock may be ahead of the server's."""
MAX_PROBLEMS: Final = 1_000
"""Problems of a run that are kept; all are counted."""

RunKey = tuple[str, str]
StepKey = tuple[str, str, str]


class ProblemRow(msgspec.Struct, gc=False):
    """A row of ``run_problem``."""

    project: str
    run: str
    epoch: int
    seq: int
    time: str
    subject: str
    problem: str


PROBLEMS: Final = Table("run_problem", ProblemRow, ("project", "run", "epoch", "seq"))


class Batch:
    """Collected changes. Rows to append are lines for COPY; rows to replace are by their key, so the last counts."""

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self.late = False
        """Whether the event at hand may come after events that its writer wrote later."""
        self.runs: dict[RunKey, RunState] = {}
        """Runs that it changes."""
        self.deletions: dict[RunKey, DeletedRow] = {}
        self.problems: dict[tuple[str, str, int, int], ProblemRow] = {}
        self.writers: dict[int, Writer] = {}
        self.agents: set[tuple[str, str, str]] = set()
        self.params: dict[tuple[str, str, str], ParamRow] = {}
        self.tags: dict[tuple[str, str, str], TagRow] = {}
        self.artifacts: dict[tuple[str, str, str], ArtifactRow] = {}

        self.opened: dict[StepKey, OpenStep] = {}
        """Open steps that are new or changed."""
        self.closed: set[StepKey] = set()
        """No longer in ``step_open``."""
        self.ended: dict[StepKey, list[StepRow]] = {}
        self.old_steps: dict[StepKey, StepRow] = {}
        """Ended steps of the table that some entry may speak of."""
        self.revived: list[StepRow] = []
        """Lost steps of the table that are not lost after all."""
        self.patched: dict[StepKey, OpenStep] = {}

        self.chunks: dict[RunKey, list[str]] = {}
        self.series: dict[int, Series] = {}
        self.buckets: dict[int, BucketRow] = {}

        self.costs: dict[RunKey, list[str]] = {}
        self.requests: dict[tuple[str, str], str] = {}
        """Provider's ids of calls that were counted, by project, with the run."""

        self.messages: list[str] = []
        self.deliveries: list[str] = []
        self.versions: list[str] = []
        self.attempts: dict[tuple[str, str, int, int], AttemptRow] = {}
        """Attempts at tasks that changed, by project, task, attempt and epoch."""
        self.newest_attempts: dict[tuple[str, str, int], AttemptRow | None] = {}

    def problem(self, run: RunState, entry: Entry, text: str) -> None:
        """Note what is wrong with an event; a second thing of the same event is added to the first."""
        key = (run.project, run.run, entry.epoch, entry.seq)
        noted = self.problems.get(key)
        if noted is not None:
            noted.problem = f"{noted.problem}; {text}"[:400]
            return
        assert run.row is not None
        run.row.problems += 1
        if run.row.problems <= MAX_PROBLEMS:
            subject = subjects.run_event(run.project, run.run, entry.parts.agent or "", entry.parts.event or "")
            self.problems[key] = ProblemRow(*key, stamp(entry.time), subject, text[:400])

    def time(self, run: RunState, entry: Entry, said: int) -> int:
        """The writer's time of an event, or the server's when the writer's cannot be."""
        if EARLIEST_US <= said <= entry.time + AHEAD_US:
            return said
        self.problem(run, entry, "its time cannot be, the server's was taken")
        return entry.time

    def drop_run(self, key: RunKey) -> None:
        """Forget what was collected for a run."""
        self.chunks.pop(key, None)
        self.costs.pop(key, None)
        self.requests = {request: run for request, run in self.requests.items() if (request[0], run) != key}
        self.opened = {name: row for name, row in self.opened.items() if name[:2] != key}
        self.ended = {name: rows for name, rows in self.ended.items() if name[:2] != key}
        self.old_steps = {name: row for name, row in self.old_steps.items() if name[:2] != key}
        self.patched = {name: row for name, row in self.patched.items() if name[:2] != key}
        self.problems = {name: row for name, row in self.problems.items() if name[:2] != key}
        self.params = {name: row for name, row in self.params.items() if name[:2] != key}
        self.tags = {name: row for name, row in self.tags.items() if name[:2] != key}
        self.artifacts = {name: row for name, row in self.artifacts.items() if name[:2] != key}
        self.agents = {name for name in self.agents if name[:2] != key}
        self.writers = {
            place: writer for place, writer in self.writers.items() if (writer.row.project, writer.row.run) != key
        }
        self.series = {place: one for place, one in self.series.items() if (one.row.project, one.row.run) != key}
        self.buckets = {place: row for place, row in self.buckets.items() if (row.project, row.run) != key}
