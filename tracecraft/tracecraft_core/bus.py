"""The few verbs that everything is made of, over JetStream's own API.

nats-py's helpers for KV and publishing have traps (docs/explanation/bus.md), so nothing else in tracecraft calls them.
Two rules hold in every verb: a timeout is never taken as "not written", and a decision is made by a compare-and-set
write, never by a read.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_core import ids, inside, subjects
from tracecraft_core.errors import (
    BodyTooLarge,
    BusError,
    BusUnreachable,
    LogFull,
    NotFound,
    OutcomeUnknown,
    RevisionConflict,
    TracecraftError,
)
from tracecraft_core.transport import ConnectionDropped, NoResponders, ServerOptions, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tracecraft_core.opening import Opening

ATTEMPT_S: Final = 2.0
"""Seconds that one request may take before it is sent again."""

PATIENCE_S: Final = 15.0
"""Seconds for which a verb repeats itself: an election of a three-node cluster takes 4 to 9."""

_UNCERTAIN = (ConnectionDropped, NoResponders, TimeoutError)


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream holds it."""

    subject: str
    seq: int
    """Sequence in its stream; in a bucket this is the revision."""
    data: bytes
    headers: Mapping[str, str]
    time: str
    """When the server stored it, RFC 3339 with nanoseconds, UTC."""

    @property
    def deleted(self) -> bool:
        """Whether this stands for "no value": a deletion, or the server's marker of a lapsed TTL."""
        return subjects.KV_OPERATION in self.headers or subjects.MARKER_REASON in self.headers

    @property
    def lapsed(self) -> bool:
        """Whether this is the server's marker of a lapsed TTL."""
        return self.headers.get(subjects.MARKER_REASON) == "MaxAge"


@dataclass(frozen=True, slots=True)
class Ack:
    """The server's acknowledgement of a publish."""

    stream: str
    seq: int
    duplicate: bool
    """The server had this ``Nats-Msg-Id`` already: ``seq`` is that of the first."""


class Bus:
    """The verbs of core over one connection. Open it with `connect`, close it with `close`."""

    def __init__(self, options: ServerOptions, *, name: str = "tracecraft", patience: float = PATIENCE_S) -> None:
        self.transport = Transport(options, name)
        self.patience = patience
        self._prefix = options.js_prefix
        self.on_missing_stream: Callable[[Bus], Awaitable[None]] | None = None
        """Called once when a stream is missing; it creates what is missing (see `topology.ensure`)."""
        self._creation: asyncio.Task[None] | None = None
        self.run: str | None = None
        """The run in which its writes are made where `inside.RUN` names none."""
        self.opening: Opening | None = None
        """Opens the connection at the first verb, where nobody called `connect`."""

    async def connect(self) -> Bus:
        """Connect; raises `BusUnreachable`."""
        await self.transport.connect()
        return self

    async def close(self) -> None:
        """Flush and close; idempotent."""
        await self.transport.close()

    async def __aenter__(self) -> Bus:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- JetStream API ------------------------------------------------------------------------------------------

    async def api(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call ``$JS.API.<verb>``; repeats through an election.

        Raises `NotFound` (no such stream, consumer or message), `BusError`, `NotPermitted`, `BusUnreachable`.
        """
        payload = msgspec.json.encode(body) if body is not None else b""
        async for attempt in self._attempts():
            try:
                reply = await self.transport.request(f"{self._prefix}.{verb}", payload, timeout=attempt.seconds)
            except _UNCERTAIN as error:
                attempt.note(error)
                continue
            answer: dict[str, Any] = msgspec.json.decode(reply.data)
            failure = answer.get("error")
            if failure is None:
                return answer
            code = failure.get("err_code")
            missing = code == subjects.STREAM_NOT_FOUND and not attempt.created
            if code in subjects.JETSTREAM_NOT_READY or (missing and await self._created(attempt)):
                attempt.note(failure.get("description", "not ready"))
                continue
            raise _translated(verb, failure, ".".join(verb.split(".")[2:3]))
        raise self._gave_up(attempt)

    async def leader_get(self, stream: str, subject: str) -> Stored | None:
        """The newest message on a subject, read from the stream's leader; ``None`` when there is none."""
        return await self._get(stream, {"last_by_subj": subject})

    async def get(self, stream: str, seq: int) -> Stored | None:
        """The message with a sequence; ``None`` when the stream does not keep it."""
        return await self._get(stream, {"seq": seq})

    async def next_after(self, stream: str, subject: str, seq: int) -> Stored | None:
        """The first message on a subject (wildcards allowed) behind a sequence."""
        return await self._get(stream, {"seq": seq + 1, "next_by_subj": subject})

    async def _get(self, stream: str, query: Mapping[str, Any]) -> Stored | None:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", query)
        except NotFound:
            return None
        return _stored(answer["message"])

    async def list_subjects(self, stream: str, pattern: str) -> dict[str, int]:
        """Every subject of a stream that matches, with its number of messages; one consistent answer a page."""
        found: dict[str, int] = {}
        while True:
            try:
                info = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": len(found)})
            except NotFound:
                return {}
            page = info["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= info.get("total", 0):
                return found

    async def last_values(self, stream: str, pattern: str) -> list[Stored]:
        """The newest value of every matching subject, without deletions, ordered by sequence."""
        names = list(await self.list_subjects(stream, pattern))
        values: list[Stored] = []
        for start in range(0, len(names), 256):
            page = await asyncio.gather(*(self.leader_get(stream, name) for name in names[start : start + 256]))
            values += [value for value in page if value is not None and not value.deleted]
        return sorted(values, key=lambda value: value.seq)

    # -- writing ------------------------------------------------------------------------------------------------

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        msg_id: str | None = None,
        ttl: int | None = None,
    ) -> Ack:
        """Store a message, once: repeats carry the same id for as long as an election takes.

        ``ttl`` is in whole seconds. Raises `OutcomeUnknown` when no acknowledgement came in `patience` seconds,
        `LogFull`, `NotPermitted`, `BodyTooLarge`, `BusError`.
        """
        marked = inside.mark(subject, headers, self.run)
        sent = self._headers(marked, msg_id or ids.fresh(), ttl, None)
        self._check_size(subject, body)
        await inside.settle(marked)
        async for attempt in self._attempts():
            try:
                return await self._publish_once(subject, body, sent, attempt.seconds)
            except NoResponders as error:
                await self._created(attempt)
                attempt.note(error)
            except (ConnectionDropped, TimeoutError, _TryAgain) as error:
                attempt.note(error)
        raise self._gave_up_writing(subject, attempt)

    async def cas(
        self,
        stream: str,
        subject: str,
        body: bytes,
        expected: int,
        *,
        headers: Mapping[str, str] | None = None,
        ttl: int | None = None,
    ) -> int:
        """Compare and set: write only if the subject's newest message has sequence ``expected`` (0: none).

        Returns the new revision. A lost reply is resolved by looking at the leader for our own write, so the answer is
        always the truth. Raises `RevisionConflict` (nothing was written), and what `publish` raises.
        """
        msg_id = ids.fresh()
        marked = inside.mark(subject, headers, self.run)
        sent = self._headers(marked, msg_id, ttl, expected)
        self._check_size(subject, body)
        await inside.settle(marked)
        uncertain = False
        async for attempt in self._attempts():
            try:
                return (await self._publish_once(subject, body, sent, attempt.seconds)).seq
            except RevisionConflict as conflict:
                if not uncertain:
                    raise
                mine = await self._own_write(stream, subject, expected, msg_id)
                if mine is None:
                    raise RevisionConflict(subject, expected, conflict.actual) from None
                return mine
            except NoResponders as error:
                await self._created(attempt)
                attempt.note(error)
            except (ConnectionDropped, TimeoutError, _TryAgain) as error:
                uncertain = True
                attempt.note(error)
        raise self._gave_up_writing(subject, attempt) if uncertain else self._gave_up(attempt)

    async def _own_write(self, stream: str, subject: str, expected: int, msg_id: str) -> int | None:
        """Our write's revision if it was applied: a compare-and-set on ``expected`` can only be the very next one."""
        written = await self.next_after(stream, subject, expected)
        if written is not None and written.headers.get(subjects.MSG_ID) == msg_id:
            return written.seq
        return None

    async def _publish_once(self, subject: str, body: bytes, headers: dict[str, str], seconds: float) -> Ack:
        reply = await self.transport.request(subject, body, headers=headers, timeout=seconds)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        failure = answer.get("error")
        if failure is None:
            return Ack(answer["stream"], answer["seq"], answer.get("duplicate", False))
        code = failure.get("err_code", 0)
        if code in (subjects.WRONG_LAST_SEQUENCE, subjects.WRONG_LAST_SEQUENCE_INFLIGHT):
            expected = int(headers.get(subjects.EXPECTED_REVISION, 0))
            raise RevisionConflict(subject, expected, _actual_revision(failure.get("description", "")))
        if code == subjects.DUPLICATE_IN_FLIGHT or code in subjects.JETSTREAM_NOT_READY:
            raise _TryAgain(failure.get("description", ""))
        raise _translated(f"publish to {subject}", failure, _stream_of(subject))

    def _headers(
        self, given: Mapping[str, str] | None, msg_id: str, ttl: int | None, expected: int | None
    ) -> dict[str, str]:
        headers = dict(given or {})
        headers[subjects.MSG_ID] = msg_id
        if expected is not None:
            headers[subjects.EXPECTED_REVISION] = str(expected)
        if ttl is not None:
            headers[subjects.TTL] = f"{ttl}s"
        return headers

    def _check_size(self, subject: str, body: bytes) -> None:
        if len(body) > subjects.MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body for {subject}", len(body), subjects.MAX_BODY_BYTES)

    async def _created(self, attempt: Attempt) -> bool:
        """Create the streams the first time one is missing; ``False`` when nobody does that, or this call does it.

        Requests that were under way together all find the stream missing: one task creates, the others wait for it.
        """
        if self._creation is None:
            if self.on_missing_stream is None:
                return False
            self._creation = asyncio.create_task(_run(self.on_missing_stream(self)))
        elif self._creation is asyncio.current_task():
            return False
        creation, attempt.created = self._creation, True
        try:
            await asyncio.shield(creation)
        except TracecraftError:
            if self._creation is creation:
                self._creation = None  # the next verb tries again
            raise
        return True

    # -- repeating ----------------------------------------------------------------------------------------------

    async def _attempts(self) -> AsyncIterator[Attempt]:
        """Yield attempts until patience runs out, each on a live connection, with a growing pause between them.

        A closed bus has no patience: the first attempt raises `UsageError`, and there is no other one.
        """
        self.transport.check_open()
        if self.opening is not None:
            await self.opening()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience
        pause = 0.02
        attempt = Attempt()
        while True:
            attempt.seconds = min(ATTEMPT_S, max(deadline - loop.time(), pause))
            yield attempt
            if loop.time() + pause >= deadline:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)
            await self.transport.ready(max(0.0, deadline - loop.time()))
            if self.transport.closed:
                return  # what was under way may have been carried out

    def _gave_up(self, attempt: Attempt) -> TracecraftError:
        self.transport.check_open()
        if isinstance(attempt.last, NoResponders):
            return BusError(
                "asking JetStream", "no answer: JetStream is not enabled on the server, or has no leader for the stream"
            )
        return BusUnreachable(self.transport.options.shown(), f"no answer for {self.patience:.0f} s")

    def _gave_up_writing(self, subject: str, attempt: Attempt) -> TracecraftError:
        if isinstance(attempt.last, NoResponders):
            return self._gave_up(attempt)
        return OutcomeUnknown(subject, self.patience)


class Attempt:
    """One try of a verb; remembers why it failed."""

    def __init__(self) -> None:
        self.last: object = None
        self.seconds = ATTEMPT_S
        """How long it may take."""
        self.created = False
        """Whether the streams have been created for it."""

    def note(self, reason: object) -> None:
        """Remember why this try failed."""
        self.last = reason


async def _run(work: Awaitable[None]) -> None:
    await work


class _TryAgain(Exception):
    """The server cannot tell yet; nothing is decided."""


def _stored(message: dict[str, Any]) -> Stored:
    raw = base64.b64decode(message.get("hdrs", ""))
    data = base64.b64decode(message.get("data", ""))
    return Stored(message["subject"], message["seq"], data, parse_headers(raw), message["time"])


def parse_headers(raw: bytes) -> dict[str, str]:
    """Headers from their wire form (``NATS/1.0`` and ``Name: value`` lines); the first of a repeated name wins."""
    headers: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name, value.strip())
    return headers


def _actual_revision(description: str) -> int | None:
    number = description.rpartition(":")[2].strip()
    return int(number) if number.isdigit() else None


def _stream_of(subject: str) -> str:
    return subjects.kv_stream(subject.split(".")[1]) if subject.startswith("$KV.") else subjects.LOG


def _translated(doing: str, failure: Mapping[str, Any], stream: str) -> TracecraftError:
    """The one place where JetStream's errors become ours."""
    code, description = failure.get("err_code", 0), failure.get("description", "no description")
    kinds = {
        subjects.STREAM_NOT_FOUND: "stream",
        subjects.CONSUMER_NOT_FOUND: "consumer",
        subjects.MESSAGE_NOT_FOUND: "message",
    }
    if code in kinds:
        return NotFound(kinds[code], doing)
    if code == subjects.STREAM_STORE_FAILED or code in subjects.RESOURCES_EXCEEDED:
        return LogFull(stream, description)
    return BusError(doing, description, code)
