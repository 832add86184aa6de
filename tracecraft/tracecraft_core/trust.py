"""Servers that the file of a project may name: those on this machine, and those that the person approved.

A repository that somebody cloned must not choose where the transcripts of a coding agent go. What is approved is a
server, for all projects of the person: every worktree and clone names the same one.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tracecraft_core import urls
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def check(servers: str, file: Path, approved: Path) -> None:
    """Raise `UsageError` when a project's file names servers that are neither here nor in the file of approved ones."""
    if _is_own(file) and all(map(_is_local, urls.split(servers))):
        return
    known = listed(approved)
    unknown = [server for server in _shown(servers) if server not in known]
    if unknown:
        raise UsageError(
            f"{file} names the server {', '.join(unknown)}, which you have not approved: what agents do here would be "
            "sent to it. 'tracecraft trust' approves it for you, in every project; --server or TRACECRAFT_SERVER name "
            "another"
        )


def listed(approved: Path) -> list[str]:
    """The servers that are approved, without their secrets."""
    try:
        return approved.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{approved} cannot be read: {error}") from None


def approve(servers: str, approved: Path) -> list[str]:
    """Approve servers; returns them as they are listed. Raises `UsageError` when that cannot be written down."""
    fresh = _shown(servers)
    _write(approved, [*(server for server in listed(approved) if server not in fresh), *fresh])
    return fresh


def revoke(servers: str, approved: Path) -> list[str]:
    """Approve servers no more; returns those that were approved."""
    gone, known = _shown(servers), listed(approved)
    _write(approved, [server for server in known if server not in gone])
    return [server for server in known if server in gone]


def _write(approved: Path, servers: list[str]) -> None:
    try:
        approved.parent.mkdir(parents=True, exist_ok=True)
        fresh = approved.with_name(f"{approved.name}.{os.getpid()}")
        fresh.write_text("".join(f"{server}\n" for server in servers), encoding="utf-8")
        fresh.replace(approved)
    except OSError as error:
        raise UsageError(f"{approved} cannot be written: {error.strerror}") from None


def _shown(servers: str) -> list[str]:
    return [urls.without_secrets(server).lower().rstrip("/") for server in urls.split(servers)]


def _is_own(file: Path) -> bool:
    """Whether this user or root has written the file: in ``/tmp`` or above a folder it may be anybody's."""
    try:
        return file.stat().st_uid in (os.getuid(), 0)
    except OSError:
        return False


def _is_local(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
