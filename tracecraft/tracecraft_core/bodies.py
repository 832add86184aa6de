"""What stands in a body: one definition for the code, the JSON Schemas and the AsyncAPI document.

Bodies are UTF-8 JSON objects. Readers tolerate fields they do not know; a writer that changes a meaning raises ``v``.
They are msgspec structs, not pydantic models: importing pydantic costs a one-shot command 50 ms of its 110
(docs/decisions/0002-msgspec-bodies.md).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from tracecraft_core import names
from tracecraft_core.errors import Malformed, UsageError

TaskState = Literal["open", "claimed", "done", "failed", "blocked", "needs_review"]
Settlement = Literal["done", "failed", "blocked", "needs_review"]
ReceiptState = Literal["fetched", "acked", "expired"]
PresenceMode = Literal["live", "oneshot"]
Name = Annotated[str, msgspec.Meta(pattern=names.TOKEN)]
"""Of an agent or a session. Any client can write a record, and a name stands in our sentences, also to models."""


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all bodies."""

    v: int = 1
    """Version of the body's meaning."""


class Message(Body, frozen=True, kw_only=True):
    """A direct message or a broadcast. Its id is its sequence in the log; sender and recipient are in the subject."""

    text: str
    kind: str = "note"
    """What it is for: ``note``, ``question``, ``answer``, ``handoff``, or a word of yours."""
    thread: str | None = None
    reply_to: int | None = None
    """Id of the message that this one answers."""
    data: Any = None
    """Any JSON."""


class Receipt(Body, frozen=True, kw_only=True):
    """What a reader did with a message."""

    id: int
    """Id of the message: its sequence in the log."""
    state: ReceiptState
    """``fetched``: shown but not acknowledged; ``acked``: taken; ``expired``: will not be read any more."""


class Owner(Body, frozen=True, kw_only=True):
    """Who held a task, under which fence."""

    owner: Name
    session: Name
    fence: int


class Verification(Body, frozen=True, kw_only=True):
    """Evidence that `complete --verify` gathered itself."""

    command: str
    exit_code: int
    output_sha256: str
    """Of standard output and standard error together."""
    seconds: float
    git_head: str | None = None
    git_dirty: bool | None = None


class Forced(Body, frozen=True, kw_only=True):
    """A change made without holding the task."""

    by: Name
    reason: str


class Handoff(Body, frozen=True, kw_only=True):
    """What the one who settles a task leaves for the next agent."""

    note: str | None = None
    to: Name | None = None
    """The agent it is meant for."""
    next_action: str | None = None
    result: Any = None
    """Any JSON."""
    changed_files: list[str] | None = None
    verification: Verification | None = None


class TaskRecord(Body, frozen=True, kw_only=True):
    """A task in KV ``tc_tasks``. Its revision in the bucket is the fencing token of the claim that wrote it."""

    state: TaskState = "open"
    title: str | None = None
    after: list[str] = []
    """Tasks that must be done before this one can be claimed."""
    data: Any = None
    """Any JSON that the worker needs."""
    created_by: Name | None = None
    owner: Name | None = None
    """Who holds it, or who settled it."""
    session: Name | None = None
    nonce: str | None = None
    """Of the claim; the lease carries the same."""
    ttl: int | None = None
    """Seconds of the claim's lease, for a renewal that finds no lease to learn them from."""
    attempt: int = 0
    """How often it has been claimed."""
    took_over_from: Owner | None = None
    """Whose lease had lapsed when this claim was made."""
    handoff: Handoff | None = None
    forced: Forced | None = None


class Lease(Body, frozen=True, kw_only=True):
    """A lease in KV ``tc_leases``, under the task's key; the server deletes it when its TTL lapses."""

    owner: Name
    session: Name
    nonce: str
    ttl: int
    """Seconds from the last renewal."""
    fence: int | None = None
    """Revision of the task record of this claim; absent in the instant between the two writes."""


class Presence(Body, frozen=True, kw_only=True):
    """An agent in KV ``tc_agents``; the server deletes it when its TTL lapses."""

    session: Name
    mode: PresenceMode
    """``live``: a process keeps this fresh; ``oneshot``: it was here when this was written."""
    host: str
    pid: int
    ttl: int
    """Seconds from the last write."""
    tasks: list[str] = []
    """Tasks it holds."""


class AgentEvent(Body, frozen=True, kw_only=True):
    """``joined``, ``status``, ``left`` or ``lost``, in the log."""

    session: Name | None = None
    mode: PresenceMode | None = None
    host: str | None = None
    pid: int | None = None
    task: str | None = None
    """For ``lost``: the task whose lease lapsed; absent when the agent itself was lost."""
    fence: int | None = None
    reason: str | None = None


_B = TypeVar("_B", bound=Body)


def encode(body: Body) -> bytes:
    """A body as it goes onto the bus; defaults are left out."""
    return msgspec.json.encode(body)


def decode(kind: type[_B], data: bytes, subject: str) -> _B:
    """A body from the bus. Raises `Malformed`, with the field, when it is not one of this kind."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(subject, f"not a {kind.__name__}: {error}") from None


def decode_message(data: bytes) -> Message:
    """A message from any client: what is not a JSON object with a text is taken as plain text."""
    try:
        return msgspec.json.decode(data, type=Message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Message(text=data.decode("utf-8", "replace"))


def value_to_json(value: Any) -> bytes:
    """A memory value as it is stored. Raises `UsageError` for what JSON cannot hold: NaN, bytes, sets, an open file."""
    try:
        body = msgspec.json.encode(value)
        _check_types(value)  # after encoding, which refuses values that contain themselves
        if b"null" in body and not isinstance(
            value, msgspec.Raw
        ):  # msgspec writes NaN as null: a value must not change on its way
            json.dumps(msgspec.to_builtins(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        shown = repr(value)
        raise UsageError(f"{shown[:80]} cannot be stored as JSON: {error}") from None
    return body


def _check_types(value: Any) -> None:
    """Raise ``TypeError`` for what msgspec would write as something else: bytes as base64 text, a set as a list."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (bytes, bytearray, memoryview, set, frozenset)):
            raise TypeError(f"{type(item).__name__} would be read back as something else: make text or a list of it")
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            stack += item


def value_from_json(data: bytes) -> Any:
    """A memory value as it was stored; bytes of a foreign client that are not JSON are taken as text."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace")
