"""A git repository whose files are reserved."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cli import CommandLine


def git(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A git command, as the person x, whose settings do not count."""
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with src/a.py and src/b.py, committed."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "src").mkdir()
    for name in ("a.py", "b.py"):
        (folder / "src" / name).write_text(f"print({name!r})\n" * 20)
    git(folder, "add", ".")
    assert git(folder, "commit", "--quiet", "--message", "Begin").returncode == 0
    return folder


def reserve(
    cli: CommandLine, folder: Path, *args: str, agent: str = "alice", **env: str
) -> subprocess.CompletedProcess[str]:
    """``tracecraft reserve`` in a folder."""
    return subprocess.run(
        cli.argv("reserve", *args),
        env=cli.environment(agent, None, env),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def result(done: subprocess.CompletedProcess[str]) -> Any:
    """What a command said with ``--json`` that went well."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]
