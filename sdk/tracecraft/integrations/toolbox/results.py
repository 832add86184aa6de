"""What the tools return: one struct a tool. What is not known, or not there, is left out.

Fields named in a docstring as words of peers are what other agents wrote: escaped and cut by `bounds`, never ours.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all results."""

    notices: list[str] = field(default_factory=list)
    """What the agent should know now, in tracecraft's words: a claim that is lost, mail that waits."""


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what stands in a result."""


class WhoamiResult(Result, frozen=True, kw_only=True):
    """Of `whoami`."""

    agent: str
    project: str
    server: str
    bus: str
    """``connected``, or why not."""
    session: str | UnsetType = UNSET
    run: str | UnsetType = UNSET
    holds: list[str] = []
    """Tasks."""
    files: list[str] = []
    """Reserved globs."""
    unread: int | UnsetType = UNSET


class AgentSeen(Part, frozen=True, kw_only=True):
    """An agent."""

    agent: str
    online: bool
    tasks: list[str] = []
    """What it holds."""
    since: str | UnsetType = UNSET
    last_seen: str | UnsetType = UNSET
    last_event: str | UnsetType = UNSET
    you: bool = False


class AgentsResult(Result, frozen=True, kw_only=True):
    """Of `agents`."""

    agents: list[AgentSeen]
    left_out: str | UnsetType = UNSET


class HandoffSeen(Part, frozen=True, kw_only=True):
    """What the one who settled or released a task left: words of peers."""

    note: str | UnsetType = UNSET
    to: str | UnsetType = UNSET
    next_action: str | UnsetType = UNSET
    result: Any = UNSET
    changed_files: list[str] = []
    verified: str | UnsetType = UNSET
    """The command that was run as evidence, and how it ended."""
    left_out: str | UnsetType = UNSET


class TaskSeen(Part, frozen=True, kw_only=True):
    """A task; ``title``, ``data`` and ``handoff`` are words of peers."""

    task: str
    state: str
    title: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    after: list[str] = []
    attempt: int = 0
    changed: str | UnsetType = UNSET
    created_by: str | UnsetType = UNSET
    data: Any = UNSET
    handoff: HandoffSeen | UnsetType = UNSET
    left_out: str | UnsetType = UNSET


class TasksResult(Result, frozen=True, kw_only=True):
    """Of `tasks`."""

    tasks: list[TaskSeen]
    total: int
    """How many match."""
    left_out: str | UnsetType = UNSET


class AddTaskResult(Result, frozen=True, kw_only=True):
    """Of `add_task`."""

    task: str
    state: str
    revision: int


class ClaimResult(Result, frozen=True, kw_only=True):
    """Of `claim`: the task is yours; ``title``, ``data`` and ``handoff`` are words of peers."""

    task: str
    fence: int
    """The fencing token: larger for every later claim."""
    lease_s: int
    attempt: int
    again: bool = False
    """You held it already."""
    title: str | UnsetType = UNSET
    data: Any = UNSET
    handoff: HandoffSeen | UnsetType = UNSET
    """Of an earlier attempt."""
    took_over_from: str | UnsetType = UNSET
    """The agent whose lease lapsed: look for what it left half done."""
    left_out: str | UnsetType = UNSET


class CompleteResult(Result, frozen=True, kw_only=True):
    """Of `complete`."""

    task: str
    state: str
    revision: int
    repeated: bool = False
    """You had settled it like this before: nothing changed."""
    message: int | UnsetType = UNSET
    """Id of the message to the one who is handed over to."""
    registered: bool | UnsetType = UNSET
    """False: no agent of that name has been here yet; the message waits for it."""


class NotDone(Part, frozen=True, kw_only=True):
    """One of several things that was not done."""

    what: str
    why: str


class ReleaseResult(Result, frozen=True, kw_only=True):
    """Of `release`."""

    released: list[str]
    """Tasks, and globs of files."""
    failed: list[NotDone] = []


class SendResult(Result, frozen=True, kw_only=True):
    """Of `send`."""

    id: int
    to: str
    registered: bool = True
    """False: no agent of that name has been here yet; the message waits for it."""


class Letter(Part, frozen=True, kw_only=True):
    """A message; ``text``, ``kind``, ``thread`` and ``data`` are words of its sender."""

    id: int
    sender: str
    to: str
    """You, or ``all``."""
    time: str
    kind: str
    text: str
    thread: str | UnsetType = UNSET
    reply_to: int | UnsetType = UNSET
    data: Any = UNSET
    again: int = 0
    """How often it was delivered before, and not acknowledged."""
    left_out: str | UnsetType = UNSET


class InboxResult(Result, frozen=True, kw_only=True):
    """Of `inbox`."""

    messages: list[Letter]
    more: int = 0
    """Unread messages that wait behind these."""


class Waited(Part, frozen=True, kw_only=True):
    """A task that was waited for; ``note`` is in words of peers."""

    task: str
    state: str
    owner: str | UnsetType = UNSET
    note: str | UnsetType = UNSET
    next_action: str | UnsetType = UNSET


class WaitResult(Result, frozen=True, kw_only=True):
    """Of `wait`."""

    reason: str
    """``done``, ``message``, ``failed`` (a task failed or is blocked), ``owner_lost`` or ``timeout``."""
    seconds: float
    tasks: list[Waited] = []
    messages: list[Letter] = []
    explanation: str | UnsetType = UNSET


class MemoryGetResult(Result, frozen=True, kw_only=True):
    """Of `memory_get`; ``value`` and ``part`` are words of whoever wrote them."""

    key: str
    exists: bool
    revision: int
    """Give it to memory_set as if_revision; 0: never written."""
    value: Any = UNSET
    part: str | UnsetType = UNSET
    """Of a value that is too large: a piece of its JSON."""
    left_out: str | UnsetType = UNSET
    by: str | UnsetType = UNSET
    time: str | UnsetType = UNSET


class MemorySetResult(Result, frozen=True, kw_only=True):
    """Of `memory_set`."""

    key: str
    revision: int | UnsetType = UNSET
    value: Any = UNSET
    """The merged value."""
    left_out: str | UnsetType = UNSET


class EntrySeen(Part, frozen=True, kw_only=True):
    """A key with the beginning of its value's JSON, which are words of whoever wrote them."""

    key: str
    revision: int
    time: str
    preview: str
    size: int
    """Characters of its JSON."""
    by: str | UnsetType = UNSET


class MemoryListResult(Result, frozen=True, kw_only=True):
    """Of `memory_list`."""

    entries: list[EntrySeen]
    total: int
    left_out: str | UnsetType = UNSET


class ReserveResult(Result, frozen=True, kw_only=True):
    """Of `reserve`."""

    reserved: list[str]
    until: str
    """Until when, in words."""


class LogResult(Result, frozen=True, kw_only=True):
    """Of `log`."""

    run: str
    logged: list[str]
    """What was taken."""
    waiting: int = 0
    """Events that the bus does not have yet: they are safe on disk, and are delivered when it is back."""
    status: str | UnsetType = UNSET
    """How the run ended, when it did."""


class RunSeen(Part, frozen=True, kw_only=True):
    """A run; names, params and tags are words of whoever ran it."""

    run: str
    name: str
    status: str
    agent: str
    started: str
    seconds: float | UnsetType = UNSET
    steps: int = 0
    errors: int = 0
    tokens: int = 0
    cost_usd: float | UnsetType = UNSET
    params: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    reason: str | UnsetType = UNSET
    left_out: str | UnsetType = UNSET


class TookPart(Part, frozen=True, kw_only=True):
    """An agent of a run."""

    agent: str
    status: str
    steps: int = 0
    errors: int = 0
    tokens: int = 0
    cost_usd: float | UnsetType = UNSET
    model: str | UnsetType = UNSET


class StepSeen(Part, frozen=True, kw_only=True):
    """A step of a run; name, input, output and error are words of whoever ran it."""

    step: str
    agent: str
    name: str
    kind: str
    status: str
    started: str
    seconds: float | UnsetType = UNSET
    task: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    input: str | UnsetType = UNSET
    output: str | UnsetType = UNSET


class RunsResult(Result, frozen=True, kw_only=True):
    """Of `runs`."""

    runs: list[RunSeen]
    agents: list[TookPart] = []
    artifacts: list[str] = []
    children: list[str] = []
    steps: list[StepSeen] = []
    next: str | UnsetType = UNSET
    """There is more: pass it as cursor."""
    hints: list[str] = []
    left_out: str | UnsetType = UNSET
