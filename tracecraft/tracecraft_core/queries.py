"""What can be asked of the bridge: subject ``tcsvc.<project>.<verb>``, JSON each way (docs/reference/queries.md).

An answer is a JSON object of the verb's answer type. A refusal has the headers ``Nats-Service-Error`` (text) and
``Nats-Service-Error-Code`` (400 bad question, 404 nothing there, 409 cannot be done now, 500 the bridge failed on it,
503 a store is away) and the body ``{"error": …, "hint": …}``, with ``kind`` and ``name`` when nothing of that name is
there (404). Lists come in pages: pass ``next`` of an answer as ``cursor`` of the next question. Times are RFC 3339,
UTC, with microseconds. An answer includes everything that the log held when the question came.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

PAGE: Final = 100
"""Rows of a page when the question does not say."""
MAX_PAGE: Final = 1_000
"""Most rows of a page; a page ends sooner when it would not fit into one message."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all questions."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers; what is not known is null."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Disjoint buckets of tokens that count (not those of replays, forks and repeated reports)."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list."""

    run: str
    name: str
    status: str
    """``running``, ``finished``, ``failed``, ``killed`` or ``crashed``."""
    agent: str
    """Who started it."""
    started: str
    ended: str | None = None
    seconds: float | None = None
    """From start to end; of a running one, until it was last heard."""
    purpose: str = "original"
    parent: str | None = None
    steps: int = 0
    errors: int = 0
    tokens: Tokens = Tokens()
    cost: float | None = None
    """USD; null when nothing is known."""
    unpriced: int = 0
    """Model calls whose cost is not known: with them ``cost`` is a lower bound."""
    reason: str | None = None
    """Why it crashed or failed."""
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    """Newest value of each (``NaN``, ``Infinity``, ``-Infinity`` as strings); at most 50 keys, all in `RunDetail`."""


class RunsList(Question, frozen=True, kw_only=True):
    """``runs.list`` → `RunsPage`."""

    filter: str = ""
    """``metrics.loss < 0.3 and tags.team = "a"`` (docs/reference/filters.md)."""
    sort: str = "-started"
    """``started``, ``ended``, ``name``, ``cost``, ``seconds``, ``metrics.<key>``, ``params.<key>``; ``-``: down."""
    limit: int = PAGE
    cursor: str | None = None


class RunsPage(Answer, frozen=True, kw_only=True):
    """One page of runs."""

    runs: list[RunRow]
    next: str | None = None
    notes: list[str] = []
    """With the first page: what the question probably did not mean, as ``no run has metric lss: did you mean loss?``"""


class RunQuestion(Question, frozen=True, kw_only=True):
    """What many verbs ask: ``run`` is an id, or the end of one (``k3x9qa``) that only one run has."""

    run: str


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a run; numbers that JSON does not have are strings."""

    key: str
    agent: str
    """Empty: of the whole run."""
    value: Any
    step: int
    time: str
    first: Any
    min: Any
    max: Any
    mean: Any
    points: int
    nans: int = 0
    infinite: int = 0
    """Points that are infinite: ``min`` and ``max`` count them, ``mean`` does not."""


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that took part in a run."""

    agent: str
    status: str
    """``running``, ``ok`` or ``error``; when its run is over and nobody said how it ended, ``ended``, and ``lost``
    after a crash."""
    started: str
    ended: str | None = None
    model: str | None = None
    role: str | None = None
    steps: int = 0
    errors: int = 0
    last_step: str | None = None
    tokens: Tokens = Tokens()
    cost: float | None = None
    unpriced: int = 0
    """Model calls whose cost is not known."""


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run."""

    name: str
    sha256: str
    size: int
    media_type: str
    kind: str
    agent: str
    time: str
    run: str
    step: str | None = None


class BundleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run's newest bundle."""

    sha256: str
    size: int
    root: str
    """Root of its hash tree, 64 hexadecimal digits."""
    first_seq: int
    last_seq: int
    made: str


class RunDetail(Answer, frozen=True, kw_only=True):
    """``runs.get`` (a `RunQuestion`): everything about a run but its steps and points."""

    row: RunRow
    project: str
    epoch: int
    first_seq: int
    last_seq: int
    events: int
    points: int
    problems: int
    trace: str
    origin: dict[str, Any]
    """host, pid, command, python, tracecraft, git_commit, git_branch, git_dirty."""
    error: dict[str, str] | None
    last_step: str | None
    forked_from: str | None
    forked_at: int | None
    agents: list[AgentRow]
    metrics: list[MetricSummary]
    artifacts: list[ArtifactRow]
    children: list[RunRow]
    bundle: BundleRow | None
    cut: list[str] = []
    """Fields of very large runs that are not whole: ``metrics``, ``artifacts``, ``row.params``, …"""


class StepsList(RunQuestion, frozen=True, kw_only=True):
    """``runs.steps`` → `StepsPage`, in the order in which they began."""

    agent: str | None = None
    errors: bool = False
    """Only those that did not end well."""
    limit: int = PAGE
    cursor: str | None = None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A step."""

    step: str
    agent: str
    name: str
    kind: str
    status: str
    """``ok``, ``error``, ``lost`` or ``open``."""
    started: str
    ended: str | None
    seconds: float | None
    first_seq: int
    last_seq: int | None
    parent: str | None = None
    task: str | None = None
    error: str | None = None
    input: str | None = None
    """Preview; the value is in the entry ``input_seq`` or in the blob."""
    output: str | None = None
    input_seq: int | None = None
    output_seq: int | None = None
    input_blob: str | None = None
    output_blob: str | None = None
    tokens: Tokens | None = None
    cost: float | None = None
    model: str | None = None
    provider: str | None = None


class StepsPage(Answer, frozen=True, kw_only=True):
    """One page of steps."""

    steps: list[StepRow]
    next: str | None = None


class OutlineGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Steps of one agent that have the same parent group, name and kind."""

    agent: str
    path: list[str]
    """Names from the root down to this group."""
    kind: str
    steps: int
    errors: int
    open: int
    seconds: float
    """Sum of the durations."""
    longest: float
    first_seq: int
    started: str
    ended: str | None
    example: str
    """Id of the first of them."""
    tokens: Tokens
    cost: float | None


class Outline(Answer, frozen=True, kw_only=True):
    """``runs.outline`` (a `RunQuestion`): the tree with equal siblings taken together, small for any run."""

    groups: list[OutlineGroup]
    cut: bool = False
    """Whether there are more groups than one answer has room for."""


class SearchQuestion(Question, frozen=True, kw_only=True):
    """``runs.search`` → `SearchPage`: steps that have a text in their name, input, output or error."""

    text: str
    """Upper and lower case are the same; no pattern."""
    sessions: bool = False
    """Only runs that are sessions of coding agents (they have a tag ``session``)."""
    run: str | None = None
    agent: str | None = None
    since: str | None = None
    """RFC 3339; by the time at which it was recorded."""
    limit: int = PAGE
    cursor: str | None = None


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """A place where the text was found; a step may have several."""

    run: str
    title: str
    """The run's name."""
    source: str | None
    """The run's tag ``source``."""
    step: str
    agent: str
    name: str
    kind: str
    status: str
    started: str | None
    where: str
    """``name``, ``input``, ``output`` or ``error``."""
    snippet: str
    """The text around it."""
    seq: int
    """The entry of the log that has all of it."""


class SearchPage(Answer, frozen=True, kw_only=True):
    """What was found, the newest first."""

    hits: list[SearchHit]
    next: str | None = None


class PlotQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.plot`` → `Plot`: curves of at most ``points`` points each, from the roll-ups."""

    keys: list[str]
    agent: str = ""
    points: int = 500


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One curve: parallel lists. With ``raw`` a point is one that was logged, else the roll-up of a range of steps."""

    key: str
    raw: bool
    steps: list[int]
    mean: list[Any]
    min: list[Any]
    max: list[Any]
    times: list[str]


class Plot(Answer, frozen=True, kw_only=True):
    """Curves of one run."""

    curves: list[Curve]


class PointsQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.points`` → `PointsPage`: raw points in the order in which they came."""

    key: str
    limit: int = MAX_PAGE
    cursor: str | None = None


class PointsPage(Answer, frozen=True, kw_only=True):
    """Raw points: ``[step, value, time, agent]``."""

    points: list[tuple[int, Any, str, str]]
    next: str | None = None


class WriterReport(msgspec.Struct, frozen=True, kw_only=True):
    """What of one writer arrived."""

    writer: str
    agent: str
    received: int
    last_number: int
    final: int | None
    """Number of its last event; null when it never said that it was done."""
    missing: list[tuple[int, int]]
    """Ranges of numbers that did not arrive."""
    duplicates: int
    """Repeats that were recognised and not counted."""
    dropped: int
    host: str | None = None
    """The machine on which it wrote, when it said so; only of one that never said that it was done."""


class RunVerification(Answer, frozen=True, kw_only=True):
    """``runs.verify`` (a `RunQuestion`): is everything there, once?"""

    run: str
    status: str
    complete: bool
    """Every writer said that it was done, nothing is missing, nothing was dropped, no log gap, no lost file."""
    writers: list[WriterReport]
    unfinished: list[str]
    """Writers that never said that they were done: what they had not handed over when they died has no number here."""
    problems: list[tuple[int, str, str]]
    """Events that could not be read: sequence, subject, why."""
    gaps: list[tuple[int, int, str]]
    """Holes of the log inside the run: first and last sequence, why."""
    missing_blobs: list[str]
    """Hashes that events speak of and the artifact store does not have."""
    damaged_blobs: list[str]
    """Only with ``deep``: hashes whose content is another."""
    bundle: str | None
    """``ok``, what is wrong with it, or null when there is none."""
    entries: int = 0
    """Of the run in the log, those of its children too."""


class VerifyQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.verify``."""

    deep: bool = False
    """Read every file again and compare its hash."""


class CostQuestion(Question, frozen=True, kw_only=True):
    """``cost`` → `CostReport`."""

    by: str = "agent"
    """``agent``, ``model``, ``task``, ``day`` or ``run``."""
    run: str | None = None
    since: str | None = None


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one of them cost."""

    key: str | None
    calls: int
    tokens: Tokens
    cost: float | None
    unpriced: int
    not_counted: int
    """Calls of replays and forks, and repeated reports."""


class CostReport(Answer, frozen=True, kw_only=True):
    """Costs, highest first, in USD; other currencies are in ``other``."""

    rows: list[CostRow]
    total: CostRow
    other: dict[str, float]
    price_versions: list[str]


class EntriesQuestion(Question, frozen=True, kw_only=True):
    """``log.entries`` → `EntriesPage`: entries of the log, in its order."""

    run: str | None = None
    """Those of this run, and what happened in the project meanwhile (memory, tasks, messages, agents)."""
    only_run: bool = False
    """With ``run``: only what names the run."""
    families: list[str] | None = None
    """Only these: ``msg``, ``all``, ``receipt``, ``agent``, ``run``, ``memory``, ``task``, ``other``."""
    first_seq: int = 0
    last_seq: int | None = None
    epoch: int | None = None
    limit: int = MAX_PAGE
    cursor: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log, as it stands in a bundle too."""

    seq: int
    time: str
    subject: str
    headers: dict[str, Any] = {}
    body: Any = None
    """JSON; null when the body is empty or no JSON."""
    raw: str | None = None
    """Base64 of a body that is no JSON."""


class EntriesPage(Answer, frozen=True, kw_only=True):
    """One page of entries."""

    entries: list[Entry]
    next: str | None = None


class StateQuestion(Question, frozen=True, kw_only=True):
    """``state.at`` → `State`; exactly one of ``seq``, ``time``, ``step``; a step needs its run."""

    seq: int | None = None
    time: str | None = None
    step: str | None = None
    """As it was when this step began."""
    run: str | None = None
    """Only steps of this run and those inside of it count; its life of the log is meant. An id or the end of one."""
    epoch: int | None = None
    cursor: str | None = None


class MemoryValue(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the shared memory as it was."""

    value: Any
    revision: int
    seq: int
    agent: str | None = None


class TaskAt(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it was: its record, and the fence, the record's revision."""

    record: dict[str, Any]
    fence: int
    seq: int


class MailAt(msgspec.Struct, frozen=True, kw_only=True):
    """A message that had not been acknowledged."""

    id: int
    sender: str
    text: str
    kind: str
    state: str
    """``stored`` or ``fetched``."""
    everybody: bool = False


class LastStep(msgspec.Struct, frozen=True, kw_only=True):
    """The newest step of an agent, which may have ended."""

    run: str
    step: str
    name: str
    kind: str
    status: str
    """As it was then: ``open``, ``ok``, ``error``."""
    seq: int


class State(Answer, frozen=True, kw_only=True):
    """Everything as it was when the log ended with ``seq``."""

    seq: int
    time: str | None
    memory: dict[str, MemoryValue]
    tasks: dict[str, TaskAt]
    mailboxes: dict[str, list[MailAt]]
    """By agent that had a mailbox (it had joined, or somebody had written to it), oldest first."""
    steps: dict[str, LastStep]
    """By agent."""
    next: str | None = None
    """There is more of this state: ask again with it as ``cursor`` (`cut.together` puts the pages together)."""


class PutQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.put`` → `Upload`: where to put a file. Asked again for the same content it resumes."""

    sha256: str
    size: int
    media_type: str = "application/octet-stream"


class Upload(Answer, frozen=True, kw_only=True):
    """How to put it. With ``exists`` there is nothing to do."""

    exists: bool
    id: str | None = None
    url: str | None = None
    """PUT the whole file here (small files)."""
    part_size: int | None = None
    """Large files go in parts of this size; ask ``artifacts.part`` for the address of each."""
    done: list[int] = []
    """Numbers of the parts that are there already."""
    headers: dict[str, str] = {}
    """To be sent with the PUT; they are signed, and so is the length: nothing longer or shorter is taken."""
    expires: str | None = None


class PartQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.part`` → `PartUrls`."""

    id: str
    parts: list[int]
    """From 1, at most 100."""


class PartUrls(Answer, frozen=True, kw_only=True):
    """Addresses to PUT parts to, by part number as text."""

    urls: dict[str, str]
    expires: str


class CommitQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.commit`` → `Committed`: the bridge reads the file back and compares the hash."""

    id: str


class Committed(Answer, frozen=True, kw_only=True):
    """The file is in the store."""

    sha256: str
    size: int


class GetQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.get`` → `Download`, by hash, or by run and name."""

    sha256: str | None = None
    run: str | None = None
    name: str | None = None
    failed: bool = False
    """The store did not give it: the bridge looks whether it is damaged."""
    place: int = 0
    """The byte from which on it did not give it."""


class Download(Answer, frozen=True, kw_only=True):
    """Where the file is; the URL opens nothing else and ends at ``expires``."""

    sha256: str
    size: int
    url: str
    expires: str
    name: str | None = None
    media_type: str = "application/octet-stream"
    damaged: bool = False
    """The store is well and cannot give it."""


class ArtifactsQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.list`` → `ArtifactsPage`."""

    run: str | None = None
    limit: int = PAGE
    cursor: str | None = None


class ArtifactsPage(Answer, frozen=True, kw_only=True):
    """One page of files."""

    artifacts: list[ArtifactRow]
    next: str | None = None


class BundleAnswer(Answer, frozen=True, kw_only=True):
    """``runs.bundle`` (a `RunQuestion`): the bundle up to now, made if need be, and where to fetch it."""

    run: str
    bundle: BundleRow
    url: str
    expires: str


class ImportQuestion(Question, frozen=True, kw_only=True):
    """``runs.import`` → `Imported`: a bundle that was put into the artifact store."""

    sha256: str


class Imported(Answer, frozen=True, kw_only=True):
    """What the import did."""

    run: str
    root: str
    new: bool
    """False: it was here already, nothing changed."""
    entries: int


class DeleteQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.delete`` → `Deleted`; its children are deleted with it."""

    by: str
    reason: str | None = None


class Deleted(Answer, frozen=True, kw_only=True):
    """What was deleted."""

    runs: list[str]


VERBS: Final[dict[str, tuple[type[Question], type[Answer]]]] = {
    "runs.list": (RunsList, RunsPage),
    "runs.get": (RunQuestion, RunDetail),
    "runs.steps": (StepsList, StepsPage),
    "runs.outline": (RunQuestion, Outline),
    "runs.search": (SearchQuestion, SearchPage),
    "runs.plot": (PlotQuestion, Plot),
    "runs.points": (PointsQuestion, PointsPage),
    "runs.verify": (VerifyQuestion, RunVerification),
    "runs.bundle": (RunQuestion, BundleAnswer),
    "runs.import": (ImportQuestion, Imported),
    "runs.delete": (DeleteQuestion, Deleted),
    "log.entries": (EntriesQuestion, EntriesPage),
    "state.at": (StateQuestion, State),
    "cost": (CostQuestion, CostReport),
    "artifacts.put": (PutQuestion, Upload),
    "artifacts.part": (PartQuestion, PartUrls),
    "artifacts.commit": (CommitQuestion, Committed),
    "artifacts.get": (GetQuestion, Download),
    "artifacts.list": (ArtifactsQuestion, ArtifactsPage),
}
"""Every verb with its question and its answer."""
