"""A server's process whose own children come and go while it is paused and resumed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tracecraft_stack import child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORKS = """
import os
while True:
    for _ in range(8):
        os.fork() or os._exit(0)
    for _ in range(8):
        os.wait()
"""


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[child.Child]:
    """It forks all the time, and what it forks ends at once, as PostgreSQL's processes do."""
    command = child.Command(argv=[sys.executable, "-c", FORKS], env=dict(os.environ))
    running = child.spawn(command, log=tmp_path / "log", record=tmp_path / "record")
    yield running
    running.kill()


def test_what_a_server_has_forked_may_end_while_it_is_resumed(forking: child.Child) -> None:
    for _ in range(300):
        forking.resume()
    assert forking.alive


def test_what_a_server_has_forked_may_end_while_it_is_paused(forking: child.Child) -> None:
    for _ in range(50):  # each would take 10 s if the dead, whom a stopped parent does not clear away, were waited for
        forking.pause()
        forking.resume()
    assert forking.alive
