"""The data folder: private files, written whole or not at all, and errors of the disk in plain words."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIN_FREE_BYTES: Final = 64 * 1024 * 1024
"""Below this the servers would start only to fail at their first write."""


@contextmanager
def plain_errors(folder: Path) -> Iterator[None]:
    """Turns an `OSError` about a data folder into a `StackError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise StackError(_explain(folder, error)) from error


def _explain(folder: Path, error: OSError) -> str:
    where = error.filename or folder
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full: free some space, or choose another folder with --data"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} is not accessible to user {os.geteuid()} ({error.strerror}): choose another folder with --data"
    return f"{where}: {error.strerror}"


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Makes a folder and its parents, with exactly this mode for the folder itself."""
    with plain_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(mode)


def has_space(folder: Path) -> bool:
    """Whether the disk of a folder has room to work in."""
    with plain_errors(folder):
        return shutil.disk_usage(folder).free >= MIN_FREE_BYTES


def require_space(folder: Path) -> None:
    """Raises `StackError` when the disk of a folder is as good as full."""
    if not has_space(folder):
        free = shutil.disk_usage(folder).free
        raise StackError(
            f"the disk of {folder} is full ({free // 1024**2} MB left): "
            "free some space, or choose another folder with --data"
        )


def write_private(path: Path, content: str | bytes) -> None:
    """Writes a file of mode 600 that a reader sees either as it was or whole, never in between."""
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with plain_errors(path.parent):
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def secret(path: Path) -> str:
    """The secret in a file, generated at the first call: 43 characters that need no quoting in a URL."""
    with plain_errors(path.parent):
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()
