"""Every name on the bus: subjects, streams, buckets, headers and error codes (design: docs/reference/protocol.md).

A *project* is the second token of every subject, so that one filter (``tc.<project>.>``) shows a project whole and
one permission keeps it apart. The writer of a message is the last token of its subject, never a field of the body:
NATS permissions can then forbid spoofing.
"""

from __future__ import annotations

from typing import Final

ROOT: Final = "tc"
"""First token of every logged subject."""

RESERVED_PROJECT: Final = "_tracecraft"
"""The project of what tracecraft writes for itself, such as `BEAT`; nobody may work in it, and no list shows it."""

QUERY_ROOT: Final = "tcsvc"
"""First token of queries to the bridge; outside ``tc.>`` so that they are not logged."""

LOG: Final = "TC_LOG"
"""The stream that holds the total order of everything."""

MEMORY: Final = "tc_memory"
"""KV bucket of the shared memory; keys ``<project>.<key>``."""

TASKS: Final = "tc_tasks"
"""KV bucket of the task records; a record's revision is its fencing token."""

BEAT: Final = "beat"
"""Key in both of these buckets, of `RESERVED_PROJECT`, that the bridge deletes again and again: the newest message of
a bucket must not lie far back in the log, or a server that was killed is slow to start (docs/decisions/0007)."""

LEASES: Final = "tc_leases"
"""KV bucket of the leases; every write has a TTL, so the server is the only clock."""

AGENTS: Final = "tc_agents"
"""KV bucket of presence; every write has a TTL."""

# Headers of the server (ADR-4, ADR-8, ADR-43, ADR-48).
MSG_ID: Final = "Nats-Msg-Id"
"""Fresh on every logical write; the server drops a repeat within the duplicate window of 2 minutes."""
EXPECTED_REVISION: Final = "Nats-Expected-Last-Subject-Sequence"
"""Compare-and-set: the sequence that the last message on this subject must have; 0 for none."""
TTL: Final = "Nats-TTL"
"""Whole seconds (``30s``) after which the server deletes the message."""
MARKER_REASON: Final = "Nats-Marker-Reason"
"""On a marker the server left in place of a message: ``MaxAge`` (its TTL lapsed), ``Purge`` or ``Remove``."""
STREAM_SOURCE: Final = "Nats-Stream-Source"
"""On a sourced message: ``<stream> <origin sequence> <filter> <destination> <original subject>``."""
KV_OPERATION: Final = "KV-Operation"
"""``DEL`` or ``PURGE`` on a deletion in a KV bucket; absent on a value."""

# Headers of tracecraft.
FENCE: Final = "Tc-Fence"
"""On a write made under a claim: ``<task>:<fence>``, so that a reader of the log can tell a stale owner's write."""
WRITER: Final = "Tc-Agent"
"""On a memory write and the end of a claim: the agent that says it made it. The subject of a KV write has no room for
the writer, so this is a statement of the client, not a fact that permissions can hold."""
RUN: Final = "Tc-Run"
"""On what is written inside a run but is no event of it (messages, memory, tasks): ``<run>`` or ``<run>/<step>``."""
TRACEPARENT: Final = "traceparent"
"""W3C trace context, passed through as it came."""

DUPLICATE_WINDOW_S: Final = 120
"""Seconds for which a repeated ``Nats-Msg-Id`` is recognised."""

MAX_BODY_BYTES: Final = 256 * 1024
"""Largest body; anything larger belongs in SeaweedFS, with a reference on the bus."""


def kv_stream(bucket: str) -> str:
    """Name of the stream under a bucket (ADR-8)."""
    return f"KV_{bucket}"


def kv_subject(bucket: str, project: str, key: str) -> str:
    """Subject of one key of a project in a bucket; ``key`` may be a wildcard."""
    return f"$KV.{bucket}.{project}.{key}"


def kv_key(bucket: str, project: str, subject: str) -> str:
    """The key behind a subject made by `kv_subject`."""
    return subject.removeprefix(f"$KV.{bucket}.{project}.")


def message(project: str, to: str, sender: str) -> str:
    """A direct message."""
    return f"{ROOT}.{project}.msg.{to}.{sender}"


def broadcast(project: str, sender: str) -> str:
    """A message to every registered agent."""
    return f"{ROOT}.{project}.all.{sender}"


def receipt(project: str, sender: str, reader: str) -> str:
    """What ``reader`` did with a message of ``sender``."""
    return f"{ROOT}.{project}.receipt.{sender}.{reader}"


def agent_event(project: str, agent: str, event: str) -> str:
    """``joined``, ``status``, ``left`` or ``lost``."""
    return f"{ROOT}.{project}.agent.{agent}.{event}"


def run_event(project: str, run: str, agent: str, event: str) -> str:
    """An event of a run (`run_events`); the bridge writes as the agent `RESERVED_PROJECT`."""
    return f"{ROOT}.{project}.run.{run}.{agent}.{event}"


def run_presence(run: str, writer: str) -> str:
    """Key in `AGENTS` that a process keeps fresh while it writes into a run; agents' own keys have one token."""
    return f"{run}.{writer}"


def memory_change(project: str, key: str) -> str:
    """A memory change in the log, sourced by the server."""
    return f"{ROOT}.{project}.memory.{key}"


def task_change(project: str, task: str) -> str:
    """A task change in the log, sourced by the server."""
    return f"{ROOT}.{project}.task.{task}"


def mailbox(project: str, agent: str) -> str:
    """Name of an agent's durable consumer on the log. ``=`` is in no token, so two pairs never share a name."""
    return f"inbox={project}={agent}"


def mailbox_filters(project: str, agent: str) -> list[str]:
    """What an agent's mailbox receives: its direct messages and all broadcasts of the project."""
    return [f"{ROOT}.{project}.msg.{agent}.>", f"{ROOT}.{project}.all.>"]


def query(project: str, verb: str) -> str:
    """A query to the bridge."""
    return f"{QUERY_ROOT}.{project}.{verb}"


# JetStream err_codes that we decide by (server/errors.json of nats-server).
WRONG_LAST_SEQUENCE: Final = 10071
"""Compare-and-set lost."""
WRONG_LAST_SEQUENCE_INFLIGHT: Final = 10164
"""Compare-and-set lost to a proposal that is still being replicated (clusters only)."""
DUPLICATE_IN_FLIGHT: Final = 10158
"""The same ``Nats-Msg-Id`` is being stored right now: ask again."""
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
MESSAGE_NOT_FOUND: Final = 10037
CONSUMER_EXISTS: Final = 10148
"""A consumer of this name exists with another configuration, and only a new one was asked for."""
STREAM_STORE_FAILED: Final = 10077
"""A limit of the stream (messages, bytes) with discard *new*, or the store itself."""
RESOURCES_EXCEEDED: Final = frozenset({10023, 10028, 10047})
"""Insufficient resources, memory or storage of the account or server."""
JETSTREAM_NOT_READY: Final = frozenset({10008, 10009})
"""The cluster has no leader yet or is just starting."""
