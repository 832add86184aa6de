"""Files and large values of a run: into the store in the background, once, also by a later process; and presence."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.fault.programs.handle import Program
from tests.support.recording import NOWHERE, chosen, logged, note, recorder
from tracecraft import Session, artifacts
from tracecraft.recording import spool
from tracecraft.recording.recorder import deliver_spools, spools
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Presence
from tracecraft_core.bus import Bus
from tracecraft_core.queries import GetQuestion
from tracecraft_core.run_events import Blob
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_core.bus import Stored
    from tracecraft_stack import Stack
    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "spool"))


@pytest.fixture
def url(stack_with_artifacts: Stack) -> str:
    return stack_with_artifacts.state.nats_url


@pytest.fixture
def session(url: str, project: str) -> Iterator[Session]:
    with Session(server=url, project=project, agent="lead") as opened:
        yield opened


def files(events: list[Stored]) -> dict[str, str]:
    """The names of all artifacts, with their hashes."""
    found = [json.loads(one.data) for one in events if one.subject.endswith(".artifact")]
    return {one["name"]: one["sha256"] for one in found}


def content(session: Session, *, name: str | None = None, run: str | None = None, sha256: str | None = None) -> bytes:
    """What comes back from the store, by name or by hash."""
    question = GetQuestion(name=name, run=run, sha256=sha256)
    return session._portal.run(artifacts.get_bytes(session._inner.context, question))


def times_stored(stack: Stack, sha256: str) -> int:
    with psycopg.connect(stack.state.postgres_dsn) as database:
        found = database.execute("SELECT count(*) FROM blob WHERE sha256 = %s", (sha256,)).fetchone()
    assert found is not None
    return int(found[0])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_everything_that_a_run_logs_as_a_file_comes_back_identical_and_is_verified(
    session: Session, url: str, stack_with_artifacts: Stack, tmp_path: Path
) -> None:
    random = hashlib.shake_256(session.project.encode())
    large = random.digest(20 << 20)
    contents = {"model.bin": b"model" * 1000, "data/a.csv": b"1,2", "data/deep/b.csv": b"", "data/large.bin": large}
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    text = "a wall of text.\n" * (18 << 20 >> 4) + session.project
    image = b"\x89PNG\r\n\x1a\n" + random.digest(1000)
    value = {"papers": ["x" * 100] * 1000, "of": session.project}
    with session.run("everything") as run:
        with run.agent("alice") as agent, agent.step("reads") as step:
            step.log_input(value)
            assert run.flush().uploads_done == 1
            step.log_output(value)
            step.log_artifact(tmp_path / "model.bin", kind="model")
        (tmp_path / "model.bin").unlink()  # a small file was copied at the call
        run.log_artifact(tmp_path / "data", "sets/1")
        run.log_text("long.txt", text)
        run.log_image("picture", image)
    assert run.summary is not None
    assert (run.summary.complete, run.summary.uploads_done) == (True, 7)
    wanted = {"model.bin": contents["model.bin"], "long.txt": text.encode(), "picture.png": image}
    wanted |= {f"sets/1/{name.removeprefix('data/')}": data for name, data in contents.items() if "data" in name}
    events = asyncio.run(logged(url, session.project))
    assert files(events) == {name: sha256(data) for name, data in wanted.items()}
    assert {name: content(session, run=run.id, name=name) == data for name, data in wanted.items()} == dict.fromkeys(
        wanted, True
    )
    (row,) = session.runs.steps(run.id)
    assert row.input_blob == row.output_blob
    assert json.loads(content(session, sha256=row.input_blob or "")) == value
    assert times_stored(stack_with_artifacts, row.input_blob or "") == 1
    report = session.runs.verify(run.id, deep=True)
    assert report.complete, report
    assert not spools()


def test_a_program_that_forgets_to_end_its_run_uploads_its_files_all_the_same(session: Session, url: str) -> None:
    with Program("ending", url, session.project, "alice", "forgotten") as program:
        run = program.hear("begun")["run"]
        program.rest()
    assert content(session, run=run, name="note.txt") == f"a note of {run}".encode()
    assert [(left.events, left.uploads) for left in spools()] == [(0, 0)], "the folder goes with the next process"


async def test_what_was_to_be_uploaded_is_uploaded_by_a_later_process(url: str, project: str) -> None:
    here = recorder(NOWHERE, project)
    note(here, 1)
    here.upload(f"left by {project}".encode(), name="left.txt", agent="alice")
    value = here.blob(b'"a value"')
    assert isinstance(value, Blob)
    counts = await here.close_async(timeout=0.2)
    assert counts.uploads_waiting == 2
    assert [status.uploads for status in spools()] == [2]
    (found,) = await deliver_spools(chosen(url, project))
    assert (found.problem, found.uploads, found.left_uploads) == (None, 2, 0)
    events = await logged(url, project)
    assert files(events) == {"left.txt": sha256(f"left by {project}".encode())}
    ids = [one.headers[subjects.MSG_ID] for one in events]
    assert [name.rpartition(":")[2] for name in ids] == ["1", "1", "2", "3"]
    assert [one.subject.rpartition(".")[2] for one in events] == ["log", "joined", "artifact", "left"]
    assert not spools()


async def test_a_writer_is_present_before_its_first_event_and_gone_after_its_last(
    nats: NatsServer, project: str
) -> None:
    here = recorder(nats.url, project)
    note(here, 1)
    await here.flush_async(10)
    run = here._arguments[2]
    subject = subjects.kv_subject(subjects.AGENTS, project, subjects.run_presence(run, here.writer))
    async with Bus(ServerOptions(servers=(nats.url,))) as bus:
        stored = await bus.leader_get(subjects.kv_stream(subjects.AGENTS), subject)
        assert stored is not None
        presence = bodies.decode(Presence, stored.data, subject)
        assert (presence.session, presence.mode, presence.ttl) == (here.writer, "live", 30)
        first = (await logged(nats.url, project))[0]
        assert stored.time < first.time
        await here.close_async(timeout=10)
        gone = await bus.leader_get(subjects.kv_stream(subjects.AGENTS), subject)
        assert gone is not None
        assert gone.deleted


async def test_a_bus_that_is_killed_and_started_again_gets_everything_in_order_and_once(
    own_nats: NatsServer, project: str
) -> None:
    here = recorder(own_nats.url, project)
    for number in range(1, 501):
        note(here, number)
    await asyncio.to_thread(own_nats.kill)
    for number in range(501, 1001):
        note(here, number)
    await asyncio.to_thread(own_nats.start)
    counts = await here.close_async(timeout=30)
    assert (counts.acknowledged, counts.spooled, counts.dropped) == (1000, 0, 0)
    texts = [json.loads(one.data)["text"] for one in await logged(own_nats.url, project)]
    assert texts == [str(number) for number in range(1, 1001)]
