"""The AsyncAPI 3.0 document: every subject, who writes it, and what stands in it, drawn from the code.

NATS has next to no bindings in the standard, and JetStream none, so what concerns streams stands in ``x-`` extensions.
Actions are those of an agent: what it sends, and what it receives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import subjects, topology
from tracecraft_core.bodies import AgentEvent, Body, Lease, Message, Presence, Receipt, TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    AttributeDocs = Callable[[type | ModuleType], dict[str, str]]

VERSION: Final = "1.0.0"
"""Version of the protocol; its first number is raised with the meaning of a body (``v``)."""

PARAMETERS: Final = {
    "project": "Project: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "to": "Agent that the message is for: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "from": "Agent that sends: one token. Permissions on this last token forbid spoofing.",
    "sender": "Agent that sent the message that the receipt is about.",
    "reader": "Agent that read it, and writes the receipt.",
    "agent": "Agent: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "event": "What happened.",
    "key": "Memory key: dotted tokens of `A-Za-z0-9_=/-`, at most 256 characters; it spans one or more tokens.",
    "id": "Task id: dotted tokens of `A-Za-z0-9_=/-`, at most 256 characters; it spans one or more tokens.",
    "run": "Run: one token, 1 to 64 of `A-Za-z0-9_-`.",
    "verb": "The query, for example `runs.list`; it spans one or more tokens.",
}

_ONCE: Final = ("MSG_ID", "TRACEPARENT")
_CAS: Final = ("MSG_ID", "EXPECTED_REVISION", "KV_OPERATION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One family of subjects."""

    name: str
    address: str
    title: str
    summary: str
    written_by: str
    stream: str | None
    """The stream that stores it; ``None`` when it is not stored."""
    headers: tuple[str, ...] = ()
    """Names of constants in `subjects`."""
    body: type[Body] | None = None
    """``None``: any JSON."""
    example: Any = None
    events: tuple[str, ...] = ()
    sends: bool = True
    """Whether an agent writes here."""
    receives: bool = True
    """Whether an agent reads here."""
    source: str | None = None
    """The bucket that the server sources it from."""
    reserved: bool = False
    """Named, but not used by this version."""


CHANNELS: Final = (
    Channel(
        name="directMessage",
        address=subjects.message("{project}", "{to}", "{from}"),
        title="Direct message",
        summary="A message to one agent, online or not. Its id is its sequence in the log.",
        written_by="the sender",
        stream=subjects.LOG,
        headers=_ONCE,
        body=Message,
        example=Message(text="the parser is done, tests are missing", kind="handoff", thread="S1"),
    ),
    Channel(
        name="broadcast",
        address=subjects.broadcast("{project}", "{from}"),
        title="Broadcast",
        summary="A message to every agent that is registered when it is stored, except its sender.",
        written_by="the sender",
        stream=subjects.LOG,
        headers=_ONCE,
        body=Message,
        example=Message(text="main is frozen until the release is out"),
    ),
    Channel(
        name="receipt",
        address=subjects.receipt("{project}", "{sender}", "{reader}"),
        title="Receipt",
        summary="What a reader did with a message.",
        written_by="the reader",
        stream=subjects.LOG,
        headers=_ONCE,
        body=Receipt,
        example=Receipt(id=1842, state="acked"),
    ),
    Channel(
        name="agentEvent",
        address=subjects.agent_event("{project}", "{agent}", "{event}"),
        title="Agent event",
        summary="An agent came, changed, went, or was lost.",
        written_by="the agent; the bridge for `lost`",
        stream=subjects.LOG,
        headers=_ONCE,
        body=AgentEvent,
        example=AgentEvent(session="cli-4f2a", mode="oneshot", host="build-3", pid=4711),
        events=("joined", "status", "left", "lost"),
    ),
    Channel(
        name="runEvent",
        address=f"{subjects.ROOT}.{{project}}.run.{{run}}.{{agent}}.{{event}}",
        title="Run event",
        summary="Reserved for experiment tracking; nothing writes here yet.",
        written_by="SDK, command line and adapters",
        stream=subjects.LOG,
        headers=_ONCE,
        reserved=True,
    ),
    Channel(
        name="memoryChange",
        address=subjects.memory_change("{project}", "{key}"),
        title="Memory change",
        summary="A write to the shared memory as it stands in the log; an empty body with `KV-Operation` deletes.",
        written_by="the server, from the memory bucket",
        stream=subjects.LOG,
        headers=("STREAM_SOURCE", *_CAS, "FENCE", "WRITER"),
        example={"papers": 47},
        sends=False,
        source=subjects.MEMORY,
    ),
    Channel(
        name="taskChange",
        address=subjects.task_change("{project}", "{id}"),
        title="Task change",
        summary="A write of a task record as it stands in the log.",
        written_by="the server, from the task bucket",
        stream=subjects.LOG,
        headers=("STREAM_SOURCE", *_CAS),
        body=TaskRecord,
        example=TaskRecord(state="open", title="Parse the input", created_by="planner"),
        sends=False,
        source=subjects.TASKS,
    ),
    Channel(
        name="memory",
        address=subjects.kv_subject(subjects.MEMORY, "{project}", "{key}"),
        title="Memory value",
        summary="A value of the shared memory: any JSON. Its sequence in the bucket is its revision.",
        written_by="any agent",
        stream=subjects.kv_stream(subjects.MEMORY),
        headers=(*_CAS, "FENCE", "WRITER"),
        example={"papers": 47},
    ),
    Channel(
        name="task",
        address=subjects.kv_subject(subjects.TASKS, "{project}", "{id}"),
        title="Task record",
        summary="A task. Every write is a compare-and-set; the sequence of a claim's write is its fencing token.",
        written_by="any agent, by compare-and-set",
        stream=subjects.kv_stream(subjects.TASKS),
        headers=_CAS,
        body=TaskRecord,
        example=TaskRecord(
            state="claimed", created_by="planner", owner="w1", session="cli-4f2a", nonce="mV0w2Zq1", attempt=1
        ),
    ),
    Channel(
        name="lease",
        address=subjects.kv_subject(subjects.LEASES, "{project}", "{id}"),
        title="Lease",
        summary="Proof that the owner of a task is alive. Every write is a compare-and-set with a TTL.",
        written_by="the owner; the server writes the marker of a lapse",
        stream=subjects.kv_stream(subjects.LEASES),
        headers=(*_CAS, "TTL", "MARKER_REASON"),
        body=Lease,
        example=Lease(owner="w1", session="cli-4f2a", nonce="mV0w2Zq1", ttl=30, fence=318),
    ),
    Channel(
        name="presence",
        address=subjects.kv_subject(subjects.AGENTS, "{project}", "{agent}"),
        title="Presence",
        summary="An agent that is online. Every write has a TTL.",
        written_by="the agent; the server writes the marker of a lapse",
        stream=subjects.kv_stream(subjects.AGENTS),
        headers=(*_CAS, "TTL", "MARKER_REASON"),
        body=Presence,
        example=Presence(session="cli-4f2a", mode="oneshot", host="build-3", pid=4711, ttl=900, tasks=["S1.parse"]),
    ),
    Channel(
        name="query",
        address=subjects.query("{project}", "{verb}"),
        title="Query",
        summary="Reserved for queries to the bridge; nothing answers here yet. Not stored.",
        written_by="any agent, as a request",
        stream=None,
        receives=False,
        reserved=True,
    ),
)


def document(schemas: Sequence[str], attribute_docs: AttributeDocs) -> dict[str, Any]:
    """The whole document; ``schemas`` are the names of the bodies, ``attribute_docs`` tells what constants mean."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tracecraft",
            "version": VERSION,
            "description": "The subjects and bodies of tracecraft on NATS. protocol.md says how they work together.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "nats-server 2.15 with JetStream."}
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": _operations(),
        "components": {
            "schemas": {name: _multi_format(name) for name in schemas},
            "messages": {channel.name: _message(channel, attribute_docs(subjects)) for channel in CHANNELS},
        },
        "x-jetstream-streams": topology.definitions(),
    }


def _channel(channel: Channel) -> dict[str, Any]:
    described: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "summary": channel.summary,
        "messages": {channel.name: {"$ref": f"#/components/messages/{channel.name}"}},
        "parameters": {name: _parameter(name, channel) for name in PARAMETERS if f"{{{name}}}" in channel.address},
        "x-written-by": channel.written_by,
        "x-jetstream": {"stream": channel.stream} if channel.stream else {"stored": False},
    }
    if channel.source:
        described["x-jetstream"]["source"] = subjects.kv_stream(channel.source)
    if channel.reserved:
        described["x-reserved"] = True
    return described


def _parameter(name: str, channel: Channel) -> dict[str, Any]:
    described: dict[str, Any] = {"description": PARAMETERS[name]}
    if name == "event" and channel.events:
        described["enum"] = list(channel.events)
    return described


def _message(channel: Channel, meanings: dict[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": channel.name, "title": channel.title, "contentType": "application/json"}
    if channel.headers:
        properties = {
            getattr(subjects, constant): {"type": "string", "description": meanings[constant]}
            for constant in channel.headers
        }
        described["headers"] = {"type": "object", "properties": properties}
    if channel.body is not None:
        described["payload"] = {"$ref": f"#/components/schemas/{channel.body.__name__}"}
    elif not channel.reserved:
        described["payload"] = {"description": "Any JSON."}
    if channel.example is not None:
        described["examples"] = [{"name": channel.name, "payload": msgspec.to_builtins(channel.example)}]
    return described


def _multi_format(name: str) -> dict[str, Any]:
    """A schema in a file of its own, in a dialect newer than AsyncAPI's."""
    return {
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": {"$ref": f"./schemas/{name}.json"},
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        noun = channel.name[0].upper() + channel.name[1:]
        for wanted, action in ((channel.sends, "send"), (channel.receives, "receive")):
            if wanted:
                operations[f"{action}{noun}"] = {"action": action, "channel": {"$ref": f"#/channels/{channel.name}"}}
    return operations
