"""What the tools take: one struct a tool, each field with its bounds and its meaning for a model.

No ``from __future__ import annotations`` here: msgspec reads the types when the schemas are made.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tracecraft_core.bodies import Settlement, TaskState
from tracecraft_core.names import MAX_KEY, MAX_TOKEN

MAX_TEXT: Final = 100_000
"""Characters of a text that a model may write; a message on the bus has room for 256 KiB."""
MAX_WAIT_S: Final = 300
"""Seconds that a tool may block: clients give up sooner or later."""
WAIT_S: Final = 50
"""Seconds that `wait` blocks when it is not told: the clients of today give a tool 60."""
MOST: Final = 100
"""Items in a list that a model may pass."""
JSON_TYPES: Final = ["object", "array", "string", "number", "boolean", "null"]

TaskId = Annotated[
    str, Meta(min_length=1, max_length=MAX_KEY, description="Task id, dotted, such as S1.parse.", examples=["S1.parse"])
]
Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_KEY,
        description="Which tasks: an id, or a wildcard over its dotted parts: * is one part, a last > the rest (S1.*).",
    ),
]
AgentName = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_TOKEN, description="Name of an agent; agents() lists them.", examples=["bob"]),
]
Key = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_KEY, description="Key in the shared memory, dotted.", examples=["findings.json"]),
]
Note = Annotated[str, Meta(max_length=MAX_TEXT, description="What whoever comes next should know.")]
Offset = Annotated[int, Meta(ge=0, description="Leave out so many: an earlier answer's left_out says when to use it.")]
Lease = Annotated[
    int,
    Meta(ge=5, le=86_400, description="Seconds of the lease; it is renewed for you, so leave it out."),
]
Files = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=512)]],
    Meta(max_length=MOST, description="Paths or globs, relative to the repository, such as src/parser/**."),
]


class Arguments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all arguments."""


class WhoamiArguments(Arguments, frozen=True, kw_only=True):
    """Nothing."""


class AgentsArguments(Arguments, frozen=True, kw_only=True):
    """Of `agents`."""

    all: Annotated[bool, Meta(description="Also those that are offline.")] = False


class TasksArguments(Arguments, frozen=True, kw_only=True):
    """Of `tasks`."""

    task: TaskId | UnsetType = UNSET
    pattern: Pattern = ">"
    state: Annotated[TaskState, Meta(description="Only tasks in this state.")] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=100, description="At most so many tasks.")] = 30
    offset: Offset = 0


class AddTaskArguments(Arguments, frozen=True, kw_only=True):
    """Of `add_task`."""

    task: TaskId
    title: Annotated[str, Meta(max_length=1_000, description="What is to be done, in one line.")] | UnsetType = UNSET
    after: Annotated[
        list[TaskId], Meta(max_length=MOST, description="Tasks that must be done before this one can be claimed.")
    ] = []
    data: Annotated[
        Any, Meta(description="Any JSON that whoever does it needs.", extra_json_schema={"type": JSON_TYPES})
    ] = None


class ClaimArguments(Arguments, frozen=True, kw_only=True):
    """Of `claim`."""

    task: TaskId | UnsetType = UNSET
    pattern: Pattern | UnsetType = UNSET
    wait: Annotated[
        int, Meta(ge=0, le=MAX_WAIT_S, description="Wait up to so many seconds until it is free; 0: answer at once.")
    ] = 0
    lease: Lease | UnsetType = UNSET


class CompleteArguments(Arguments, frozen=True, kw_only=True):
    """Of `complete`."""

    task: TaskId
    note: Note | UnsetType = UNSET
    to: AgentName | UnsetType = UNSET
    next_action: (
        Annotated[str, Meta(max_length=10_000, description="What should be done next, as an instruction.")] | UnsetType
    ) = UNSET
    result: Annotated[Any, Meta(description="The result, any JSON.", extra_json_schema={"type": JSON_TYPES})] = None
    changed_files: Files = []
    state: Annotated[
        Settlement,
        Meta(description="How it ended: failed and blocked stop those who wait for it, needs_review asks for a look."),
    ] = "done"


class ReleaseArguments(Arguments, frozen=True, kw_only=True):
    """Of `release`."""

    tasks: Annotated[list[TaskId], Meta(max_length=MOST, description="Tasks to give back, open for anyone.")] = []
    files: Files = []
    note: Note | UnsetType = UNSET


class SendArguments(Arguments, frozen=True, kw_only=True):
    """Of `send`."""

    to: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_TOKEN,
            description="Name of an agent, online or not, or all for everyone.",
            examples=["bob"],
        ),
    ]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT, description="The message.", examples=["all yours"])]
    kind: Annotated[
        str, Meta(min_length=1, max_length=64, description="What it is for: note, question, answer, warning, …")
    ] = "note"
    thread: Annotated[str, Meta(max_length=256, description="What it belongs to, such as a task id.")] | UnsetType = (
        UNSET
    )
    reply_to: Annotated[int, Meta(ge=1, description="Id of the message that it answers.")] | UnsetType = UNSET
    data: Annotated[Any, Meta(description="Any JSON.", extra_json_schema={"type": JSON_TYPES})] = None


class InboxArguments(Arguments, frozen=True, kw_only=True):
    """Of `inbox`."""

    limit: Annotated[int, Meta(ge=1, le=20, description="At most so many messages.")] = 10
    sender: AgentName | UnsetType = UNSET
    peek: Annotated[bool, Meta(description="Only look: they stay unread.")] = False
    message: Annotated[int, Meta(ge=1, description="Show this one message again, read or not.")] | UnsetType = UNSET
    offset: Annotated[int, Meta(ge=0, description="With message: begin at this character of its text.")] = 0


class WaitArguments(Arguments, frozen=True, kw_only=True):
    """Of `wait`."""

    tasks: Annotated[list[Pattern], Meta(max_length=MOST, description="Tasks (or patterns) that must be done.")] = []
    any: Annotated[bool, Meta(description="One of the tasks is enough.")] = False
    message: Annotated[bool, Meta(description="Also end when mail arrives; it is returned.")] = True
    timeout: Annotated[int, Meta(ge=1, le=MAX_WAIT_S, description="Most seconds to wait.")] = WAIT_S


class MemoryGetArguments(Arguments, frozen=True, kw_only=True):
    """Of `memory_get`."""

    key: Key
    revision: Annotated[int, Meta(ge=1, description="As it was at this revision.")] | UnsetType = UNSET
    offset: Annotated[int, Meta(ge=0, description="Of a large value: begin at this character of its JSON.")] = 0


class MemorySetArguments(Arguments, frozen=True, kw_only=True):
    """Of `memory_set`."""

    key: Key
    value: Annotated[
        Any,
        Meta(
            description="Any JSON, as it is, not JSON in a string. With merge: members to change; null removes one.",
            extra_json_schema={"type": JSON_TYPES},
            examples=[{"papers": 47}],
        ),
    ]
    if_revision: (
        Annotated[
            int,
            Meta(ge=0, description="Write only if the key is at this revision, as memory_get told; 0: never written."),
        ]
        | UnsetType
    ) = UNSET
    if_absent: Annotated[bool, Meta(description="Write only if the key has no value.")] = False
    merge: Annotated[bool, Meta(description="Change members of the object that is there, losing no other's write.")] = (
        False
    )


class MemoryListArguments(Arguments, frozen=True, kw_only=True):
    """Of `memory_list`."""

    prefix: Annotated[str, Meta(max_length=MAX_KEY, description="Only keys that begin like this.")] = ""
    limit: Annotated[int, Meta(ge=1, le=100, description="At most so many keys.")] = 50
    offset: Offset = 0


class ReserveArguments(Arguments, frozen=True, kw_only=True):
    """Of `reserve`."""

    files: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=512)]],
        Meta(
            min_length=1,
            max_length=20,
            description="Paths or globs, relative to the repository, such as src/parser/**.",
            examples=[["src/parser/**"]],
        ),
    ]
    note: Annotated[str, Meta(max_length=1_000, description="What you will do with them.")] | UnsetType = UNSET
    wait: Annotated[int, Meta(ge=0, le=MAX_WAIT_S, description="Wait up to so many seconds until they are free.")] = 0


class LogArguments(Arguments, frozen=True, kw_only=True):
    """Of `log`."""

    run: (
        Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN, description="Id of a run; default: the current one.")]
        | UnsetType
    ) = UNSET
    start: (
        Annotated[str, Meta(min_length=1, max_length=256, description="Begin a run of this name; it is then current.")]
        | UnsetType
    ) = UNSET
    params: Annotated[dict[str, Any], Meta(max_length=MOST, description="Parameters of the run: any JSON each.")] = {}
    metrics: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=256)], float],
        Meta(max_length=MOST, description='A point of each metric: {"loss": 0.31}.'),
    ] = {}
    step: (
        Annotated[int, Meta(ge=0, le=2**53, description="Place of the points on the x axis; default: next.")]
        | UnsetType
    ) = UNSET
    tags: Annotated[dict[str, str], Meta(max_length=MOST, description="Tags of the run.")] = {}
    text: Annotated[str, Meta(max_length=20_000, description="A line for people.")] | UnsetType = UNSET
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Of text.")] = "info"
    artifact: (
        Annotated[str, Meta(min_length=1, max_length=1_024, description="A file or folder below the working folder.")]
        | UnsetType
    ) = UNSET
    end: (
        Annotated[Literal["finished", "failed", "killed"], Meta(description="End the run that you began with start.")]
        | UnsetType
    ) = UNSET


class RunsArguments(Arguments, frozen=True, kw_only=True):
    """Of `runs`."""

    run: (
        Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN, description="Show this run: its id, or the end of it.")]
        | UnsetType
    ) = UNSET
    steps: Annotated[bool, Meta(description="With run: its steps too.")] = False
    agent: AgentName | UnsetType = UNSET
    errors: Annotated[bool, Meta(description="With steps: only those that did not end well.")] = False
    filter: Annotated[
        str,
        Meta(
            max_length=2_000, description='Which runs: metrics.loss < 0.3 and tags.team = "a" and status = "finished".'
        ),
    ] = ""
    sort: Annotated[
        str,
        Meta(
            max_length=300,
            description="started, ended, name, cost, seconds, metrics.KEY or params.KEY; with - in front: downwards.",
        ),
    ] = "-started"
    limit: Annotated[int, Meta(ge=1, le=50, description="At most so many runs or steps.")] = 10
    cursor: (
        Annotated[str, Meta(max_length=4_000, description="Where to go on: next of an earlier answer.")] | UnsetType
    ) = UNSET
