"""A segment of a journal: a file of fixed size, mapped into memory, that records are appended to.

What is in a mapped page survives SIGKILL of the process: the kernel writes it out. The file is allocated in full
before it is used, because a page that the disk has no room for would end the process with SIGBUS.

A record is a word of 8 bytes (length, and CRC-32 above it), then its content, padded to 8 bytes. The word is written
last, in one store: a record that a crash tore is not there, and there is nothing behind it.
"""

from __future__ import annotations

import mmap
import os
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

MAGIC: Final = b"TCJRNL1\n"
"""First 8 bytes; records follow."""
SUFFIX: Final = ".segment"


class Segment:
    """Memory with records in it. Make it with `create`, `in_memory` or `load`."""

    def __init__(self, memory: mmap.mmap, path: Path | None) -> None:
        self.map = memory
        self.words = memoryview(memory).cast("Q")
        self.path = path
        self.size = len(memory)
        self.last = 0
        """Number of its last record, once the journal has gone on to the next segment and this one was read."""

    @classmethod
    def create(cls, path: Path, size: int) -> Segment:
        """A new file of ``size`` bytes. Raises ``OSError``: no room, no right."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            allocate(descriptor, size)
            memory = mmap.mmap(descriptor, size)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        memory[: len(MAGIC)] = MAGIC
        return cls(memory, path)

    @classmethod
    def in_memory(cls, size: int) -> Segment:
        """Where no file can be written: its records end with the process."""
        memory = mmap.mmap(-1, size)
        memory[: len(MAGIC)] = MAGIC
        return cls(memory, None)

    @classmethod
    def load(cls, path: Path) -> Segment | None:
        """The segment of a process that is gone; ``None`` when the file was never a whole one."""
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < 2 * len(MAGIC) or file.read(len(MAGIC)) != MAGIC:
                return None
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path)

    def content(self, offset: int, *, check: bool) -> bytes | None:
        """Content of the record at ``offset``; ``None`` when there is none, or (``check``) it is damaged."""
        word = self.words[offset >> 3] if offset + 8 <= self.size else 0
        size = word & 0xFFFFFFFF
        if not word or offset + 8 + size > self.size:
            return None
        content = self.map[offset + 8 : offset + 8 + size]
        if check and zlib.crc32(content) != word >> 32:
            return None
        return content

    def close(self) -> None:
        """Unmap; the file stays."""
        self.words.release()
        self.map.close()

    def remove(self) -> None:
        """Unmap, and delete the file."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def after(offset: int, size: int) -> int:
    """Where the record behind one of ``size`` bytes at ``offset`` begins."""
    return (offset + 8 + size + 7) & ~7


def allocate(descriptor: int, size: int) -> None:
    """Give a file ``size`` bytes of zeros that the disk really has. Raises ``OSError``."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = bytes(64 * 1024)  # macOS
    for start in range(0, size, len(block)):
        os.pwrite(descriptor, block[: size - start], start)
