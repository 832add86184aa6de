"""What is uploaded: a file whose hash is known and that must stay as it was, or bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Protocol

from tracecraft.transfer.http import BLOCK
from tracecraft_core.errors import FileProblem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Source(Protocol):
    """Bytes of known length and hash."""

    sha256: str
    size: int

    def blocks(self, first: int, length: int) -> Iterator[bytes | memoryview]:
        """These bytes, block by block."""

    def check(self) -> None:
        """Raises `FileProblem` when it is no longer what was hashed."""


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.sha256, self.size = hashlib.sha256(data).hexdigest(), len(data)

    def blocks(self, first: int, length: int) -> Iterator[bytes | memoryview]:
        """These bytes, block by block."""
        for at in range(first, first + length, BLOCK):
            yield self._data[at : min(at + BLOCK, first + length)]

    def check(self) -> None:
        """Nobody can change them."""


class FileSource:
    """A file, opened once, so that a rename does not matter; its hash is taken here, which reads it through.

    Raises `FileProblem` when it is not there, cannot be read, is no ordinary file or changes meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self._problem(error.strerror or str(error), "give the path of a file that can be read") from None
        try:
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode):
                raise self._problem("not an ordinary file", "a folder's files are put one by one")
            self._mark = _mark(found)
            self.sha256, self.size = self._hash()
            self.check()
        except BaseException:
            self.close()
            raise

    def blocks(self, first: int, length: int) -> Iterator[bytes | memoryview]:
        """These bytes, block by block. Raises `FileProblem` when the file has become shorter."""
        while length:
            block = self._read(first, min(BLOCK, length))
            if not block:
                raise self._changed()
            yield block
            first, length = first + len(block), length - len(block)

    def check(self) -> None:
        """Raises `FileProblem` when somebody has written to it, removed it or put another in its place."""
        try:
            there = os.stat(self._path)
        except OSError:
            raise self._problem("it vanished while it was read", "nothing was kept; put it again") from None
        if _mark(os.fstat(self._file)) != self._mark or not os.path.samestat(there, os.fstat(self._file)):
            raise self._changed()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _hash(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        while block := self._read(size, BLOCK):
            digest.update(block)
            size += len(block)
        return digest.hexdigest(), size

    def _read(self, at: int, length: int) -> bytes:
        try:
            return os.pread(self._file, length, at)
        except OSError as error:
            raise self._problem(error.strerror or str(error), "the disk does not give it back") from None

    def _changed(self) -> FileProblem:
        return self._problem("it changed while it was read", "put it when nobody writes to it, or put a copy")

    def _problem(self, problem: str, what_to_do: str) -> FileProblem:
        return FileProblem(str(self._path), problem, what_to_do)


def _mark(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
