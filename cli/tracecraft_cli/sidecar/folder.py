"""The folder of the sidecars: where a session's socket is, which sidecar is the only one, what old sessions left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from tracecraft_cli.sidecar.door import MAX_PATH_BYTES
from tracecraft_core import coding_session

LOCK_S: Final = 2.0
"""Seconds that one sidecar waits for another of its session to end."""

KEPT_S: Final = 7 * 24 * 3600.0
"""Seconds for which a session's log is kept."""


def socket_path(folder: str, name: str) -> str:
    """Where the session's socket is: beside its state, or in a short folder where that path is too long for a socket.

    Raises ``OSError`` when there is no such folder.
    """
    path = os.path.join(folder, f"{name}.sock")
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        return path
    short = coding_session.places()[-1]
    with contextlib.suppress(FileExistsError):
        os.mkdir(short, 0o700)
    path = os.path.join(short, f"{name}.sock")
    if not coding_session.is_private(short) or len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise OSError(f"no place for a socket: {path} is too long, or its folder is not this user's alone")
    return path


def lock(folder: str, name: str) -> int | None:
    """Be the only sidecar of a session; ``None`` when another one is. The lock ends with the process."""
    deadline = time.monotonic() + LOCK_S
    while True:
        handle = os.open(os.path.join(folder, f"{name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return handle
        os.close(handle)  # held, or removed in between
        other = coding_session.named(name)
        if time.monotonic() > deadline or (other is not None and other.sidecar_lives()):
            return None
        time.sleep(0.02)


def sweep(folder: str) -> None:
    """Remove what sessions have left behind that ended long ago: logs, and the files of those that were killed."""
    oldest = time.time() - KEPT_S
    for path in Path(folder).iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest and not _is_locked(folder, path.name.partition(".")[0]):
                path.unlink()


def remove(folder: str, name: str, suffix: str) -> None:
    """Remove a session's file of this kind, if there is one."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, name + suffix))


def _is_locked(folder: str, name: str) -> bool:
    try:
        handle = os.open(os.path.join(folder, f"{name}.lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
