"""A coding agent's own program: found on the PATH, asked with a bound on the time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PATIENCE_S: Final = 60.0
"""Seconds for one command of a coding agent; the slowest of them starts in six."""


class NotInstalled(TracecraftError):
    """There is no such coding agent on this machine, as far as PATH tells.

    Attributes: ``program``.
    """

    def __init__(self, program: str, title: str) -> None:
        super().__init__(f"there is no '{program}' on the PATH: install {title} first, or add its folder to PATH")
        self.program = program


class AgentFailed(TracecraftError):
    """A coding agent's own command failed.

    Attributes: ``command``, ``reason``.
    """

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"{command} failed: {reason}")
        self.command, self.reason = command, reason


def find(program: str, title: str) -> str:
    """The path of a coding agent's program. Raises `NotInstalled`."""
    found = shutil.which(program)
    if found is None:
        raise NotInstalled(program, title)
    return found


def ask(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    patience: float = PATIENCE_S,
) -> str:
    """Run a command of a coding agent to its end; what it printed. Raises `AgentFailed`."""
    words = " ".join(argv)
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AgentFailed(words, f"no answer after {patience:.0f} s") from None
    except OSError as error:
        raise AgentFailed(words, str(error.strerror)) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        telling = next((line for line in said if "rror" in line or "ailed" in line), said[-1] if said else "")
        raise AgentFailed(words, f"exit code {done.returncode}: {telling[:500]}")
    return done.stdout


def ask_json(argv: Sequence[str], *, environment: Mapping[str, str] | None = None, patience: float = PATIENCE_S) -> Any:
    """The same, for a command that answers in JSON."""
    answer = ask(argv, environment=environment, patience=patience)
    try:
        return json.loads(answer)
    except ValueError:
        raise AgentFailed(" ".join(argv), f"it did not answer in JSON: {answer[:200]!r}") from None
