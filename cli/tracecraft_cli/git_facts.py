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
_ALL: Final = ("--ignore-submodules=none",)
_SUBMODULE: Final = "160000"
"""The mode of a submodule in git's index (git-ls-tree(1))."""


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
    """The files that the commit under way changes, as they are reserved (`tracecraft.repository`); sorted.

    A renamed file counts with both names, a submodule also as the ``.git`` inside of it. Bytes that are not UTF-8 are
    surrogates. Raises `UsageError`.
    """
    from tracecraft import repository

    _git("rev-parse", "--git-dir")  # outside of a repository 'git diff' is another program, with other options
    raw = _git("diff", "--cached", "--raw", "--no-renames", "--no-ext-diff", *_ALL, "-z", errors="surrogateescape")
    fields, before = raw.split("\0"), repository.within()
    files = set()
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        files.add(before + path)
        if _SUBMODULE in about.removeprefix(":").split(" ")[:2]:
            files.add(f"{before}{path}/{repository.GIT}")
    return sorted(files)


def hooks_folder(folder: Path | None = None) -> Path:
    """Where git looks for the hooks of the repository of a folder (default: the working one). Raises `UsageError`."""
    base = folder or Path.cwd()
    return base / _git("rev-parse", "--git-path", "hooks", folder=base, errors="surrogateescape").rstrip("\n")


def is_own(hooks: Path, folder: Path | None = None) -> bool:
    """Whether a folder of hooks lies in the repository of ``folder``, in any of its worktrees. Raises `UsageError`."""
    base, place = folder or Path.cwd(), os.path.realpath(hooks)
    worktrees = _git("worktree", "list", "--porcelain", folder=base, errors="surrogateescape").splitlines()
    tops = [line.removeprefix("worktree ") for line in worktrees if line.startswith("worktree ")]
    shared = _git("rev-parse", "--git-common-dir", folder=base, errors="surrogateescape").rstrip("\n")
    return any(Path(place).is_relative_to(os.path.realpath(base / one)) for one in (shared, *tops))


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
