"""`Lines`: the whole lines of a file from a place on; a last line that is half written waits."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import IO, TYPE_CHECKING, Final

import msgspec

from tracecraft.transcripts.thread import Thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK: Final = 256 * 1024
"""Bytes that are read at once."""
LONGEST_LINE: Final = 32 * 1024 * 1024
"""Bytes of a line; a longer one is passed over, and counted."""
MARK: Final = 64
"""Bytes before a place by which it is known again."""


class Rewritten(Exception):
    """The transcript is not the one that was read so far: it is shorter, or says something else."""


class Place(msgspec.Struct, omit_defaults=True):
    """How far a file, or a session in a database, was read, and what the parser must remember there."""

    offset: int = 0
    """Bytes, of the content where the file is compressed; in a database the number of the last row."""
    mark: str = ""
    """By which the content before the place is known again."""
    skipping: bool = False
    """Whether it lies inside of a line that is passed over."""
    thread: Thread = msgspec.field(default_factory=Thread)


class Lines:
    """Reads one file; opened anew for every `read`, so that nothing is held of a file that is deleted."""

    def __init__(self, path: Path, place: Place) -> None:
        self.path, self.place = path, place
        self.at_end = False
        """Whether the last `read` came to the end of what was there."""
        self._known: tuple[int, int, int] | None = None
        """Inode, size and time of the file when its end was reached."""

    def read(self, budget: int) -> Iterator[tuple[int, bytes]]:
        """Lines with their places, of about ``budget`` bytes; `place` follows. Raises `Rewritten`, ``OSError``."""
        now = _state(self.path)
        if self._known == now:
            return
        self._known, self.at_end = None, False
        with self._open() as file:
            self._check(file, now[1])
            yield from self._lines(file, budget)
        if self.at_end:
            self._known = now

    def _open(self) -> IO[bytes]:
        if self.path.suffix != ".zst":
            return open_regular(self.path)
        import io

        import zstandard

        raw = open_regular(self.path)
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True))

    def _check(self, file: IO[bytes], size: int) -> None:
        """Go to the place, if the content before it is what it was."""
        place = self.place
        if self.path.suffix != ".zst" and size < place.offset:
            raise Rewritten(f"{self.path.name} has {size:,} bytes, {place.offset:,} were read")
        start = max(0, place.offset - MARK)
        if file.seekable() and self.path.suffix != ".zst":
            file.seek(start)
        else:
            _skip(file, start)
        before = file.read(place.offset - start) if place.offset else b""
        if place.offset and place.mark != _digest(before):
            raise Rewritten(f"{self.path.name} says something else before byte {place.offset:,}")
        self._before = before

    def _lines(self, file: IO[bytes], budget: int) -> Iterator[tuple[int, bytes]]:
        place, rest = self.place, b""
        while True:
            block = file.read(BLOCK)
            if not block:
                self.at_end = True
                return
            searched = len(rest)
            rest += block
            end = rest.rfind(b"\n", searched) + 1
            if not end:
                if place.skipping or len(rest) > LONGEST_LINE:
                    self._pass_over(rest)
                    budget, rest = budget - len(rest), b""
                    if budget <= 0:
                        return
                continue
            whole, rest = rest[:end], rest[end:]
            for line in whole.splitlines(keepends=True) if b"\r" not in whole else _split(whole):
                if place.skipping:
                    place.skipping = False
                elif line.strip():
                    yield place.offset, line  # the place is behind it only when the next one is asked for
                self._before = (self._before + line)[-MARK:]
                place.offset, place.mark = place.offset + len(line), ""
            place.mark = _digest(self._before)
            budget -= len(whole)
            if budget <= 0:
                return

    def _pass_over(self, rest: bytes) -> None:
        place = self.place
        if not place.skipping:
            place.thread.count("too long")
        self._before = (self._before + rest[-MARK:])[-MARK:]
        place.offset, place.mark, place.skipping = place.offset + len(rest), _digest(self._before), True

    def finish(self) -> None:
        """Fix the mark where reading was broken off between two lines."""
        if self.place.offset and not self.place.mark:
            self.place.mark = _digest(self._before)


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read it; a pipe or a device, which would block or never end, is refused: ``OSError``.

    Looked at before, as opening some devices does something, and after, as it may have been replaced.
    """
    _regular(os.stat(path), path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "only regular files are read, and it is none", str(path))


def _state(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _split(whole: bytes) -> list[bytes]:
    """Lines that end with a newline only: a carriage return inside of one does not."""
    return [line + b"\n" for line in whole.split(b"\n")[:-1]]


def _skip(file: IO[bytes], count: int) -> None:
    while count > 0:
        block = file.read(min(count, BLOCK))
        if not block:
            raise Rewritten("the file is shorter than what was read of it")
        count -= len(block)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
