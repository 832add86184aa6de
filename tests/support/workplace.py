"""Where a program of a test works: a folder of its own, and a whole stack to talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cli import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_stack import Stack


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the user's state below it; who works there is ``w1``."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TRACECRAFT_AGENT", "w1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def whole_cli(stack_with_artifacts: Stack, project: str, place: Path) -> Iterator[CommandLine]:
    """The command line in that folder, on a whole stack."""
    runner = CommandLine(stack_with_artifacts.state.nats_url, project)
    yield runner
    runner.close()
