"""Nothing that others hold up can hold up a command for ever: neither a book nor git."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from typing import TYPE_CHECKING

import pytest

from tracecraft_cli import git_facts, run_notes
from tracecraft_cli.run_book import RunBook

if TYPE_CHECKING:
    from pathlib import Path


async def test_waiting_for_a_book_that_another_command_holds_can_be_given_up(tmp_path: Path) -> None:
    book = RunBook(tmp_path, "r1", "a")
    book.folder.mkdir(parents=True)
    held = os.open(book.folder / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await book.write(None, [run_notes.left()], first=run_notes.joined())
    os.close(held)
    await asyncio.sleep(0.1)  # a thread that waited on would have it now, and keep it
    free = os.open(book.folder / "lock", os.O_RDWR)
    fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(free)


def test_git_that_does_not_come_back_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec sleep 20\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(git_facts, "PATIENCE_S", 0.2)
    began = time.monotonic()
    assert git_facts.diff_stat() == ""
    assert time.monotonic() - began < 5
