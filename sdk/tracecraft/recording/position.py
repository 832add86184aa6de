"""`Position`: how far a journal is delivered, in a file that survives its process."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from tracecraft.recording.segment import allocate

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "position"
_MAGIC: Final = int.from_bytes(b"TCPOSN1\n", "little")
_SIZE: Final = 4096
_ACKED, _SEQ, _SENT, _DOUBT, _SENT_AT, _DROPPED = range(1, 7)


class Position:
    """Numbers that are each written in one store."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._map = memory
        self._words = memoryview(memory).cast("Q")

    @classmethod
    def open(cls, folder: Path | None) -> Position:
        """That of a writer's folder, made when there is none; ``None``: in memory. Raises ``OSError``."""
        if folder is None:
            return cls(mmap.mmap(-1, _SIZE))
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                allocate(descriptor, _SIZE)
            position = cls(mmap.mmap(descriptor, _SIZE))
        finally:
            os.close(descriptor)
        position._words[0] = _MAGIC
        return position

    @property
    def acked(self) -> int:
        """Number of the last event that the log has, with all before it."""
        return self._words[_ACKED]

    @property
    def seq(self) -> int:
        """Its sequence in the log."""
        return self._words[_SEQ]

    def acknowledge(self, number: int, seq: int) -> None:
        """The log has this event and all before it."""
        if seq:
            self._words[_SEQ] = seq
        self._words[_ACKED] = number

    @property
    def sent(self) -> int:
        """Highest number that was ever handed to a connection: from `acked` to here nobody knows."""
        return self._words[_SENT]

    @property
    def sent_at(self) -> int:
        """When that was; microseconds since 1970."""
        return self._words[_SENT_AT]

    def note_sent(self, number: int, now: int) -> None:
        """This event is about to be handed to a connection."""
        if number > self._words[_SENT]:
            self._words[_SENT_AT] = now
            self._words[_SENT] = number

    @property
    def doubt_since(self) -> int:
        """When the oldest event between `acked` and `sent` was first sent; microseconds since 1970."""
        return self._words[_DOUBT]

    @doubt_since.setter
    def doubt_since(self, time: int) -> None:
        self._words[_DOUBT] = time

    @property
    def dropped(self) -> int:
        """Records that were lost."""
        return self._words[_DROPPED]

    @dropped.setter
    def dropped(self, count: int) -> None:
        self._words[_DROPPED] = count

    def close(self) -> None:
        """Unmap; the file stays, and what is written from now on is remembered here only."""
        last = memoryview(bytearray(self._map)).cast("Q")
        self._words.release()
        self._words = last
        self._map.close()
