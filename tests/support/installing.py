"""A machine on which tracecraft is installed into coding agents: a home of its own, and what is on its PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_INHERITED: Final = ("LANG", "TRACECRAFT_SERVER", "TRACECRAFT_PROJECT")


class Machine:
    """``machine("install", "codex")`` runs tracecraft there; `link` puts a program on the PATH."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin, self.work = home, home / "bin", home / "work"
        self.bin.mkdir(parents=True)
        self.work.mkdir()
        self.data = home / "data" / "tracecraft" / "coding-agents"
        self.env = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
            "HOME": str(home),
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def link(self, name: str, program: str | Path) -> None:
        """A program on the PATH."""
        (self.bin / name).symlink_to(program)

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run tracecraft."""
        return self.run(sys.executable, "-P", "-m", "tracecraft_cli", *words)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run any program."""
        return subprocess.run(
            argv, env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    def done(self, *words: str) -> Any:
        """Run tracecraft, which succeeds; its result."""
        ran = self(*words, "--json")
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return json.loads(ran.stdout)["result"]

    def findings(self, check: str) -> list[tuple[str, str, str | None]]:
        """What doctor says of something: level, message, fix."""
        ran = self("doctor", "--json")
        found = json.loads(ran.stdout)["result"]["findings"]
        return [(one["level"], one["message"], one["fix"]) for one in found if one["check"] == check]

    def snapshot(self, folder: Path) -> dict[str, tuple[bytes, int]]:
        """Every file below a folder, with its content and when it was changed."""
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}

    def everything(self) -> dict[str, bytes | None]:
        """All that is in the home, folders too, but for our own notes."""
        notes = self.home / "state"
        found = (path for path in self.home.rglob("*") if path != notes and notes not in path.parents)
        return {str(path): path.read_bytes() if path.is_file() else None for path in found}
