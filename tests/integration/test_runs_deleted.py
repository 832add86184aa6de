"""``runs.delete``: runs go with what they alone held, and nothing brings them back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.artifacts import FileRig, store_settings
from tests.support.written_run import WrittenRun, now
from tracecraft.artifacts import get_file, put_bytes, put_file
from tracecraft.queries import ask
from tracecraft_core import run_events
from tracecraft_core.errors import NotFound, UsageError
from tracecraft_core.queries import (
    BundleAnswer,
    Deleted,
    DeleteQuestion,
    GetQuestion,
    Imported,
    ImportQuestion,
    RunQuestion,
    RunsList,
    RunsPage,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.bridge import Rig
    from tracecraft import AsyncSession
    from tracecraft_stack.seaweedfs import SeaweedServer


async def family(session: AsyncSession) -> tuple[WrittenRun, WrittenRun]:
    """A run with a file, and one inside of it."""
    outer = WrittenRun(session.context.bus, session.project)
    await outer.begin()
    inner = WrittenRun(session.context.bus, session.project, parent=outer.run)
    await inner.begin("inner")
    await inner.step("fit")
    stored = await put_bytes(session.context, f"of {outer.run}".encode())
    await outer.event("artifact", run_events.Artifact(name="m", sha256=stored.sha256, size=stored.size, time=now()))
    await inner.end()
    await outer.end()
    return outer, inner


async def listed(session: AsyncSession) -> list[str]:
    return [row.run for row in (await ask(session.context, "runs.list", RunsList(), RunsPage)).runs]


async def test_a_deleted_run_goes_with_its_children_and_files_and_comes_back_only_from_its_bundle(
    rig: Rig, seaweed: SeaweedServer, project: str, tmp_path: Path
) -> None:
    files = FileRig(rig, seaweed, f"b{project}")
    rig.start(**store_settings(seaweed, files.bucket, blob_grace="2s", housekeeping="0.5s"))
    async with files.session(project) as session:
        kept, _ = await family(session)
        outer, inner = await family(session)
        made = await ask(session.context, "runs.bundle", RunQuestion(run=outer.run), BundleAnswer)
        await get_file(session.context, GetQuestion(sha256=made.bundle.sha256), tmp_path / "a.tcb")

        question = DeleteQuestion(run=outer.run, by="alice", reason="wrong data")
        assert (await ask(session.context, "runs.delete", question, Deleted)).runs == [outer.run, inner.run]
        assert kept.run in await listed(session)
        assert not {outer.run, inner.run} & set(await listed(session))
        assert rig.query("SELECT by, reason FROM run_deleted WHERE run = %s", inner.run) == [("alice", "wrong data")]
        await outer.event("log", run_events.LogLine(text="a late one", time=now()))
        with pytest.raises(NotFound):
            await ask(session.context, "runs.delete", question, Deleted)
        with pytest.raises(UsageError, match="agent"):
            await ask(session.context, "runs.delete", DeleteQuestion(run=kept.run, by="no name"), Deleted)
        await gone(files, made.bundle.sha256)

        rig.query("UPDATE projection SET version = 0, epoch = NULL, seq = NULL")
        await rig.wait_for_rows(1, "SELECT FROM projection WHERE version > 0")
        assert not {outer.run, inner.run} & set(await listed(session))

        stored = await put_file(session.context, tmp_path / "a.tcb")
        back = await ask(session.context, "runs.import", ImportQuestion(sha256=stored.sha256), Imported)
        assert back.new
        assert {outer.run, inner.run} <= set(await listed(session))
        await ask(session.context, "runs.delete", question, Deleted)
        assert not {outer.run, inner.run} & set(await listed(session))
        assert rig.query("SELECT FROM bundle WHERE run = %s", outer.run) == []
        await gone(files, stored.sha256)


async def gone(files: FileRig, sha256: str) -> None:
    """Wait until the store has no such object."""
    until = time.monotonic() + 15
    while any(sha256 in key for key in await asyncio.to_thread(files.objects)):
        assert time.monotonic() < until, "it is still there"
        await asyncio.sleep(0.1)
