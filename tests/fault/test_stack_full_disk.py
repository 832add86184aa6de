"""A disk that is full: `status` and `doctor` say so, and the bus comes back by itself when there is space again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.folder import short_lived_folder
from tracecraft_cli import health
from tracecraft_stack import Change, Stack, StackEvent, StackOptions
from tracecraft_stack.nats_server import broken_disk
from tracecraft_stack.watch import FIRST_REST_S, LONGEST_REST_S, rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024**2


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 200 MiB; skips when we may not mount one."""
    with short_lived_folder() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("only root can mount a small disk")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _run(data: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TRACECRAFT_DATA": str(data), "TRACECRAFT_AGENT": "alice"}
    argv = [sys.executable, "-m", "tracecraft_cli", *args]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def _disk(data: Path) -> dict[str, Any]:
    found = json.loads(_run(data, "doctor", "--json").stdout)["result"]["findings"]
    finding: dict[str, Any] = next(finding for finding in found if finding["check"] == "disk")
    return finding


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(64 * 1024)):
            pass
    assert shutil.disk_usage(path).free == 0


def _notice(events: Queue[StackEvent]) -> str:
    while True:
        event = events.get(timeout=30)
        if (event.server, event.change) == ("nats", Change.NOTICE):
            return event.detail


def test_a_bus_whose_disk_was_full_is_reported_and_comes_back_when_there_is_space(small_disk: Path) -> None:
    events: Queue[StackEvent] = Queue()
    options = StackOptions(data=small_disk / "data", postgres=False, artifacts=False, bridge=False)
    with Stack(options, events.put) as stack:
        data = options.data
        kept = ["before"]
        assert _run(data, "memory", "set", "before", "1").returncode == 0
        pid = stack.nats.pid
        _fill(small_disk / "fill")
        assert _run(data, "status").returncode == 1, "a full disk is bad before anything broke"
        while _run(data, "memory", "set", key := f"k{len(kept)}", "1").returncode == 0:
            kept.append(key)  # into the last page of the file
        assert "restarted when" in _notice(events)
        status = _run(data, "status")
        assert status.returncode == 1
        assert "disk       DOWN: the bus cannot write" in status.stdout
        assert f"fix: free some space on the disk of {data}" in status.stdout
        finding = _disk(data)
        assert finding["level"] == "bad"
        assert str(data) in finding["fix"]
        (small_disk / "fill").unlink()
        assert "restarting" in _notice(events)
        while events.get(timeout=30).change is not Change.RESTARTED:
            pass
        assert stack.nats.pid != pid
        assert _run(data, "memory", "set", "big", "x" * 8192).returncode == 0
        for key in kept:
            assert _run(data, "memory", "get", key).stdout == "1\n", "what was acknowledged is still there"
        assert _disk(data)["level"] == "warn", "200 MiB are not much"


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (99 * MIB, 200 * MIB, "bad"),
        (101 * MIB, 200 * MIB, "warn"),
        (4 * 1024 * MIB, 100 * 1024 * MIB, "warn"),
        (6 * 1024 * MIB, 100 * 1024 * MIB, "ok"),
    ],
)
def test_little_free_space_is_warned_of_and_almost_none_is_bad(free: int, total: int, level: str) -> None:
    assert health.judge_space(free, total)[0] == level


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (503, b'{"error": "JetStream stream \'S\' write error: write /a/1.blk: no space left on device"}', "no space"),
        (503, b'{"error": "jetstream not enabled"}', "jetstream not enabled"),
        (503, b'{"error": "JetStream stream \'S\' is not current"}', ""),
        (503, b"[]", ""),
        (200, b'{"status": "ok"}', ""),
        (0, b"", ""),
    ],
)
def test_only_a_disk_that_failed_is_a_reason_to_restart_the_bus(status: int, body: bytes, says: str) -> None:
    found = broken_disk(status, body)
    assert says in found
    assert bool(found) is bool(says)
    assert "/a/1.blk" not in found


def test_restarts_for_a_broken_disk_grow_rare() -> None:
    assert [rest(ended) for ended in (0, 1, 2)] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rest(1000) == LONGEST_REST_S
