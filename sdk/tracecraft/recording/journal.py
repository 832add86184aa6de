"""`Journal`: the records of one writer, in segments; the caller's thread writes, the delivery reads.

Records are numbered when they are written, so a number never means two things. Neighbouring metric points share a
record that grows until the reader comes to it, another record follows, or it is full: what was read never changes.
Agents that take turns share it, too: each has a number of its own in it, and becomes an event of its own.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final

from tracecraft.recording import budget
from tracecraft.recording.segment import SUFFIX, Segment, after
from tracecraft_core.run_events import MAX_POINTS
from tracecraft_core.subjects import MAX_BODY_BYTES

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable
    from pathlib import Path

    from tracecraft.recording.position import Position

logger = logging.getLogger(__name__)

SEGMENT: Final = 4 * 1024 * 1024
"""Bytes of a segment."""
FIRST_SEGMENT: Final = 1024 * 1024
"""Bytes of a writer's first: most runs need no more."""
RESERVE: Final = 64 * 1024
"""Bytes at the end of each segment that only `_LEAVES` may use, when there is no room for another segment."""
LAST_WORD: Final = 32 * 1024
"""Bytes of the reserve that only a writer's last event may use."""
SMALL_SEGMENT: Final = 256 * 1024
"""Bytes of a segment beyond the limit, for these events of a writer that could get none."""
_LEAVES: Final = {
    **{"ended": 0, "left": 0},
    **dict.fromkeys(("started", "joined", "agent.started", "agent.ended", "step.ended"), LAST_WORD),
}
"""Events that may use the reserve, and how much of it they leave."""
START: Final = 8
"""Offset of a segment's first record."""
METRIC_BYTES: Final = 64 * 1024
"""Most bytes of points in one event."""
EVENT, POINTS = b"\x00", b"\x01"
"""What a record holds: an event's body, or points, each a line of JSON with a comma behind it.

A line with a name says whose the points behind it are; those before the first such line are the record's agent's.
"""
MOST_AGENTS: Final = 64
"""Agents that share a record."""
RETRY_S: Final = 0.2
"""Seconds between two attempts to get another segment while there is no room."""
NUMBER: Final = 8
"""Bytes of a record's number."""


class Journal:
    """A journal that is being written. All methods may be called from any thread, also inside one another."""

    def __init__(self, folder: Path | None, position: Position) -> None:
        self.folder = folder
        self.position = position
        self.segments: list[Segment] = []
        self.recorded = 0
        """Events and points that were taken."""
        self.asleep = True
        """The reader waits to be woken."""
        self.wake: Callable[[], None] = _nobody
        """Wakes the reader; called with the next record when it is `asleep`."""
        self.want: Callable[[], None] = _nobody
        """Asks for `prepare`, once a segment."""
        self._lock = threading.RLock()
        self._busy = False
        self._inner: list[tuple[str, str, bytes, bytes]] = []
        self._spare: Segment | None = None
        self._files = itertools.count(1)
        self._number = 0
        self._map: mmap.mmap
        self._words: memoryview[int]
        self._end = self._size = self._whole = 0
        self._prefixes: dict[tuple[str, str, bytes], bytes] = {}
        self._retry_at = 0.0
        self._wanted = False
        self._closed = False
        self._warned = False
        self._open_agent: str | None = None
        self._open_agents: tuple[str, ...] = ()
        self._open_at = self._open_bytes = self._open_crc = self._open_points = 0

    @property
    def number(self) -> int:
        """Number of the last event; 0 when there is none."""
        return self._number

    def event(self, agent: str, event: str, body: bytes) -> bool:
        """Append an event; ``False`` when it had to be dropped."""
        return self._guarded(agent, event, body, EVENT)

    def point(self, agent: str, text: bytes) -> bool:
        """Append a metric point, ``[key,value,step,time],\\n``; ``False`` when it had to be dropped."""
        with self._lock:
            line, agents, number = text, self._open_agents, self._number
            if agent != self._open_agent:
                text = agent.encode() + b"\n" + text
                if agent not in agents:
                    agents, number = (*agents, agent), number + 1
            size = self._open_bytes + len(text)
            if (
                not self._open_agents
                or len(agents) > MOST_AGENTS
                or self._busy
                or size > METRIC_BYTES
                or self._open_points >= MAX_POINTS
                or self._open_at + 8 + size > self._size
            ):
                return self._guarded(agent, "metric", line, POINTS)
            self._busy = True
            try:
                start = self._open_at + 8 + self._open_bytes
                self._map[start : start + len(text)] = text
                crc = zlib.crc32(text, self._open_crc)
                # No call from here on: an exception out of a signal handler comes before all of this, or after it.
                self._words[self._open_at >> 3] = size | crc << 32
                self._open_agent, self._open_agents, self._number = agent, agents, number
                self._open_bytes = size
                self._open_crc = crc
                self._open_points += 1
                self._end = (self._open_at + 15 + size) & ~7
                self.recorded += 1
            finally:
                self._busy = False
            if self._inner:
                self._write_inner()
        return True

    def seal(self, segment: Segment, offset: int) -> None:
        """The reader has come to this record: nothing is added to it any more."""
        with self._lock:
            if self._open_at == offset and self.segments and self.segments[-1] is segment:
                self._close_points()

    def prepare(self) -> None:
        """Have the next segment ready before it is needed: a busy disk may take a tenth of a second for one."""
        if self._spare is None and self._end > self._size // 2 and not self._warned:
            spare = self._new_segment(quietly=True)
            if spare is not None and not self._keep(spare):
                self.discard(spare)

    def _keep(self, spare: Segment) -> bool:
        with self._lock:
            if self._spare is not None or self._closed:
                return False
            self._spare = spare
            return True

    def discard(self, segment: Segment) -> None:
        """Delete a segment, and give back its room."""
        (budget.disk if segment.path is not None else budget.memory).give(segment.size)
        segment.remove()

    def drop(self, count: int = 1) -> None:
        """Count records that are lost."""
        with self._lock:
            self.position.dropped += count

    def keep(self, agent: str, event: str, body: bytes) -> bool:
        """Write the last event, which lies in memory, once more to a file; nobody reads or writes any more.

        ``False`` when no file has room for it. It gets the number behind the last one that is on the disk, unless the
        log may know that number as another event's: then it keeps its own.
        """
        with self._lock:
            files = [segment for segment in self.segments if segment.path is not None]
            if not files:
                small = self._small_segment()
                files = [small] if small is not None else []
                self.segments += files
            if not files or not self.segments:
                return False
            end, last = _end(files[-1])
            last = max(last, self.position.acked)
            number = self._number if self.position.sent > last else last + 1
            content = number.to_bytes(NUMBER, "little") + self._prefix(agent, event, EVENT) + body
            if end + 8 + len(content) > files[-1].size:
                return False
            files[-1].map[end + 8 : end + 8 + len(content)] = content
            files[-1].words[end >> 3] = len(content) | zlib.crc32(content) << 32
            return True

    def close(self) -> None:
        """Unmap everything; what is not delivered stays in its files, and nothing can be appended any more."""
        with self._lock:
            self._size = self._whole = self._end = 0
            self._retry_at = float("inf")
            self._closed = True
            self._close_points()
            for segment in [*self.segments, *([self._spare] if self._spare else [])]:
                (budget.disk if segment.path is not None else budget.memory).give(segment.size)
                if segment is self._spare:
                    segment.remove()
                else:
                    segment.close()
            self.segments, self._spare = [], None

    # -- writing, under the lock ---------------------------------------------------------------------------------

    def _guarded(self, agent: str, event: str, body: bytes, kind: bytes) -> bool:
        with self._lock:
            if self._busy:  # a signal handler or a finalizer, in the middle of a record of this very thread
                self._inner.append((agent, event, body, kind))
                return True
            self._busy = True
            try:
                done = self._append(agent, event, body, kind)
            finally:
                self._busy = False
            if self._inner:
                self._write_inner()
        if self.asleep:
            self.asleep = False
            self.wake()
        return done

    def _write_inner(self) -> None:
        while self._inner:
            self._guarded(*self._inner.pop(0))

    def _append(self, agent: str, event: str, body: bytes, kind: bytes) -> bool:
        self._close_points()
        if len(body) > MAX_BODY_BYTES:
            logger.warning("an event %r of %s with %d bytes was dropped: it is too large", event, agent, len(body))
            self.position.dropped += 1
            return False
        number = self._number + 1
        prefix = self._prefixes.get((agent, event, kind)) or self._prefix(agent, event, kind)
        content = number.to_bytes(NUMBER, "little") + prefix + body
        if self._end + 8 + len(content) > self._size and not self._turn() and not self._reserved(event, len(content)):
            self.position.dropped += 1
            return False
        at, size = self._end, len(content)
        self._map[at + 8 : at + 8 + size] = content
        end, crc = after(at, size), zlib.crc32(content)
        # No call from here on: an exception out of a signal handler comes before all of this, or after it.
        if kind is POINTS:
            self._open_agent, self._open_agents = agent, (agent,)
            self._open_at = at
            self._open_bytes = size
            self._open_crc = crc
            self._open_points = 1
        self._words[at >> 3] = size | crc << 32
        self._end = end
        self._number = number
        self.recorded += 1
        if end << 1 > self._size and not self._wanted:
            self._wanted = True
            self.want()
        return True

    def _prefix(self, agent: str, event: str, kind: bytes) -> bytes:
        one, two = agent.encode(), event.encode()
        prefix = kind + bytes((len(one), len(two))) + one + two
        if len(self._prefixes) < 10_000:
            self._prefixes[agent, event, kind] = prefix
        return prefix

    def _close_points(self) -> None:
        self._open_agent, self._open_agents = None, ()

    def _turn(self) -> bool:
        """Go on to another segment; ``False`` when there is no room for one."""
        segment = self._spare
        if segment is None:
            now = time.monotonic()
            if now < self._retry_at:
                return False
            segment = self._new_segment(quietly=False)
            if segment is None:
                self._retry_at = now + RETRY_S
                return False
        self._spare, self._wanted = None, False
        self._go_on_in(segment, segment.size - RESERVE)
        return True

    def _go_on_in(self, segment: Segment, size: int) -> None:
        self._map, self._words, self._end = segment.map, segment.words, START
        self._size, self._whole = size, segment.size
        self.segments.append(segment)

    def _reserved(self, event: str, size: int) -> bool:
        """Whether this event may use the reserve, and there is enough of it."""
        leaves = _LEAVES.get(event)
        if leaves is None or self._closed:
            return False
        if not self.segments:
            self._go_on_in(self._small_segment() or Segment.in_memory(SMALL_SEGMENT), 0)
        return self._end + 8 + size <= self._whole - leaves

    def _small_segment(self) -> Segment | None:
        """A file, whatever the limit says; ``None`` when the disk takes none."""
        if self.folder is None:
            return None
        try:
            segment = Segment.create(self.folder / f"{next(self._files):08}{SUFFIX}", SMALL_SEGMENT)
        except OSError as error:
            logger.debug("no small segment either: %s", error)
            return None
        budget.disk.take_anyway(SMALL_SEGMENT)
        return segment

    def _new_segment(self, *, quietly: bool) -> Segment | None:
        size = SEGMENT if self.segments else FIRST_SEGMENT
        reason = "its limit is reached" if self.folder is not None else "nothing can be written"
        if self.folder is not None and budget.disk.take(size):
            try:
                return Segment.create(self.folder / f"{next(self._files):08}{SUFFIX}", size)
            except OSError as error:
                budget.disk.give(size)
                reason = str(error.strerror)
                segment = self._in_memory(size)
        else:
            segment = self._in_memory(size) if self.folder is None else None
        if not quietly:
            self._warn(reason, kept=segment is not None)
        return segment

    def _in_memory(self, size: int) -> Segment | None:
        if not budget.memory.take(size):
            return None
        return Segment.in_memory(size)

    def _warn(self, reason: str, *, kept: bool) -> None:
        if self._warned or (kept and self.folder is None):
            return
        if kept:
            logger.warning("the spool %s takes no more (%s): records are kept in memory", self.folder, reason)
            return
        self._warned = True
        logger.warning(
            "the spool %s is full (%s): records are dropped and counted until some are delivered",
            self.folder or "in memory",
            reason,
        )


def _end(segment: Segment) -> tuple[int, int]:
    """Where the next record of a segment begins, and the number of the last event in it; 0: there is none."""
    offset, last = START, 0
    while (content := segment.content(offset, check=False)) is not None:
        last = int.from_bytes(content[:NUMBER], "little")
        if content[NUMBER : NUMBER + 1] == POINTS:  # each agent but the first has a number more
            agent, body = NUMBER + 3 + content[NUMBER + 1], NUMBER + 3 + content[NUMBER + 1] + content[NUMBER + 2]
            named = {line for line in content[body:].split(b"\n") if line and line[:1] != b"["}
            last += len(named - {content[NUMBER + 3 : agent]})
        offset = after(offset, len(content))
    return offset, last


def _nobody() -> None:
    """Nobody waits."""
