"""Doing what a plan says: files whole or not at all, what was there kept, the coding agent's commands after them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

from tracecraft_cli.install import place, program
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_cli.install.plan import Plan, Write


def do(plan: Plan) -> list[Path]:
    """Do it; the backups that were made. Raises `UsageError` for what cannot be written, `AgentFailed`."""
    kept = [write.path for write in plan.writes if write.precious]
    kept += [plan.rehearsal.settings] if plan.rehearsal and plan.runs else []
    backups = [backup for path in kept if (backup := _back_up(path)) is not None]
    for write in plan.writes:
        _write(write)
    for run in plan.runs:
        program.ask(run.argv)
    for remove in plan.removes:
        _remove(remove.path)
    return backups


def _write(write: Write) -> None:
    """Replace a file at once, under its own name also where that is a link; its mode stays."""
    path = write.path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = write.mode if write.mode is not None else _mode(path)
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=".tracecraft-")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, mode)
                file.write(write.content)
                file.flush()
                os.fsync(handle)
            os.replace(fresh, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o644


def _back_up(path: Path) -> Path | None:
    """A copy of a file as it was, in our folder, for this user only."""
    if not path.is_file():
        return None
    backup = place.folder() / "backups" / f"{path.parent.name.lstrip('.')}-{path.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        backup.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, backup)
        backup.chmod(0o600)
    except OSError as error:
        raise UsageError(f"{backup} cannot be written: {error.strerror}") from None
    return backup


def _remove(path: Path) -> None:
    """Remove a file of ours, and the folders that it leaves empty, up to our own."""
    top = place.folder()
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be removed: {error.strerror}") from None
    for folder in path.parents:
        if folder != top and top not in folder.parents:
            break
        try:
            folder.rmdir()
        except OSError:
            break
