"""Folders for servers. Not pytest's: those are closed to other users, and PostgreSQL of root runs as another user."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def short_lived_folder() -> Iterator[Path]:
    """A folder with a short path that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tc-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for the servers of one test."""
    with short_lived_folder() as folder:
        yield folder
