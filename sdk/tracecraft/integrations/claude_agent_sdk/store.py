"""`TracecraftSessionStore`: copies of the Claude Agent SDK's sessions, for another machine to resume."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import zstandard
from claude_agent_sdk import fold_session_summary

from tracecraft.loop import background, result_of
from tracecraft.redaction import redact
from tracecraft_core import ids, session_stream, subjects
from tracecraft_core.errors import BusError, NotFound, RevisionConflict
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from claude_agent_sdk import (
        SessionKey,
        SessionListSubkeysKey,
        SessionStoreEntry,
        SessionStoreListEntry,
        SessionSummaryEntry,
    )

    from tracecraft.async_session import AsyncSession
    from tracecraft.session import Session
    from tracecraft_core.bus import Bus, Stored

_T = TypeVar("_T")

PIECE_BYTES: Final = subjects.MAX_BODY_BYTES - 1024
"""Bytes of a message."""
PATIENCE_S: Final = 5.0
"""Seconds that a call goes on while the bus is away; the SDK then tries again, and says so when it gives up."""


class TracecraftSessionStore:
    """A session store on the bus: ``ClaudeAgentOptions(session_store=TracecraftSessionStore())``.

    Entries are kept in order, those with a ``uuid`` once. Secrets are redacted on their way (``redact=False`` keeps
    them); what is resumed then has the redacted words. Nothing expires: `delete`, or the SDK's
    ``delete_session_via_store``, removes a session with its subagents.

    ``session`` is whose settings are used (default: those of `tracecraft.init`, else of the environment).
    """

    def __init__(self, session: Session | None = None, *, redact: bool = True) -> None:
        self._given, self._redact = session, redact
        self._opened: AsyncSession | None = None
        self._lock: asyncio.Lock | None = None

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Keep a batch of entries. Raises `BusUnreachable`, `NotPermitted`."""
        if entries:
            await self._run(self._append(key, entries))

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """All entries of a session or a subagent, in order; ``None`` where there are none."""
        return await self._run(self._load(key)) or None

    async def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """The sessions of a folder and when each was last written to."""
        return await self._run(self._list(project_key))

    async def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """What the SDK wants to know of the sessions of a folder without reading them."""
        return await self._run(self._summaries(project_key))

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """The subagents of a session."""
        return await self._run(self._subkeys(key["project_key"], key["session_id"]))

    async def delete(self, key: SessionKey) -> None:
        """Remove a session with its subagents, or one subagent."""
        await self._run(self._delete(key))

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        await self._run(self._close())

    # -- on the background loop ---------------------------------------------------------------------------------

    async def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return await result_of(background().start(work))

    async def _bus(self) -> Bus:
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self._opened is None:
                self._opened = await _open(self._given)
        return self._opened.context.bus

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def _project(self) -> str:
        assert self._opened is not None
        return self._opened.project

    async def _append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        bus = await self._bus()
        folder, session, part = key["project_key"], key["session_id"], key.get("subpath")
        lines = [self._encoded(entry) for entry in entries]
        body = b"\n".join(lines)
        # The SDK repeats a batch whose acknowledgement it missed; one without any uuid may really come twice.
        known = any("uuid" in entry for entry in entries)
        mark = hashlib.sha256(body).hexdigest()[:32] if known else ids.fresh()
        subject = session_stream.entries(self._project(), folder, session, part)
        await _publish(bus, subject, zstandard.compress(body), mark)
        if part is None:
            await self._summarise(bus, key, [msgspec.json.decode(line) for line in lines])

    def _encoded(self, entry: SessionStoreEntry) -> bytes:
        body = msgspec.json.encode(entry)
        return redact.json(body)[0] if self._redact else body

    async def _summarise(self, bus: Bus, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        subject = session_stream.summary(self._project(), key["project_key"], key["session_id"])
        while True:
            before = await bus.leader_get(session_stream.STREAM, subject)
            previous = None if before is None else _summary(before)
            folded = msgspec.json.encode(fold_session_summary(previous, key, entries))
            try:
                await bus.cas(session_stream.STREAM, subject, folded, 0 if before is None else before.seq)
            except RevisionConflict:
                continue  # another process stored a batch meanwhile
            return

    async def _load(self, key: SessionKey) -> list[SessionStoreEntry]:
        bus = await self._bus()
        subject = session_stream.entries(self._project(), key["project_key"], key["session_id"], key.get("subpath"))
        entries: dict[str, SessionStoreEntry] = {}
        async for body in _whole(_read(bus, subject)):
            for line in zstandard.ZstdDecompressor().stream_reader(body).read().split(b"\n"):
                entry = msgspec.json.decode(line)
                entries.setdefault(str(entry.get("uuid") or f"#{len(entries)}"), entry)
        return list(entries.values())

    async def _list(self, folder: str) -> list[SessionStoreListEntry]:
        bus = await self._bus()
        pattern = f"{session_stream.ENTRIES}.{self._project()}.{session_stream.token(folder)}.*.{session_stream.MAIN}"
        newest = await bus.last_values(session_stream.STREAM, pattern)
        return [{"session_id": _session_of(one), "mtime": _milliseconds(one)} for one in newest]

    async def _summaries(self, folder: str) -> list[SessionSummaryEntry]:
        bus = await self._bus()
        pattern = f"{session_stream.SUMMARIES}.{self._project()}.{session_stream.token(folder)}.*"
        return [_summary(one) for one in await bus.last_values(session_stream.STREAM, pattern)]

    async def _subkeys(self, folder: str, session: str) -> list[str]:
        bus = await self._bus()
        prefix = session_stream.entries(self._project(), folder, session, None).removesuffix(session_stream.MAIN)
        found = await bus.list_subjects(session_stream.STREAM, f"{prefix}*")
        parts = (subject.removeprefix(prefix) for subject in found)
        return [session_stream.text(part[1:]) for part in parts if part != session_stream.MAIN]

    async def _delete(self, key: SessionKey) -> None:
        bus = await self._bus()
        folder, session, part = key["project_key"], key["session_id"], key.get("subpath")
        subject = session_stream.entries(self._project(), folder, session, part)
        if part is not None:
            await _purge(bus, subject)
            return
        await _purge(bus, subject.removesuffix(session_stream.MAIN) + "*")
        await _purge(bus, session_stream.summary(self._project(), folder, session))


async def _open(given: Session | None) -> AsyncSession:
    from tracecraft.async_session import AsyncSession
    from tracecraft.session import settings_of

    opened = AsyncSession(resolved=replace(settings_of(given), session=None), mode="oneshot", patience=PATIENCE_S)
    await opened.context.bus.connect()
    try:
        await opened.context.bus.api(f"STREAM.INFO.{session_stream.STREAM}")
    except NotFound:
        await _create(opened.context.bus)
    return opened


async def _create(bus: Bus) -> None:
    wanted = session_stream.definition()
    try:
        await bus.api(f"STREAM.CREATE.{session_stream.STREAM}", wanted)
    except BusError:  # another process made it a moment ago
        await bus.api(f"STREAM.INFO.{session_stream.STREAM}")


async def _publish(bus: Bus, subject: str, body: bytes, mark: str) -> None:
    pieces = [body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES)]
    for number, piece in enumerate(pieces, 1):
        headers = {session_stream.PIECE: f"{mark} {number} {len(pieces)}"}
        await bus.publish(subject, piece, headers=headers, msg_id=f"{subject} {mark} {number}")


async def _read(bus: Bus, subject: str) -> AsyncIterator[tuple[str, bytes]]:
    if not await bus.list_subjects(session_stream.STREAM, subject):
        return
    async with Puller(bus, session_stream.STREAM, watcher_config([subject], "all")) as puller:
        async for delivery in puller.backlog():
            yield delivery.stored.headers.get(session_stream.PIECE, ""), delivery.stored.data


async def _whole(source: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[bytes]:
    """Bodies put together of their pieces; one of which pieces are missing was never acknowledged."""
    waiting: dict[str, dict[int, bytes]] = {}
    async for name, piece in source:
        mark, number, count = name.split(" ")
        pieces = waiting.setdefault(mark, {})
        pieces[int(number)] = piece
        if len(pieces) == int(count):
            yield b"".join(_ordered(waiting.pop(mark)))


def _ordered(pieces: dict[int, bytes]) -> Iterator[bytes]:
    for number in sorted(pieces):
        yield pieces[number]


async def _purge(bus: Bus, subject: str) -> None:
    await bus.api(f"STREAM.PURGE.{session_stream.STREAM}", {"filter": subject})


def _summary(stored: Stored) -> SessionSummaryEntry:
    found: SessionSummaryEntry = msgspec.json.decode(stored.data)
    found["mtime"] = _milliseconds(stored)
    return found


def _session_of(stored: Stored) -> str:
    return session_stream.text(stored.subject.split(".")[3])


def _milliseconds(stored: Stored) -> int:
    return int(datetime.fromisoformat(stored.time).timestamp() * 1000)
