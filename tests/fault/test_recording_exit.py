"""Programs that end without closing their run: everything is delivered or lies in the spool, and is told truly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tests.support.recording import NOWHERE, RUN, logged, texts
from tracecraft.recording import spool
from tracecraft.recording.recorder import spools
from tracecraft_core import subjects

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_core.bus import Stored
    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "spool"))


def ended(server: str, project: str, how: str) -> list[str]:
    """Let it run to its end; what it said to stderr."""
    with Program("ending", server, project, "alice", how) as program:
        program.hear("begun")
        assert program.rest() == []
        return [line for line in program.ending().partition(": ")[2].splitlines() if "DeprecationWarning" not in line]


def events(found: list[Stored]) -> list[str]:
    return [one.subject.rpartition(".")[2] for one in found]


async def test_a_run_that_nobody_ends_is_delivered_also_what_a_thread_says_last(nats: NatsServer, project: str) -> None:
    said = ended(nats.url, project, "forgotten")
    found = await logged(nats.url, project)
    assert texts(found) == [1, 2]
    assert "ended" not in events(found)
    assert "was not ended before its process" in said[-2]
    assert "0 records and 1 uploads are not delivered yet" in said[-1], "there is no store here"
    assert len(said) == 2
    assert [(one.events, one.uploads) for one in spools()] == [(0, 1)]


async def test_a_process_that_took_part_and_does_not_close_leaves_the_run(
    nats: NatsServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACECRAFT_RUN", RUN)
    assert ended(nats.url, project, "takes-part") == []
    assert events(await logged(nats.url, project)) == ["joined", "log", "left"]
    assert not spools()


async def test_without_a_server_it_lies_in_the_spool(project: str) -> None:
    said = ended(NOWHERE, project, "forgotten")
    assert [(one.events, one.uploads) for one in spools()] == [(3, 1)]
    assert sum("no NATS server answers" in line for line in said) == 1
    assert sum(str(spools()[0].folder) in line for line in said) == 1


async def test_a_program_that_is_left_in_the_middle_has_ended_its_run(nats: NatsServer, project: str) -> None:
    assert ended(nats.url, project, "exits") == []
    found = await logged(nats.url, project)
    assert events(found) == ["started", "log", "ended"]
    assert json.loads(found[-1].data)["status"] == "finished"
    assert not spools()


async def test_a_forked_child_leaves_a_run_and_never_ends_it(nats: NatsServer, project: str) -> None:
    assert ended(nats.url, project, "child") == []
    found = await logged(nats.url, project)
    assert sorted(events(found)) == ["ended", "joined", "left", "log", "log", "started"]
    writers = {
        event: one.headers[subjects.MSG_ID].partition(":")[0] for event, one in zip(events(found), found, strict=True)
    }
    assert writers["ended"] == writers["started"] != writers["joined"] == writers["left"]
    assert not spools()
