"""What stands in the events of a run: subject ``tc.<project>.run.<run>.<agent>.<event>``, one body for each event.

Every event carries ``Nats-Msg-Id: <writer>:<number>``: the writer's own id and its counter, from 1, without holes.
So a repeat is recognised for ever, and what is missing has a number. Times are microseconds since 1970 of the writer's
clock; durations are its monotonic clock's. A value that does not fit in `INLINE_BYTES` is a `Blob`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from tracecraft_core.bodies import Body

RunStatus = Literal["running", "finished", "failed", "killed", "crashed"]
EndStatus = Literal["finished", "failed", "killed"]
Purpose = Literal["original", "fork", "replay", "eval"]
StepKind = Literal["llm", "tool_call", "task", "message", "handoff", "retrieval", "other"]
StepStatus = Literal["ok", "error"]
Cause = Literal["original", "retry", "fork", "replay"]
ArtifactKind = Literal["file", "image", "text", "model", "stdout", "stderr", "log"]

INLINE_BYTES: Final = 16 * 1024
"""A value whose JSON is larger goes to SeaweedFS, and the event carries a `Blob`."""
PREVIEW: Final = 512
"""Characters of a value that are shown where there is no room for all of it."""
MAX_POINTS: Final = 2_000
"""Most points in one ``metric`` event."""
MAX_NAME: Final = 250
"""Characters in the name of a metric, a parameter or a tag, and in the provider's id of a call."""
MAX_COUNT: Final = 2**40
"""Most tokens of a kind that one call may use, so that the totals of a run stay in 64 bits."""
MAX_COST: Final = 1e8
"""Most that one call may cost, in its currency."""


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """A value that lies in SeaweedFS under its hash."""

    sha256: str
    """64 hexadecimal digits."""
    size: int
    """Bytes."""
    media_type: str = "application/json"
    preview: str = ""
    """The first `PREVIEW` characters, redacted like the rest."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An exception, or another reason for which something failed."""

    type: str
    message: str = ""
    trace: str = ""
    """The traceback as text."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a run was started."""

    host: str = ""
    pid: int = 0
    command: str = ""
    python: str = ""
    tracecraft: str = ""
    git_commit: str = ""
    git_branch: str = ""
    git_dirty: bool | None = None


class RunStarted(Body, frozen=True, kw_only=True):
    """``started``: the first event of a run. Another process that joins the run writes ``joined`` in its place."""

    name: str
    time: int
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    parent: str | None = None
    """The run inside of which this one is."""
    purpose: Purpose = "original"
    """Fork and replay runs are never counted as spend of their own where they repeat what was paid for."""
    forked_from: str | None = None
    forked_at: int | None = None
    """Sequence of the log."""
    trace: str | None = None
    """W3C trace id, 32 hexadecimal digits, when a ``traceparent`` was given; else it is made of the run's id."""
    span: str | None = None
    """The span of that ``traceparent``, 16 hexadecimal digits: inside of it the run was started."""
    origin: Origin = Origin()
    provisional: bool = False
    """Name and time are a guess, made before the beginning of the run was known; a ``started`` without this counts."""


class RunJoined(Body, frozen=True, kw_only=True):
    """``joined``: a further process writes into the run."""

    time: int
    origin: Origin = Origin()


class WriterLeft(Body, frozen=True, kw_only=True):
    """``left``: a process that had joined has written all it will write. Its number is the writer's last."""

    time: int
    dropped: int = 0
    """Records that the writer had to drop because its spool was full."""


class RunEnded(Body, frozen=True, kw_only=True):
    """``ended``: the run is over. Its number is the writer's last."""

    status: EndStatus
    time: int
    error: Failure | None = None
    dropped: int = 0


class RunCrashed(Body, frozen=True, kw_only=True):
    """``crashed``, written by the bridge: every process that wrote into the run is gone without having ended it."""

    reason: str
    last_step: str | None = None
    last_agent: str | None = None
    writers: list[str] = msgspec.field(default_factory=list)
    """The writers that fell silent."""


class RunDeleted(Body, frozen=True, kw_only=True):
    """``deleted``: nobody needs the run any more; the bridge forgets it and frees what it alone held."""

    by: str
    reason: str | None = None


class AgentStarted(Body, frozen=True, kw_only=True):
    """``agent.started``: an agent takes part in the run; its name is in the subject."""

    time: int
    model: str | None = None
    role: str | None = None


class AgentEnded(Body, frozen=True, kw_only=True):
    """``agent.ended``."""

    time: int
    status: StepStatus = "ok"
    error: Failure | None = None


class StepStarted(Body, frozen=True, kw_only=True):
    """``step.started``."""

    step: str
    """16 hexadecimal digits, unique in the run: it is the span id of a ``traceparent`` too."""
    name: str
    time: int
    kind: StepKind = "other"
    parent: str | None = None
    task: str | None = None
    """Task that it works on."""


class StepData(Body, frozen=True, kw_only=True):
    """``step.input`` and ``step.output``: what went in and what came out; logged again, the last counts."""

    step: str
    value: Any = None
    """Any JSON up to `INLINE_BYTES`."""
    blob: Blob | None = None
    """In place of ``value``."""
    redacted: dict[str, int] = msgspec.field(default_factory=dict)
    """How many times each rule replaced something."""
    time: int = 0
    """When it was logged; 0: not known."""


class StepEnded(Body, frozen=True, kw_only=True):
    """``step.ended``. It repeats what ``step.started`` said, so that it can be read alone."""

    step: str
    name: str
    time: int
    """When it ended."""
    duration: int
    """Microseconds, of the monotonic clock."""
    kind: StepKind = "other"
    parent: str | None = None
    task: str | None = None
    status: StepStatus = "ok"
    error: Failure | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)


class Usage(Body, frozen=True, kw_only=True):
    """``usage``: what one model call used, in disjoint buckets of tokens."""

    time: int
    step: str | None = None
    task: str | None = None
    provider: str | None = None
    model: str | None = None
    input: int = 0
    """Input tokens that were neither read from nor written to a cache."""
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """Output tokens without reasoning."""
    reasoning: int = 0
    cost: float | None = None
    """What the source says it cost; it wins over a price list. Left out when the source does not know."""
    currency: str = "USD"
    cause: Cause = "original"
    """``retry`` is paid for again; ``fork`` and ``replay`` repeat what was paid for and are never counted."""
    request: str | None = None
    """The provider's id of the call: the same call reported twice counts once."""


class Metric(Body, frozen=True, kw_only=True):
    """``metric``: points of the run (or of the agent in the subject), any number of them in one event."""

    points: list[tuple[str, Any, int | None, int]]
    """Each ``[key, value, step, time]``. NaN and infinities are the strings ``NaN``, ``Infinity``, ``-Infinity``;
    without a step a point is the next one of its key."""


class Params(Body, frozen=True, kw_only=True):
    """``param``: parameters, each any JSON; what was given at the start may be added to."""

    params: dict[str, Any]
    time: int


class Tags(Body, frozen=True, kw_only=True):
    """``tag``."""

    tags: dict[str, str]
    time: int


class Artifact(Body, frozen=True, kw_only=True):
    """``artifact``: a file that lies in SeaweedFS under its hash. Published after the upload."""

    name: str
    """Path inside the run, ``models/best.joblib``; logged again, the last counts."""
    sha256: str
    size: int
    time: int
    media_type: str = "application/octet-stream"
    kind: ArtifactKind = "file"
    step: str | None = None


class LogLine(Body, frozen=True, kw_only=True):
    """``log``: a line for people."""

    text: str
    time: int
    level: Literal["debug", "info", "warning", "error"] = "info"
    step: str | None = None


EVENTS: Final[dict[str, type[Body]]] = {
    "started": RunStarted,
    "joined": RunJoined,
    "left": WriterLeft,
    "ended": RunEnded,
    "crashed": RunCrashed,
    "deleted": RunDeleted,
    "agent.started": AgentStarted,
    "agent.ended": AgentEnded,
    "step.started": StepStarted,
    "step.input": StepData,
    "step.output": StepData,
    "step.ended": StepEnded,
    "usage": Usage,
    "metric": Metric,
    "param": Params,
    "tag": Tags,
    "artifact": Artifact,
    "log": LogLine,
}
"""The body of each event; a reader passes over events that it does not know."""
