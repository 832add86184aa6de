"""A copy of what a coding agent reads of its settings: it is asked there, since it writes even when it only looks.

Claude Code makes files in its folder at every command, and Codex a database and skills when it is asked for its hooks.
None of that is the person's doing, so it happens in a folder that is thrown away.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tracecraft_cli.install import place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def folder(real: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder with copies of these files and folders of a coding agent's own, those that are there."""
    # What was killed in it may still write for a moment.
    with tempfile.TemporaryDirectory(prefix="tracecraft-", dir=outside(), ignore_cleanup_errors=True) as name:
        copy = Path(name) / "home"
        copy.mkdir()
        put(real, copy, names)
        yield copy


def put(real: Path, copy: Path, names: Sequence[str]) -> None:
    """Copy these files and folders, those that are there."""
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (real / name).is_dir():
            shutil.copytree(real / name, copy / name, symlinks=True)
        elif (real / name).is_file():
            shutil.copyfile(real / name, copy / name)


def outside() -> str | None:
    """Where such a folder lies: Codex complains of a home in the system's folder for temporary files."""
    parent = place.folder().parent.parent
    return str(parent) if parent.is_dir() else None
