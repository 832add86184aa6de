"""The repository of an experiment, read and never touched: no lock taken, no index refreshed, no hook of its run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S: Final = 20.0
"""Seconds that git may take for one question."""
MAX_SOURCE: Final = 2 * 1024 * 1024
"""Bytes of a script that are looked at."""
_COMMIT: Final = re.compile(r"[0-9a-f]{4,40}")
_SAFE: Final = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"),
    *("-c", "protocol.allow=never", "--no-optional-locks", "--no-pager"),
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit."""

    id: str
    """40 (or 64) hexadecimal digits."""
    parent: str
    """The first one; empty for a first commit."""
    time: int
    """Seconds since 1970, of the committer."""
    subject: str


class Repository:
    """The repository around a folder; questions that git cannot answer are ``None`` or empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        """Raises `UsageError` when there is none, or no git."""
        if self._git("rev-parse", "--git-dir") is None:
            raise UsageError(f"{self._folder} is no git repository: give the folder of an experiment, with its branch")

    def branch(self) -> str:
        """The branch that is checked out; ``HEAD`` when it is none."""
        return (self._git("symbolic-ref", "--short", "-q", "HEAD") or "HEAD").strip()

    def head(self) -> str:
        """The commit that is checked out; empty before the first one."""
        return (self._git("rev-parse", "--verify", "-q", "HEAD") or "").strip()

    def identity(self) -> str:
        """What clones and worktrees of it have in common: the first commit."""
        said = self._git("rev-list", "--max-parents=0", "HEAD")
        return said.split()[-1] if said and said.split() else ""

    def commit(self, name: str) -> Commit | None:
        """A commit, also one that no branch leads to any more, as long as git has it."""
        if not _COMMIT.fullmatch(name):
            return None
        said = self._git("show", "-s", "--no-show-signature", "--format=%H%x00%P%x00%ct%x00%s", f"{name}^{{commit}}")
        words = (said or "").rstrip("\n").split("\0")
        if len(words) != 4:
            return None
        return Commit(words[0], words[1].split(" ")[0], int(words[2]), words[3])

    def diff(self, commit: Commit, path: str) -> str:
        """What a commit changed in a file."""
        if not commit.parent:
            return ""
        plain = ("--no-ext-diff", "--no-textconv", "--no-color")
        return self._git("diff", *plain, commit.parent, commit.id, "--", path) or ""

    def patch_id(self, diff: str) -> str:
        """Git's own hash of a change, the same for the same change on another commit; empty for none."""
        said = self._git("patch-id", "--stable", input=diff) if diff else ""
        return (said or "").split(" ")[0].strip()

    def source(self, commit: str, path: str) -> str:
        """A file as it was in a commit."""
        return (self._git("show", "--no-textconv", f"{commit}:./{path}") or "")[:MAX_SOURCE] if commit else ""

    def _git(self, *words: str, input: str | None = None) -> str | None:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["git", *_SAFE, *words],
                cwd=self._folder,
                env=environment,
                input=(input or "").encode("utf-8", "surrogateescape"),
                capture_output=True,
                check=False,
                timeout=PATIENCE_S,
            )
        except FileNotFoundError:
            raise UsageError("git cannot be run: install it") from None
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
