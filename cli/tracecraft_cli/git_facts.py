"""What git knows about the working folder: its commit, and which files a task changed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracecraft_core.errors import UsageError

MAX_FILES: Final = 1_000
"""Changed files that a handoff carries; a task that changed more is told so."""
PATIENCE_S: Final = 30.0
"""Seconds that git may take."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Where the working folder stands."""

    head: str
    dirty: bool
    """Whether there are uncommitted changes, untracked files included."""


def commit() -> Commit | None:
    """The commit of the working folder; ``None`` outside a repository, or before its first commit."""
    try:
        head = _git("rev-parse", "--verify", "HEAD").strip()
        return Commit(head, bool(_git("status", "--porcelain")))
    except UsageError:
        return None


def diff_stat() -> str:
    """What is not committed, as ``git diff --stat`` shows it; nothing outside a repository."""
    try:
        return _git("diff", "--stat", "HEAD")
    except UsageError:
        return ""


def changed_files(since: str) -> list[str]:
    """Files changed since a moment (RFC 3339): in commits of this branch, and not committed yet; sorted.

    Paths are relative to the top of the repository. Raises `UsageError` outside a repository.
    """
    status = _git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    files = {entry[3:] for entry in status.split("\0") if entry}
    if commit() is not None:
        log = _git("log", "-z", "--name-only", "--no-renames", "--format=", f"--since={since}")
        files |= {path.strip("\n") for path in log.split("\0")}
    return sorted(files - {""})


def staged_files() -> list[str]:
    """The files that the commit under way changes, relative to the top of the repository; sorted.

    A renamed file counts with both names. Bytes that are not UTF-8 are surrogates. Raises `UsageError`.
    """
    _git("rev-parse", "--git-dir")  # outside of a repository 'git diff' is another program, with other options
    names = _git("diff", "--cached", "--name-only", "--no-renames", "--no-ext-diff", "-z", errors="surrogateescape")
    return sorted(set(names.split("\0")) - {""})


def hooks_folder(folder: Path | None = None) -> Path:
    """Where git looks for the hooks of the repository of a folder (default: the working one). Raises `UsageError`."""
    base = folder or Path.cwd()
    return base / _git("rev-parse", "--git-path", "hooks", folder=base, errors="surrogateescape").rstrip("\n")


def _git(*arguments: str, folder: Path | None = None, errors: str = "replace") -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},  # its words are looked at
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"git {arguments[0]} took over {PATIENCE_S:.0f} s: is something wrong with this folder?"
        ) from None
    except OSError as error:
        raise UsageError(f"git cannot be run ({error.strerror}): install it, or leave the option out") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if said and "not a git repository" in said[0]:
            raise UsageError(f"{folder or Path.cwd()} is no git repository: go into one")
        raise UsageError(f"git {arguments[0]}: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", errors)
