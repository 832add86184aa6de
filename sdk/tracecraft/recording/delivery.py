"""`Delivery`: takes one journal to the log, in order, each event once.

Events go out many at a time and are answered one by one; `Position` moves behind the first that is not answered yet.
After a break everything from there is sent again under its old ids, which the log recognises for two minutes. When
more may have passed, the log is read first. The bridge recognises a repeat for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tracecraft.recording.doubt import stored
from tracecraft.recording.wire import NO_STREAM
from tracecraft_core import subjects, topology
from tracecraft_core.errors import NotFound, NotPermitted, TracecraftError, UsageError
from tracecraft_core.transport import ConnectionDropped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracecraft.recording.journal import Journal
    from tracecraft.recording.position import Position
    from tracecraft.recording.reader import Place, Reader, Record
    from tracecraft.recording.segment import Segment
    from tracecraft.recording.spool import Owner
    from tracecraft.recording.wire import Answer, Wire

logger = logging.getLogger(__name__)

WINDOW: Final = 512
"""Most events under way."""
WINDOW_BYTES: Final = 4 * 1024 * 1024
"""Most bytes under way."""
CHUNK: Final = 16
"""Events that are sent before other threads get the interpreter again: about half a millisecond."""
ANSWER_S: Final = 5.0
"""Seconds without any answer after which everything is sent again."""
TICK_S: Final = 0.05
"""Seconds between two looks into a journal that is being written."""
AWAKE_S: Final = 1.0
"""Seconds without a record after which the writer has to wake us."""
RECOGNISED_S: Final = subjects.DUPLICATE_WINDOW_S - 20
"""Seconds after the first sending for which we rely on the log to recognise a repeat."""
PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two attempts while the log takes nothing."""
CERTAIN: Final = 3
"""Refusals of a subject after which its events are put aside: rights that are being changed get a second to settle."""
TOO_LARGE: Final = 10054
"""JetStream: the message is over the stream's limit. It will never be stored."""


@dataclass(slots=True, eq=False)
class Sent:
    """An event under way."""

    number: int
    place: Place
    size: int
    subject: str
    points: int
    first: int
    """When it was first sent; microseconds since 1970."""
    done: bool = False
    seq: int = 0


class Broken(Exception):
    """What is under way has to be sent again; the text says why."""


class Delivery:
    """Delivers one journal; lives on one event loop."""

    def __init__(
        self,
        wire: Wire,
        owner: Owner,
        segments: list[Segment],
        reader: Reader,
        position: Position,
        journal: Journal | None = None,
    ) -> None:
        self.acknowledged = 0
        """Events and points that the log has, by its own word."""
        self.events = 0
        """Events that the log has."""
        self.lost = 0
        """Events and points that no server will ever take."""
        self.before: Callable[[], Awaitable[None]] | None = None
        """Awaited on every new connection, before anything is sent on it."""
        self.trouble = ""
        """Why the log takes nothing right now; empty when all is well."""
        self.told: Callable[[], None] = _nobody
        """Told of every answer, and of trouble."""
        self._wire, self._owner, self._segments = wire, owner, segments
        self._reader, self._position, self._journal = reader, position, journal
        self._under_way: deque[Sent] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._woken = asyncio.Event()
        self._broken: Broken | None = None
        self._known: dict[int, int] = {}
        self._again = (0, 0)
        self._failures = 0
        self._complained = self._said_denied = False
        self._subjects: dict[tuple[str, str], str] = {}
        self._accepted = False
        self._denied: set[str] = set()
        self._denials: dict[str, int] = {}
        self._generation = -1

    def wake(self) -> None:
        """Look for records now."""
        self._woken.set()

    async def run(self, *, once: bool = False) -> None:
        """Deliver for ever; with ``once`` until the journal is at its end and all of it is acknowledged."""
        self._wire.on_break.add(self._on_break)
        try:
            while True:
                await self._wire.up()
                try:
                    await self._deliver(once=once)
                    return
                except (Broken, ConnectionDropped, TracecraftError) as error:
                    await self._recover(error)
        finally:
            self._wire.on_break.discard(self._on_break)

    async def _deliver(self, *, once: bool) -> None:
        self._start_again()
        generation = self._wire.bus.transport.generation
        if generation != self._generation:
            self._generation = generation
            self._denials.clear()  # another connection may have other rights
        await self._settle_doubt()
        if self.before is not None:
            await self.before()
        quiet_since, loop = None, asyncio.get_running_loop()
        while True:
            if self._broken is not None:
                raise self._broken
            if await self._send_some():
                quiet_since = None
                await asyncio.sleep(0)
            elif self._under_way:
                await self._await_answer()
            elif once:
                return
            else:
                quiet_since = quiet_since or loop.time()
                await self._rest(loop.time() - quiet_since > AWAKE_S)

    def _start_again(self) -> None:
        """Go back behind what is acknowledged."""
        self._broken = None
        if self._under_way:
            self._reader.back(self._under_way[0].place)
            self._position.doubt_since = self._under_way[0].first
        self._under_way.clear()
        self._bytes = 0
        self._again = (self._position.sent, self._position.doubt_since)

    # -- sending -------------------------------------------------------------------------------------------------

    async def _send_some(self) -> int:
        sent = 0
        while sent < CHUNK and len(self._under_way) < WINDOW and self._bytes < WINDOW_BYTES:
            record = self._reader.next()
            if record is None:
                break
            if record.number > self._position.acked:
                await self._send(record)
                sent += 1
        return sent

    async def _send(self, record: Record) -> None:
        now, (again, since) = time.time_ns() // 1000, self._again
        first = since if record.number <= again else now
        subject = self._subject(record)
        one = Sent(record.number, record.place, len(record.body), subject, record.points, first)
        if not self._under_way:
            self._position.doubt_since = first
        self._under_way.append(one)
        self._bytes += one.size
        if record.number in self._known:
            self._done(one, self._known.pop(record.number))
            return
        if self._denials and self._is_certainly_denied(subject):
            self._put_aside(one)
            return
        self._position.note_sent(record.number, now)
        msg_id = f"{self._owner.writer}:{record.number}"
        try:
            await self._wire.send(subject, record.body, msg_id, partial(self._heard, one))
        except UsageError as error:
            self._give_up(one, str(error))

    def _subject(self, record: Record) -> str:
        subject = self._subjects.get((record.agent, record.event))
        if subject is None:
            subject = subjects.run_event(self._owner.project, self._owner.run, record.agent, record.event)
            self._subjects[record.agent, record.event] = subject
        return subject

    # -- answers -------------------------------------------------------------------------------------------------

    def _heard(self, one: Sent, answer: Answer) -> None:
        if answer.error is None:
            self._accepted = True
            self._denials.pop(one.subject.lower(), None)
            self._done(one, answer.seq)
        elif answer.error.err_code == TOO_LARGE:
            self._give_up(one, answer.error.description)
        elif self._broken is None:
            self._broken = _Refused(answer.error.err_code, answer.error.description)
            self._changed.set()

    def _done(self, one: Sent, seq: int) -> None:
        one.done, one.seq = True, seq
        under_way = self._under_way
        while under_way and under_way[0].done:
            self.trouble, self._failures = "", 0
            first = under_way.popleft()
            self._bytes -= first.size
            self._position.acknowledge(first.number, first.seq)
            points = 1 if self._journal is None else first.points
            if first.seq:
                self.events += 1
                self.acknowledged += points
            else:
                self.lost += points
            if first.place.segment is not self._segments[0]:
                self._remove_read(first.place.segment)
        if under_way:
            self._position.doubt_since = under_way[0].first
        self._changed.set()
        self.told()

    def _give_up(self, one: Sent, reason: str) -> None:
        logger.warning("event %d of run %s was dropped: %s", one.number, self._owner.run, reason)
        self._done(one, 0)

    def _is_certainly_denied(self, subject: str) -> bool:
        """Of what a dead process left nothing is dropped: whoever delivers it may have fewer rights.

        A user who may write nothing at all is a mistake that somebody will mend: everything is kept.
        """
        return self._journal is not None and self._accepted and self._denials.get(subject.lower(), 0) >= CERTAIN

    def _put_aside(self, one: Sent) -> None:
        if not self._said_denied:
            self._said_denied = True
            logger.warning(
                "run %s: what the bus user may not write is dropped and counted, first event %d: "
                "it may not publish to %r",
                self._owner.run,
                one.number,
                one.subject,
            )
        self._done(one, 0)

    def _remove_read(self, current: Segment) -> None:
        while self._segments[0] is not current:
            segment = self._segments.pop(0)
            if self._journal is not None:
                self._journal.discard(segment)
            else:
                segment.remove()

    def _on_break(self, trouble: Exception) -> None:
        if not isinstance(trouble, NotPermitted):
            self._broken = Broken("the connection was lost")
        elif trouble.operation == "subscribe to":
            self._broken = _Refused(0, str(trouble))
        elif any(one.subject.lower() == trouble.subject and not one.done for one in self._under_way):
            self._denied.add(trouble.subject)
            self._broken = _Denied(str(trouble))
        else:
            return  # it is about what others send on this connection
        self._changed.set()
        self._woken.set()

    # -- waiting -------------------------------------------------------------------------------------------------

    async def _await_answer(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._changed.wait()
        except TimeoutError:
            raise Broken(f"no answer for {ANSWER_S:.0f} s") from None

    async def _rest(self, long: bool) -> None:
        """Nothing to do: look again soon, and after a while only when the writer says so."""
        journal = self._journal
        assert journal is not None
        if long and not journal.asleep:
            journal.asleep = True
            return  # and one more look: what was written until now did not wake us
        self._woken.clear()
        if not long:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._woken.wait()
            return
        if self._broken is None and journal.asleep:
            await self._woken.wait()

    async def _recover(self, error: Exception) -> None:
        """Pause; say once why the log takes nothing. A connection that broke is told by the wire."""
        self.trouble = str(error) or "the connection was lost"
        self.told()
        for subject in self._denied:
            self._denials[subject] = self._denials.get(subject, 0) + 1
        self._denied.clear()
        missing = isinstance(error, _Refused) and error.code == NO_STREAM
        if missing:
            with contextlib.suppress(TracecraftError, ConnectionDropped):
                await topology.ensure(self._wire.bus)
        denied = isinstance(error, _Denied) and (self._accepted or self._failures < CERTAIN)
        if not self._complained and isinstance(error, (_Refused, TracecraftError)) and not missing and not denied:
            self._complained = True
            logger.warning("the log takes nothing of run %s: %s; its records are kept", self._owner.run, error)
        await asyncio.sleep(PAUSES_S[min(self._failures, len(PAUSES_S) - 1)])
        self._failures += 1

    # -- doubt ---------------------------------------------------------------------------------------------------

    async def _settle_doubt(self) -> None:
        """Learn which events are in the log already, when it may not recognise them any more."""
        position = self._position
        self._known.clear()
        age = time.time() - position.doubt_since / 1e6
        if position.sent <= position.acked or 0 <= age < RECOGNISED_S:
            return
        self._again = (0, 0)
        with contextlib.suppress(NotFound):
            self._known = await stored(self._wire.bus, self._owner, position)


def _nobody() -> None:
    """Nobody waits."""


class _Refused(Broken):
    """The server refuses to store; it may do so later."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code


class _Denied(_Refused):
    """The user lacks the right to a subject."""

    def __init__(self, description: str) -> None:
        super().__init__(0, description)
