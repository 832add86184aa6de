"""Where a run was started: host, command, versions and the state of the git repository around it."""

from __future__ import annotations

import functools
import os
import platform
import shlex
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from tracecraft.redaction import redact
from tracecraft_core.run_events import Origin

GIT_S: Final = 1.0
"""Seconds that one question to git may take."""
LONGEST_COMMAND: Final = 1_000
"""Characters of the command line that are kept."""


def origin() -> Origin:
    """This process, without secrets."""
    commit, branch, dirty = _git(str(Path.cwd()))
    return Origin(
        host=socket.gethostname(),
        pid=os.getpid(),
        command=redact.text(shlex.join(sys.orig_argv))[:LONGEST_COMMAND],
        python=platform.python_version(),
        tracecraft=_version(),
        git_commit=commit,
        git_branch=branch,
        git_dirty=dirty,
    )


@functools.cache
def _version() -> str:
    try:
        return metadata.version("tracecraft-nats")
    except metadata.PackageNotFoundError:
        return ""


@functools.lru_cache(maxsize=8)
def _git(folder: str) -> tuple[str, str, bool | None]:
    """Commit, branch and whether files differ from it; once a folder and process."""
    said = _ask_git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if said is None:
        return "", "", None
    lines = said.splitlines()
    head = dict(line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = head.get("branch.oid", ""), head.get("branch.head", "")
    dirty = any(not line.startswith("#") for line in lines)
    return ("" if commit == "(initial)" else commit), ("" if branch == "(detached)" else branch), dirty


def _ask_git(folder: str, *question: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", folder, "--no-optional-locks", *question], capture_output=True, text=True, timeout=GIT_S
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return answer.stdout if answer.returncode == 0 else None
