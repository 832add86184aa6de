"""Shared memory: a value a key, with revisions, compare-and-set and a stream of changes.

A write without a condition is one request to the server, a conditional one as well; `update`, `incr` and `merge` are
compare-and-set loops, so that no update is lost however many agents write.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import bodies, names, subjects
from tracecraft_core.errors import NotFound, RevisionConflict, UsageError
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from tracecraft.context import Context
    from tracecraft_core.bus import Stored

_STREAM: Final = subjects.kv_stream(subjects.MEMORY)


@dataclass(frozen=True, slots=True)
class Entry:
    """One revision of a key."""

    key: str
    value: Any
    """Any JSON; ``None`` when `deleted`."""
    revision: int
    time: str
    """When the server stored it, RFC 3339, UTC."""
    deleted: bool = False
    by: str | None = None
    """The agent that says it wrote this; ``None`` for a client that does not say."""


class AsyncMemory:
    """The shared memory of a project. Values are any JSON; keys are dotted tokens (see `tracecraft_core.names`)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def set(
        self,
        key: str,
        value: Any,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        fence: tuple[str, int] | None = None,
    ) -> int:
        """Write a value and return its revision.

        ``if_revision`` writes only when the key is at that revision, ``if_absent`` only when it has no value; otherwise
        `RevisionConflict` is raised and nothing is written. ``fence`` (task, fencing token) marks the write in the log
        as made under a claim. Raises `InvalidName`, `BodyTooLarge` (256 KiB), `LogFull`, `OutcomeUnknown`.
        """
        if if_absent and if_revision is not None:
            raise UsageError("if_revision and if_absent exclude each other: use if_revision=0 for a key never written")
        body = bodies.value_to_json(value)
        headers = self._signed({subjects.FENCE: f"{fence[0]}:{fence[1]}"} if fence else {})
        stream, subject = self._kv(key)
        if if_absent:
            return await self._create(key, body, headers)
        if if_revision is not None:
            return await self._context.bus.cas(stream, subject, body, if_revision, headers=headers)
        return (await self._context.bus.publish(subject, body, headers=headers)).seq

    async def _create(self, key: str, body: bytes, headers: Mapping[str, str]) -> int:
        stream, subject = self._kv(key)
        try:
            return await self._context.bus.cas(stream, subject, body, 0, headers=headers)
        except RevisionConflict:
            found = await self._context.bus.leader_get(stream, subject)
            if found is not None and not found.deleted:
                raise RevisionConflict(key, 0, found.seq, has_value=True) from None
            if found is None:
                raise
            return await self._context.bus.cas(stream, subject, body, found.seq, headers=headers)

    async def get(self, key: str, default: Any = None, *, revision: int | None = None) -> Any:
        """The value of a key, or ``default``. With ``revision`` the value as it was; `NotFound` if it is not kept."""
        entry = await self.entry(key, revision=revision)
        return default if entry is None or entry.deleted else entry.value

    async def entry(self, key: str, *, revision: int | None = None) -> Entry | None:
        """The newest revision of a key (a deletion is one too), or ``None``; or the given ``revision``."""
        stream, subject = self._kv(key)
        if revision is None:
            stored = await self._context.bus.leader_get(stream, subject)
            return None if stored is None else self._entry(stored)
        stored = await self._context.bus.get(stream, revision)
        if stored is None or stored.subject != subject:
            raise NotFound("revision", f"{revision} of {key}", "'memory history' shows the revisions that are kept")
        return self._entry(stored)

    async def delete(self, key: str, *, if_revision: int | None = None) -> int:
        """Delete a key and return the revision of the deletion. `NotFound` when it has no value.

        Raises `RevisionConflict` when ``if_revision`` is given and the key is no longer at it.
        """
        stream, subject = self._kv(key)
        headers = self._signed({subjects.KV_OPERATION: "DEL"})
        while True:
            found = await self._context.bus.leader_get(stream, subject)
            if found is None or found.deleted:
                raise NotFound("memory key", key)
            try:
                expected = found.seq if if_revision is None else if_revision
                return await self._context.bus.cas(stream, subject, b"", expected, headers=headers)
            except RevisionConflict:
                if if_revision is not None:
                    raise

    async def history(self, key: str, *, limit: int = 20) -> list[Entry]:
        """The newest ``limit`` revisions of a key that the bus keeps, oldest first, deletions included."""
        _, subject = self._kv(key)
        kept: deque[Entry] = deque(maxlen=limit)
        async with Puller(self._context.bus, _STREAM, watcher_config([subject], "all")) as puller:
            async for delivery in puller.backlog():
                kept.append(self._entry(delivery.stored))
        return list(kept)

    async def watch(self, pattern: str, *, initial: bool = False) -> AsyncGenerator[Entry]:
        """Every change of the keys that match, as it happens, for ever; with ``initial`` the present values first.

        ``pattern`` takes NATS wildcards on tokens: ``*`` one, a last ``>`` the rest.
        """
        subject = subjects.kv_subject(subjects.MEMORY, self._context.project, names.pattern(pattern))
        config = watcher_config([subject], "last_per_subject" if initial else "new")
        async with Puller(self._context.bus, _STREAM, config) as puller:
            present = puller.initial_pending if initial else 0
            async for delivery in puller:
                present -= 1
                if delivery.stored.deleted and present >= 0:
                    continue  # a key that was deleted before has no present value
                yield self._entry(delivery.stored)

    async def update(self, key: str, change: Callable[[Any], Any], *, default: Any = None) -> Entry:
        """Replace a value by ``change(value)``, again and again until nobody wrote in between; returns the new entry.

        ``change`` gets ``default`` for a key without a value; it may run several times and must have no side effects.
        """
        stream, subject = self._kv(key)
        headers = self._signed({})
        for round_ in range(1_000_000):
            found = await self._context.bus.leader_get(stream, subject)
            before = default if found is None or found.deleted else bodies.value_from_json(found.data)
            after = change(before)
            try:
                body = bodies.value_to_json(after)
                expected = found.seq if found else 0
                revision = await self._context.bus.cas(stream, subject, body, expected, headers=headers)
            except RevisionConflict:
                await asyncio.sleep(random.uniform(0, min(0.002 * 2 ** min(round_, 6), 0.1)))
            else:
                return Entry(key, after, revision, "", by=self._context.agent)
        raise AssertionError("unreachable")

    async def set_if_better(self, key: str, value: Any, *, by: str = "", lower: bool = False) -> Entry | None:
        """Write a value unless the one that is there is as good or better; returns the new entry, or ``None``.

        Better is the higher number at ``by``, a dotted path into the value (``""``: the value itself), or with
        ``lower`` the lower one. However many write at once, the best of them is what stays. Raises `UsageError` when
        one of the two has no number there.
        """
        stream, subject = self._kv(key)
        body, headers = bodies.value_to_json(value), self._signed({})
        mine = number_at(bodies.value_from_json(body), by, f"the new value of {key}")
        while True:
            found = await self._context.bus.leader_get(stream, subject)
            if found is not None and not found.deleted:
                theirs = number_at(bodies.value_from_json(found.data), by, key)
                if (mine >= theirs) if lower else (mine <= theirs):
                    return None
            with contextlib.suppress(RevisionConflict):
                revision = await self._context.bus.cas(
                    stream, subject, body, found.seq if found else 0, headers=headers
                )
                return Entry(key, value, revision, "", by=self._context.agent)

    async def incr(self, key: str, by: int | float = 1) -> int | float:
        """Add to a number (a key without a value counts as 0) and return the sum. `UsageError` when it is no number."""

        def add(value: Any) -> Any:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"{key} holds {value!r}, which is not a number: incr needs one, for example 3")
            total = value + by
            if isinstance(total, float) and not math.isfinite(total):
                raise UsageError(f"{key} holds {value!r}: adding {by!r} leaves the range of numbers")
            return total

        total: int | float = (await self.update(key, add, default=0)).value
        return total

    async def merge(self, key: str, patch: Any) -> Any:
        """Apply a JSON merge patch (RFC 7396) and return the merged value: ``null`` removes a member."""
        return (await self.update(key, lambda value: merge_patch(value, patch))).value

    async def list(self, prefix: str = "") -> list[Entry]:
        """All keys that begin with ``prefix`` and have a value, with it, ordered by key."""
        found = await self._context.bus.last_values(*self._kv_pattern(prefix))
        entries = (self._entry(stored) for stored in found)
        return sorted((entry for entry in entries if entry.key.startswith(prefix)), key=lambda entry: entry.key)

    def _signed(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, subjects.WRITER: self._context.agent}

    def _kv(self, key: str) -> tuple[str, str]:
        return self._context.kv(subjects.MEMORY, names.memory_key(key))

    def _kv_pattern(self, prefix: str) -> tuple[str, str]:
        head, dot, _ = prefix.rpartition(".")
        if dot:
            names.memory_key(head)
        return self._context.kv(subjects.MEMORY, f"{head}.>" if dot else ">")

    def _entry(self, stored: Stored) -> Entry:
        key = self._context.key(subjects.MEMORY, stored.subject)
        value = None if stored.deleted else bodies.value_from_json(stored.data)
        return Entry(key, value, stored.seq, stored.time, stored.deleted, stored.headers.get(subjects.WRITER))


def number_at(value: Any, path: str, what: str) -> float:
    """The number at a dotted path into a value. Raises `UsageError`, with ``what`` it was looked for in."""
    found = value
    for name in path.split(".") if path else []:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        where = f" at {path!r}" if path else ""
        raise UsageError(f"{what} has no number{where} to compare by: {str(value)[:80]}")
    return found


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396 JSON merge patch, as a new value."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
