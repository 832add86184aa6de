"""Reading the log: the one order of everything that happened in a project.

The log's sequence number is the place of an entry; entries of other projects lie between ours. Reading takes nothing
away, and goes on by itself when the server restarts.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import bodies, ids, names, subjects
from tracecraft_core.errors import UsageError
from tracecraft_core.pull import Puller, create_consumer, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tracecraft.context import Context
    from tracecraft_core.bus import Bus, Stored

_SLACK: Final = 256
"""Entries that are cheaper to read and drop than to look for a later place to begin."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One thing that happened."""

    seq: int
    """Its place in the order."""
    time: str
    """When the server stored it, RFC 3339, UTC."""
    subject: str
    family: str
    """``msg``, ``all``, ``receipt``, ``agent``, ``run``, ``memory``, ``task``, or a word of a foreign client."""
    name: str
    """The subject behind the family: recipient and sender, event, key or task id."""
    who: str | None
    """The agent that did it; ``None`` for a memory change, which the server attributes to nobody."""
    body: Any
    """The body: any JSON, or text where it is none; ``None`` when `deleted`."""
    revision: int | None = None
    """Of a memory or task change: its revision in the bucket, for a task the fencing token."""
    deleted: bool = False
    fence: str | None = None
    """``<task>:<fencing token>`` on a write that was made under a claim."""


def subject_filter(project: str, given: str) -> str:
    """The filter of the log for what a user asked for: relative to the project, or whole and in the project.

    Raises `InvalidName` for what is no NATS filter, `UsageError` for one that reaches into another project.
    """
    own = f"{subjects.ROOT}.{project}."
    names.pattern(given)
    if given.partition(".")[0] != subjects.ROOT:
        return own + given
    if not given.startswith(own):
        raise UsageError(
            f"subject {given!r} is not in project {project}: give it relative to the project, for example 'task.>', "
            f"or whole, for example '{own}task.>'"
        )
    return given


async def server_time(bus: Bus) -> str:
    """The server's clock now, RFC 3339: ages are counted by it, whatever this machine's clock says."""
    return str((await bus.api(f"STREAM.INFO.{subjects.LOG}"))["ts"])


async def since_seq(
    context: Context, filter_: str, seq: int, *, limit: int | None = None, follow: bool = False
) -> AsyncGenerator[LogEntry]:
    """The entries from a sequence on, at most ``limit``; with ``follow`` those too that are still to come."""
    config = watcher_config([filter_], start_seq=max(1, seq))
    async for entry in _read(context, config, limit, follow):
        yield entry


async def since_time(
    context: Context, filter_: str, seconds: float, *, limit: int | None = None, follow: bool = False
) -> AsyncGenerator[LogEntry]:
    """The entries of the last ``seconds`` by the server's clock, at most ``limit``; ``follow`` as in `since_seq`."""
    now = datetime.datetime.fromisoformat(await server_time(context.bus))
    try:
        start = now - datetime.timedelta(seconds=seconds)
    except OverflowError:
        start = datetime.datetime.fromtimestamp(0, datetime.UTC)
    config = watcher_config([filter_], start_time=start.isoformat())
    async for entry in _read(context, config, limit, follow):
        yield entry


async def last(context: Context, filter_: str, count: int, *, follow: bool = False) -> AsyncGenerator[LogEntry]:
    """The newest ``count`` entries, oldest first; with ``follow`` those too that are still to come."""
    start = await start_of_last(context.bus, [filter_], count)
    async with Puller(context.bus, subjects.LOG, watcher_config([filter_], start_seq=start)) as puller:
        surplus = puller.initial_pending - count
        async for delivery in puller.backlog():
            surplus -= 1
            if surplus < 0:
                yield entry_of(delivery.stored)
        while follow:
            later = await puller.next()
            if later is not None:
                yield entry_of(later.stored)


async def _read(context: Context, config: dict[str, Any], limit: int | None, follow: bool) -> AsyncGenerator[LogEntry]:
    if limit == 0:
        return
    given = 0
    async with Puller(context.bus, subjects.LOG, config) as puller:
        async for delivery in puller if follow else puller.backlog():
            yield entry_of(delivery.stored)
            given += 1
            if given == limit:
                return


async def start_of_last(bus: Bus, filters: Sequence[str], count: int) -> int:
    """A sequence from which there are at least ``count`` matching entries (or all), and not many more.

    The server counts matches behind a sequence but cannot count from the end, so this looks further and further back,
    then narrows down: a handful of requests, however long the log is.
    """
    state = (await bus.api(f"STREAM.INFO.{subjects.LOG}"))["state"]
    first, end = max(1, state["first_seq"]), state["last_seq"] + 1
    if count == 0:
        return int(end)
    low, high, span = end, end, 4 * count + _SLACK
    while low > first:
        low, span = max(first, end - span), span * 8
        found = await _count(bus, filters, low)
        if found >= count:
            break
        high = low
    else:
        return int(low)
    while found > count + _SLACK and high - low > 1:
        middle = (low + high) // 2
        behind = await _count(bus, filters, middle)
        if behind >= count:
            low, found = middle, behind
        else:
            high = middle
    return int(low)


async def _count(bus: Bus, filters: Sequence[str], seq: int) -> int:
    """How many entries match from a sequence on."""
    config = watcher_config(filters, start_seq=seq) | {"name": f"c_{ids.fresh()}"}
    info = await create_consumer(bus, subjects.LOG, config)
    await bus.api(f"CONSUMER.DELETE.{subjects.LOG}.{config['name']}")
    return int(info["num_pending"])


def entry_of(stored: Stored) -> LogEntry:
    """An entry of the log as it is stored."""
    tokens = stored.subject.split(".")
    family = tokens[2] if len(tokens) > 2 else ""
    body = None if stored.deleted else bodies.value_from_json(stored.data)
    return LogEntry(
        seq=stored.seq,
        time=stored.time,
        subject=stored.subject,
        family=family,
        name=".".join(tokens[3:]),
        who=_signed(family, stored) or _who(family, tokens, body),
        body=body,
        revision=_revision(stored),
        deleted=stored.deleted,
        fence=stored.headers.get(subjects.FENCE),
    )


def _signed(family: str, stored: Stored) -> str | None:
    """Who says to have written it, where the subject has no room for the writer."""
    return stored.headers.get(subjects.WRITER) if family in ("memory", "task") else None


def _who(family: str, tokens: list[str], body: Any) -> str | None:
    """The writer: the subject says it, except for a task, whose record does."""
    if family in ("msg", "all", "receipt"):
        return tokens[-1]
    if family == "agent" and len(tokens) > 3:
        return tokens[3]
    if family == "run" and len(tokens) > 4:
        return tokens[4]
    if family == "task" and isinstance(body, dict):
        forced = body.get("forced")
        by = forced.get("by") if isinstance(forced, dict) else body.get("owner") or body.get("created_by")
        return by if isinstance(by, str) else None
    return None


def _revision(stored: Stored) -> int | None:
    """The sequence that a sourced message had in its bucket, from the header that the server adds."""
    words = stored.headers.get(subjects.STREAM_SOURCE, "").split(" ")
    with_sequence = len(words) > 1 and words[1].isdigit()
    return int(words[1]) if with_sequence else None
