"""Bundles: made when a run has ended, carried to another stack, and every damage told."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support.artifacts import FileRig, store_settings
from tests.support.bridge import Rig
from tests.support.cli import CommandLine
from tests.support.folder import short_lived_folder
from tests.support.written_run import WrittenRun, now
from tracecraft import AsyncSession
from tracecraft.artifacts import get_file, put_bytes, put_file
from tracecraft.queries import ask
from tracecraft.states import state_at
from tracecraft_cli.replay.bus import publish_again
from tracecraft_core import inside, run_events
from tracecraft_core.bundle import BundleReader, HttpSource
from tracecraft_core.errors import Refused
from tracecraft_core.queries import (
    BundleAnswer,
    GetQuestion,
    Imported,
    ImportQuestion,
    RunDetail,
    RunQuestion,
    RunVerification,
    StateQuestion,
    VerifyQuestion,
)
from tracecraft_stack.nats_server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_stack.postgres import PostgresServer


@pytest.fixture(scope="module")
def other_rig(bridge_postgres: PostgresServer, file_rig: FileRig) -> Iterator[FileRig]:
    """A second stack that knows nothing of the first."""
    with short_lived_folder() as folder, NatsServer(folder / "nats", token="other") as nats:
        rig = Rig(folder, nats, bridge_postgres)
        bucket = f"{file_rig.bucket}-other"
        rig.start(**store_settings(file_rig.seaweed, bucket))
        try:
            yield FileRig(rig, file_rig.seaweed, bucket)
        finally:
            for bridge in rig.bridges:
                bridge.kill()


async def a_run(session: AsyncSession) -> WrittenRun:
    """A run with a child, a file, memory (some of it written before it began) and messages."""
    await session.memory.set("before", {"the": "run"})
    written = WrittenRun(session.context.bus, session.project)
    token = inside.RUN.set(written.run)
    await session.memory.set("early", "before its first event")
    inside.RUN.reset(token)
    await written.begin()
    await written.step("plan")
    child = WrittenRun(session.context.bus, session.project, parent=written.run)
    await child.begin("child")
    await child.step("fit", "error", "bob")
    await session.memory.set("inside", [1.5, None, "ü\n\u2028"])
    await session.send("bob", "look")
    stored = await put_bytes(session.context, session.project.encode(), media_type="text/plain")
    await written.event(
        "artifact", run_events.Artifact(name="m.bin", sha256=stored.sha256, size=stored.size, time=now())
    )
    await child.end()
    await written.step("decide")
    await written.end()
    return written


async def bundle_of(session: AsyncSession, run: str, path: Path) -> BundleAnswer:
    answer = await ask(session.context, "runs.bundle", RunQuestion(run=run), BundleAnswer)
    await get_file(session.context, GetQuestion(sha256=answer.bundle.sha256), path)
    return answer


async def verified(session: AsyncSession, run: str, *, deep: bool = False) -> RunVerification:
    return await ask(session.context, "runs.verify", VerifyQuestion(run=run, deep=deep), RunVerification)


async def test_run_that_ended_gets_a_bundle_without_being_asked(file_rig: FileRig, project: str) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        until = time.monotonic() + 15
        while True:
            found = await ask(session.context, "runs.get", RunQuestion(run=written.run), RunDetail)
            if found.bundle is not None:
                break
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        assert (found.bundle.first_seq, found.bundle.last_seq) == (found.first_seq, found.last_seq)


async def test_bundle_carries_a_run_to_another_stack_and_back_unchanged(
    file_rig: FileRig, other_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as here, other_rig.session(project, "zoe") as there:
        written = await a_run(here)
        made = await bundle_of(here, written.run, tmp_path / "a.tcb")
        with BundleReader.open(tmp_path / "a.tcb") as bundle:
            assert bundle.verify() == []
            assert bundle.checkpoint.memory["before"].value == {"the": "run"}
            assert len(bundle.manifest.runs) == 2
            middle = bundle.manifest.first_seq + 9
        stored = await put_file(there.context, tmp_path / "a.tcb")
        question = ImportQuestion(sha256=stored.sha256)
        first = await ask(there.context, "runs.import", question, Imported)
        assert (first.run, first.root, first.new) == (written.run, made.bundle.root, True)
        tables = snapshot(other_rig)
        again = await ask(there.context, "runs.import", question, Imported)
        assert not again.new
        assert snapshot(other_rig) == tables
        other_rig.rig.query("DELETE FROM bundle WHERE run <> %s", written.run)
        back = await bundle_of(there, written.run, tmp_path / "b.tcb")
        assert back.bundle.root == made.bundle.root
        asked = StateQuestion(seq=middle, run=written.run)
        assert msgspec.to_builtins(await state_at(there.context, asked)) == msgspec.to_builtins(
            await state_at(here.context, asked)
        )
        mine, theirs = [
            await ask(s.context, "runs.get", RunQuestion(run=written.run), RunDetail) for s in (here, there)
        ]
        assert theirs.row == mine.row


def snapshot(rig: FileRig) -> list[list[str]]:
    """All that an import could change."""
    tables = ("log", "run", "step", "run_writer", "metric_chunk", "artifact", "epoch", "message", "memory_version")
    return [sorted(map(repr, rig.rig.query(f"SELECT * FROM {table}"))) for table in tables]


async def test_bundle_opens_over_its_address_without_being_fetched(file_rig: FileRig, project: str) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        answer = await ask(session.context, "runs.bundle", RunQuestion(run=written.run), BundleAnswer)

        def look() -> tuple[int, str]:
            source = HttpSource(answer.url)
            with BundleReader.open(source) as bundle:
                assert bundle.entry(bundle.manifest.last_seq) is not None
                return source.reads, bundle.manifest.root

        reads, root = await asyncio.to_thread(look)
        assert reads <= 3
        assert root == answer.bundle.root


async def test_run_of_the_same_id_with_other_content_is_not_taken_in(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        await bundle_of(session, written.run, tmp_path / "a.tcb")
        await written.event("log", run_events.LogLine(text="late", time=now()))
        stored = await put_file(session.context, tmp_path / "a.tcb")
        with pytest.raises(Refused, match="other content"):
            await ask(session.context, "runs.import", ImportQuestion(sha256=stored.sha256), Imported)


async def test_damaged_bundle_is_not_taken_in(file_rig: FileRig, project: str, tmp_path: Path) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        await bundle_of(session, written.run, tmp_path / "a.tcb")
        data = bytearray((tmp_path / "a.tcb").read_bytes())
        data[300] ^= 4  # in the first chunk of entries: the bundle still opens
        stored = await put_bytes(session.context, bytes(data))
        with pytest.raises(Refused, match="damaged"):
            await ask(session.context, "runs.import", ImportQuestion(sha256=stored.sha256), Imported)


async def test_verify_tells_of_a_complete_run_and_of_each_thing_that_is_wrong(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        await bundle_of(session, written.run, tmp_path / "a.tcb")
        found = await verified(session, written.run, deep=True)
        assert found.complete, found
        assert (found.bundle, len(found.writers)) == ("ok", 2)
        [artifact] = file_rig.rig.query("SELECT sha256 FROM artifact WHERE run = %s", written.run)
        file_rig.replace(artifact[0], b"other")
        assert (await verified(session, written.run, deep=True)).damaged_blobs == [artifact[0]]
        written.number += 2
        await written.event("log", run_events.LogLine(text="late", time=now()))
        late = await verified(session, written.run)
        assert not late.complete
        assert [writer.missing for writer in late.writers if writer.writer == written.writer] == [
            [(written.number - 2, written.number - 1)]
        ]


async def test_verify_tells_of_a_lost_file_and_of_what_a_writer_dropped(file_rig: FileRig, project: str) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        assert (await verified(session, written.run)).complete
        [(artifact,)] = file_rig.rig.query("SELECT sha256 FROM artifact WHERE run = %s", written.run)
        file_rig.remove(artifact)
        found = await verified(session, written.run)
        assert (found.complete, found.missing_blobs, found.damaged_blobs) == (False, [artifact], [])
        full = WrittenRun(session.context.bus, project)
        await full.begin()
        await full.event("ended", run_events.RunEnded(status="finished", time=now(), dropped=3))
        found = await verified(session, full.run)
        assert (found.complete, [writer.dropped for writer in found.writers]) == (False, [3])


async def test_verify_tells_of_entries_that_the_log_lost_before_they_were_mirrored(rig: Rig, project: str) -> None:
    bridge = rig.start()
    async with AsyncSession(server=rig.nats.url, project=project, agent="alice") as session:
        written = WrittenRun(session.context.bus, project)
        await written.begin()
        first = await rig.caught_up(session.context.bus)
        bridge.kill()
        await written.step("plan")
        last = await written.event("log", run_events.LogLine(text="the last one lost", time=now()))
        await session.context.bus.api("STREAM.PURGE.TC_LOG", {"seq": last + 1})
        await written.end()
        rig.start()
        await rig.caught_up(session.context.bus)
        found = await verified(session, written.run)
        assert not found.complete
        assert [(begin, end) for begin, end, _ in found.gaps] == [(first + 1, last)]
        assert [writer.missing for writer in found.writers] == [[(2, 6)]]


async def test_verify_tells_that_a_bundle_was_changed_in_the_store(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        made = await bundle_of(session, written.run, tmp_path / "a.tcb")
        data = bytearray((tmp_path / "a.tcb").read_bytes())
        data[700] ^= 1
        file_rig.replace(made.bundle.sha256, bytes(data))
        found = await verified(session, written.run)
        assert found.bundle not in ("ok", None)
        assert not found.complete


def cli_of(rig: FileRig, project: str, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command line in a folder."""
    runner = CommandLine(rig.rig.nats.url, project)
    return subprocess.run(
        runner.argv(*args),
        env=runner.environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_commands_export_verify_and_import_a_run_with_its_files(
    file_rig: FileRig, other_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
    exported = cli_of(
        file_rig, project, tmp_path, "runs", "export", written.run[-6:], "-o", "a.tcb", "--with-artifacts"
    )
    assert exported.returncode == 0, exported.stderr
    assert "1 file," in exported.stdout
    offline = cli_of(file_rig._replace(rig=other_rig.rig), project, tmp_path, "runs", "verify", "a.tcb")
    assert (offline.returncode, offline.stdout.splitlines()[-1]) == (0, "whole")
    taken = cli_of(other_rig, "elsewhere", tmp_path, "--json", "runs", "import", "a.tcb")
    assert json.loads(taken.stdout)["result"]["new"] is True, taken.stderr
    found = cli_of(other_rig, project, tmp_path, "runs", "verify", "--deep", written.run)
    assert (found.returncode, found.stdout.splitlines()[-1][:9]) == (0, "complete:"), found.stdout + found.stderr
    again = cli_of(other_rig, project, tmp_path, "runs", "import", "a.tcb")
    assert "nothing changed" in again.stdout
    data = bytearray((tmp_path / "a.tcb").read_bytes())
    data[-900] ^= 16
    (tmp_path / "a.tcb").write_bytes(data)
    for command in ("verify", "import"):
        damaged = cli_of(other_rig, project, tmp_path, "runs", command, "a.tcb")
        assert damaged.returncode == 1
        assert "damaged" in damaged.stdout + damaged.stderr


async def test_replay_to_the_bus_is_no_new_run_and_no_new_spend_of_the_project(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = await a_run(session)
        await written.event("usage", run_events.Usage(time=now(), model="gpt-4o", input=1000, cost=0.5))
        await bundle_of(session, written.run, tmp_path / "a.tcb")
        before = file_rig.rig.query("SELECT run, cost, events FROM run WHERE project = %s ORDER BY run", project)
        with BundleReader.open(tmp_path / "a.tcb") as bundle:
            entries = list(bundle.entries())
        count = await publish_again(session.context.bus, project, entries, speed=0)
        assert count == len(entries)
        await file_rig.rig.caught_up(session.context.bus)
    after = file_rig.rig.query("SELECT run, cost, events FROM run WHERE project = %s ORDER BY run", project)
    assert after == before
    replay = f"{project}-replay"
    found = file_rig.rig.query("SELECT purpose, coalesce(cost, 0) FROM run WHERE project = %s", replay)
    assert found == [("replay", 0), ("replay", 0)]
    shown = "SELECT subject, body, headers->>'Tc-Replay' FROM log WHERE project = %s ORDER BY seq"
    was = file_rig.rig.query(shown.replace("'Tc-Replay'", "'none'") + " LIMIT 1000", project)
    again = file_rig.rig.query(shown, replay)
    assert again[0][2] == f"{project}/{entries[0].seq}"
    id_ = re.compile(r"\.run\.[^.]+")  # each replay has a run id of its own
    assert {id_.sub("", row[0].replace(replay, project)) for row in again} <= {id_.sub("", row[0]) for row in was}
