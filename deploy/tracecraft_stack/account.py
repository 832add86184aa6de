"""As whom PostgreSQL runs: it refuses to run as root, so root lends it another account and lets that one reach it."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

PREFERRED: Final = ("postgres", "tracecraft")
"""The accounts that are looked for; the last one is made when neither exists."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system account."""

    name: str
    uid: int
    gid: int


def other_account() -> Account | None:
    """The account to run PostgreSQL as when we are root; ``None``: as ourselves."""
    if os.geteuid() != 0:
        return None
    found = next((entry for entry in map(_lookup, PREFERRED) if entry is not None), None)
    return found or _make(PREFERRED[-1])


def give(path: Path, account: Account | None) -> None:
    """Makes a file or folder the account's own."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def open_way(path: Path, account: Account | None) -> list[Path]:
    """Lets the account pass through the folders above ``path``: execute (not read) for others where it was missing.

    Without that a stack of root in /root, whose mode is 700, could not have PostgreSQL. Returns the folders changed.
    """
    closed = [folder for folder in path.parents if account is not None and not _passable(folder, account)]
    for folder in closed:
        try:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
        except OSError as error:
            raise StackError(
                f"PostgreSQL cannot run as root, and account {account.name if account else ''} cannot pass {folder} "
                f"({error.strerror}): choose another folder with --data, or start as an ordinary user"
            ) from error
    return closed


def _passable(folder: Path, account: Account) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _lookup(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _make(name: str) -> Account:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(
            f"PostgreSQL cannot run as root, and the account {name!r} for it could not be made "
            f"({' '.join(command)}): make it, or start as an ordinary user"
        ) from error
    made = _lookup(name)
    if made is None:
        raise StackError(f"the account {name!r} was made but cannot be found")
    return made
