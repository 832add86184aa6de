"""A sandbox without network: whether this process is in one, and the folder by which it reaches a relay outside.

Codex sets a variable and has the kernel refuse every connection; other sandboxes are network namespaces in which not
even the loopback answers. What cannot go over the network goes through ``<workspace>/.tracecraft/relay``, which
``tracecraft relay`` drains from outside (docs/how-to/work-in-a-sandbox.md).
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Final

CODEX: Final = "CODEX_SANDBOX_NETWORK_DISABLED"
"""Set to 1 by Codex in a sandbox that blocks every connection, also to this machine."""

RELAY: Final = "TRACECRAFT_RELAY"
"""The workspace whose relay is to be used, whatever the network looks like."""

FOLDER: Final = Path(".tracecraft/relay")
"""Below a workspace."""

SPOOL: Final = "spool"
"""Below that: what runs in the sandbox have recorded."""

_NO_NETWORK: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENETUNREACH, errno.EADDRNOTAVAIL})
_TOP: Final = (Path(".git/HEAD"), Path(".tracecraft.toml"))
"""What the top of a project has; an empty ``.git`` somewhere above is no repository."""
_DISCARD: Final = ("127.0.0.1", 9)


def named() -> bool:
    """Whether somebody said outright that the relay is to be used."""
    return bool(os.environ.get(RELAY))


def announced() -> bool:
    """Whether the environment says that there is no network; a process that left the sandbox may have it still."""
    return os.environ.get(CODEX) == "1"


def blocked() -> bool:
    """Whether not even this machine can be reached. Nothing is sent: connecting UDP only asks the kernel."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_DISCARD)
    except OSError as error:
        return error.errno in _NO_NETWORK
    return False


def inside() -> bool:
    """Whether what is written here has to wait in the workspace."""
    return named() or blocked()


def workspace(start: Path | None = None) -> Path:
    """The workspace: `RELAY`, else the nearest folder upwards with a relay's folder, else that is a repository or has
    a ``.tracecraft.toml``, else the working folder.
    """
    if chosen := os.environ.get(RELAY):
        return Path(chosen).expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    upwards = (here, *here.parents)
    for marks in ((FOLDER,), _TOP):
        for folder in upwards:
            if any((folder / mark).exists() for mark in marks) or (marks is _TOP and (folder / ".git").is_file()):
                return folder  # a worktree has a file in place of the folder
    return here


def spool() -> Path:
    """Where runs in the sandbox keep their records."""
    return workspace() / FOLDER / SPOOL


def prepare(folder: Path) -> None:
    """Make a relay's folder: private, and invisible to git. Raises ``OSError``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
