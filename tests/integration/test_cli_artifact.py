"""``artifact list`` and ``artifact get``: files of runs on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import CommandLine
from tracecraft import artifacts
from tracecraft_core import ids
from tracecraft_core.bodies import encode
from tracecraft_core.run_events import Artifact, RunStarted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.artifacts import FileRig

CONTENT = os.urandom(50_000)


@pytest.fixture
def files(file_rig: FileRig, project: str) -> Iterator[CommandLine]:
    command_line = CommandLine(file_rig.rig.nats.url, project)
    yield command_line
    command_line.close()


@pytest.fixture
async def run(file_rig: FileRig, project: str) -> str:
    """A run with two files."""
    run, writer, now = ids.run(), ids.fresh(), time.time_ns() // 1000
    async with file_rig.session(project) as session:
        stored = await artifacts.put_bytes(session.context, CONTENT)
        bodies = [("started", RunStarted(name="train", time=now))] + [
            ("artifact", Artifact(name=name, sha256=stored.sha256, size=stored.size, time=now, kind="model"))
            for name in ("models/best.bin", "models/last.bin")
        ]
        for number, (event, body) in enumerate(bodies, 1):
            await session.context.bus.publish(
                f"tc.{project}.run.{run}.alice.{event}", encode(body), msg_id=f"{writer}:{number}"
            )
    return run


def test_a_file_of_a_run_is_listed_and_fetched(files: CommandLine, run: str, tmp_path: Path) -> None:
    listed = files("artifact", "list", run[-6:])
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ["name", "bytes"],
        ["models/best.bin", "50000"],
        ["models/last.bin", "50000"],
    ]
    got = files("artifact", "get", run[-6:], "models/best.bin", "-o", str(tmp_path))
    assert (got.returncode, got.stdout) == (0, f"{tmp_path / 'best.bin'}\n"), got.stderr
    assert (tmp_path / "best.bin").read_bytes() == CONTENT


def test_files_of_the_project_come_newest_first_and_page_by_page(files: CommandLine, run: str) -> None:
    listed = json.loads(files("artifact", "list", "--limit", "1", "--json").stdout)["result"]
    assert [(row["run"], row["name"]) for row in listed] == [(run, "models/last.bin")]
    both = json.loads(files("artifact", "list", "--json").stdout)["result"]
    assert [row["name"] for row in both] == ["models/last.bin", "models/best.bin"]


def test_what_lies_at_the_target_is_not_replaced_unasked(files: CommandLine, run: str, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    refused = files("artifact", "get", run, "models/best.bin", "-o", str(target))
    assert (refused.returncode, target.read_text()) == (2, "mine")
    assert files("artifact", "get", run, "models/best.bin", "-o", str(target), "--force").returncode == 0
    assert target.read_bytes() == CONTENT


def test_the_content_of_a_file_goes_to_standard_output(files: CommandLine, run: str, tmp_path: Path) -> None:
    line = files.argv("artifact", "get", run, "models/best.bin", "-o", "-")
    got = subprocess.run(line, env=files.environment(), cwd=tmp_path, capture_output=True, timeout=30, check=False)
    assert (got.returncode, got.stdout) == (0, CONTENT), got.stderr
    assert list(tmp_path.iterdir()) == []
    both = files("artifact", "get", run, "models/best.bin", "-o", "-", "--json")
    assert (both.returncode, json.loads(both.stdout)["error"]["type"]) == (2, "UsageError")


def test_a_file_that_is_not_there_is_named_with_those_that_are(files: CommandLine, run: str) -> None:
    missing = files("artifact", "get", run, "models/worst.bin")
    assert missing.returncode == 1
    assert "no artifact 'models/worst.bin'" in missing.stderr
    assert "models/best.bin, models/last.bin" in missing.stderr
    assert "which file" in files("artifact", "get", run).stderr
