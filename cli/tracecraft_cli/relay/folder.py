"""`Folder`: files below one descriptor, in a place where others may write, and where no name is followed anywhere.

Every step is relative to an open folder and refuses symbolic links, so that what is swapped meanwhile cannot lead out.
Files must be regular, ours, and have one name only: a hard link or a pipe may be a trap.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY: Final = 2_000
"""Most names of a folder that are looked at."""
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk says, or one of which we have had our share."""
_DEPTH: Final = 16
"""Most folders inside of each other."""
_PIECE: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ADD: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Suspicious(Exception):
    """What lies there is not what belongs there; the message says why."""


class Folder:
    """An open folder. Names are single words, without ``/``."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: Path, *below: str) -> Folder:
        """The folder ``path``, and from there ``below``, each made if missing. Raises ``OSError``, `Suspicious`."""
        folder = cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for name in below:
            with contextlib.closing(folder):
                folder = folder.enter(name, make=True)
        return folder

    def enter(self, name: str, *, make: bool = False) -> Folder:
        """A folder in this one. Raises ``OSError``, `Suspicious`."""
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
        try:
            found = Folder(os.open(name, _FOLDER, dir_fd=self.descriptor))
        except (NotADirectoryError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise Suspicious(f"{name} is no folder") from None
        except OSError as error:
            raise _translated(name, error) from None
        if os.fstat(found.descriptor).st_uid != os.geteuid():
            found.close()
            raise Suspicious(f"{name} belongs to another user")
        return found

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)

    def names(self) -> list[str]:
        """Names in it, sorted; of very many some."""
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, MANY))

    def has(self, name: str) -> bool:
        """Whether something of that name is there."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def is_folder(self, name: str) -> bool:
        """Whether it is a folder; a link to one is not."""
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def touched(self, name: str) -> float:
        """When it was written, in seconds since 1970. Raises ``OSError``."""
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mtime

    def open_file(self, name: str, limit: int) -> int:
        """A descriptor of a file of at most ``limit`` bytes. Raises ``OSError``, `Suspicious`."""
        try:
            descriptor = os.open(name, _READ, dir_fd=self.descriptor)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _translated(name, error) from None
        try:
            _check(name, os.fstat(descriptor), limit)
        except Suspicious:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, name: str, limit: int) -> bytes:
        """A file of at most ``limit`` bytes. Raises ``OSError``, `Suspicious`."""
        with os.fdopen(self.open_file(name, limit), "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise Suspicious(f"{name} is over {limit:,} bytes")
        return content

    def create(self, name: str) -> int:
        """A descriptor of a new file; what was there by that name is gone. Raises ``OSError``."""
        self.discard(name)
        return os.open(name, _WRITE, 0o600, dir_fd=self.descriptor)

    def write(self, name: str, content: bytes) -> None:
        """A file that appears whole and lasts. Raises ``OSError``."""
        new = f".{name}.{secrets.token_hex(4)}"
        try:
            with os.fdopen(self.create(new), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except OSError:
            self.discard(new)
            raise

    def add(self, name: str, content: bytes) -> None:
        """Write all of this at the end of a file, or nothing. Raises ``OSError``, `Suspicious`."""
        try:
            descriptor = os.open(name, _ADD, dir_fd=self.descriptor)
        except OSError as error:
            raise _translated(name, error) from None
        try:
            found = os.fstat(descriptor)
            _check(name, found, found.st_size)
            append(descriptor, content)
        finally:
            os.close(descriptor)

    def move(self, name: str, to: Folder, new: str | None = None) -> bool:
        """Rename something into another folder; ``False`` when it is gone. Raises ``OSError``."""
        try:
            os.rename(name, new or name, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)
        except FileNotFoundError:
            return False
        return True

    def discard(self, name: str) -> None:
        """Remove a file or a whole folder, if it is there; links are removed, not followed."""
        with contextlib.suppress(OSError):
            if not self.is_folder(name):
                os.unlink(name, dir_fd=self.descriptor)
                return
            with contextlib.closing(Folder(os.open(name, _FOLDER, dir_fd=self.descriptor))) as below:
                while names := below.names():
                    for one in names:
                        below.discard(one)
                    if below.names()[:1] == names[:1]:
                        break  # somebody puts things in as fast
            os.rmdir(name, dir_fd=self.descriptor)

    def copy(self, name: str, to: Path, limit: int, files: int) -> None:
        """Copy a file, or a folder with what is in it, to a path that only we can write.

        Raises ``OSError``, and `Suspicious` for anything but regular files and folders, and above the limits.
        """
        _Copying(limit, files).copy(self, name, to, 0)


class _Copying:
    """What one copy may still take."""

    def __init__(self, limit: int, files: int) -> None:
        self._left, self._files = limit, files

    def copy(self, source: Folder, name: str, to: Path, depth: int) -> None:
        if not source.is_folder(name):
            self._copy_file(source, name, to)
            return
        if depth == _DEPTH:
            raise Suspicious(f"{name}: over {_DEPTH} folders inside of each other")
        to.mkdir(mode=0o700)
        with contextlib.closing(source.enter(name)) as below:
            for one in below.names():
                self.copy(below, one, to / one, depth + 1)

    def _copy_file(self, source: Folder, name: str, to: Path) -> None:
        self._files -= 1
        if self._files < 0:
            raise Suspicious("too many files")
        with os.fdopen(source.open_file(name, self._left), "rb") as file, to.open("xb") as copy:
            for piece in _pieces(file.fileno()):
                self._left -= len(piece)
                if self._left < 0:
                    raise Suspicious(f"{name} is too large")
                copy.write(piece)


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE):
        yield piece


def append(descriptor: int, content: bytes) -> None:
    """Write all of this at the end of an open file, down to the disk, or nothing. Raises ``OSError``."""
    before = os.fstat(descriptor).st_size
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _check(name: str, found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Suspicious(f"{name} is no regular file")
    if found.st_uid != os.geteuid():
        raise Suspicious(f"{name} belongs to another user")
    if found.st_nlink > 1:
        raise Suspicious(f"{name} has another name elsewhere")
    if found.st_size > limit:
        raise Suspicious(f"{name} is {found.st_size:,} bytes, over the limit of {limit:,}")


def _translated(name: str, error: OSError) -> Exception:
    if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENOTDIR):
        return Suspicious(f"{name} is a link, or no file")
    return error
