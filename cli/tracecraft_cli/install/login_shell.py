"""The shell in which Codex runs commands: the person's own, as a login shell, whose profile may set PATH anew."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 5.0
"""Seconds for a profile to be read."""

_PROFILES: Final = {"bash": (".bash_profile", ".bash_login", ".profile"), "zsh": (".zprofile",), "sh": (".profile",)}
"""Which of a person's files a login shell reads: the first that is there; by the kinds of shell that Codex uses."""


def path() -> str:
    """The person's shell; ``bash`` where Codex would not use that one."""
    own = pwd.getpwuid(os.getuid()).pw_shell
    return own if Path(own).name in _PROFILES and os.access(own, os.X_OK) else shutil.which("bash") or "/bin/sh"


def finds(program: str) -> bool:
    """Whether a command of Codex finds a program by its name; yes when the shell does not tell."""
    try:
        done = subprocess.run(
            [path(), "-lc", 'command -v "$0"', program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode == 0


def profile() -> str:
    """The file in which a person sets PATH for it, as people write it."""
    names = _PROFILES.get(Path(path()).name, (".profile",))
    return f"~/{next((name for name in names if (Path.home() / name).is_file()), names[-1])}"
