"""Bundles that somebody made up, against runs that are here: nothing of these changes."""

from __future__ import annotations

import datetime
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from tests.support.run_log import run_log
from tests.support.written_run import WrittenRun
from tracecraft.artifacts import put_file
from tracecraft.queries import ask
from tracecraft.states import state_at
from tracecraft_bridge.bundles.importing import message
from tracecraft_bridge.import_entries import import_entries
from tracecraft_bridge.query.values import moment
from tracecraft_core import cut, ids, run_events
from tracecraft_core.bundle import BundleWriter
from tracecraft_core.errors import Refused
from tracecraft_core.queries import BundleAnswer, Entry, Imported, ImportQuestion, RunQuestion, StateQuestion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.artifacts import FileRig
    from tracecraft import AsyncSession
    from tracecraft_stack.postgres import PostgresServer

TIME = "2026-11-22T20:00:00.000000Z"


def tables(rig: FileRig, project: str) -> list[list[str]]:
    """All that is here of a project."""
    names = ("log", "run", "step", "run_writer", "run_deleted", "message", "memory_version", "delivery", "bundle")
    return [sorted(map(repr, rig.rig.query(f"SELECT * FROM {name} WHERE project = %s", project))) for name in names]


def forged(path: Path, project: str, runs: Sequence[str], entries: Sequence[Entry]) -> Path:
    with path.open("wb") as file:
        last = entries[-1].seq
        writer = BundleWriter(file, project=project, runs=runs, first_seq=1, last_seq=last, checkpoint=cut.empty())
        for entry in entries:
            writer.add(entry)
        writer.finish()
    return path


def entry(seq: int, subject: str, body: Any = None, **headers: str) -> Entry:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Entry(seq=seq, time=TIME, subject=subject, headers=named, body=body)


def started(seq: int, project: str, run: str) -> Entry:
    body = msgspec.to_builtins(run_events.RunStarted(name="forged", time=1))
    return entry(seq, f"tc.{project}.run.{run}.eve.started", body, Nats_Msg_Id=f"{run}:{seq}")


async def imported(session: AsyncSession, path: Path) -> Imported:
    stored = await put_file(session.context, path)
    return await ask(session.context, "runs.import", ImportQuestion(sha256=stored.sha256), Imported)


async def test_forged_bundle_neither_changes_nor_deletes_runs_that_are_here(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = WrittenRun(session.context.bus, project)
        await written.begin()
        await written.step("plan")
        await written.end()
        await file_rig.rig.caught_up(session.context.bus)
        await ask(session.context, "runs.bundle", RunQuestion(run=written.run), BundleAnswer)
        other = f"{project}-other"
        before, new = tables(file_rig, project), ids.run()
        deletion = msgspec.to_builtins(run_events.RunDeleted(by="eve"))
        for bad in (
            started(2, project, written.run),
            entry(2, f"tc.{project}.run.{written.run}._tracecraft.deleted", deletion),
            entry(2, f"tc.{project}.run.{new}._tracecraft.deleted", deletion),
            entry(2, f"tc.{other}.run.{written.run}.eve.started", {}),
            entry(2, f"tc.{other}.memory.key", 1),
            entry(2, f"tc.{project}.memory.key", 1, KV_Operation="PUT\r\nNats-Marker-Reason: Purge"),
            msgspec.structs.replace(entry(2, f"tc.{project}.memory.key", 1), time="0001-01-01T00:00:00Z"),
        ):
            path = forged(tmp_path / "a.tcb", project, [new], [started(1, project, new), bad])
            with pytest.raises(Refused, match="damaged"):
                await imported(session, path)
        path = forged(tmp_path / "b.tcb", project, [written.run], [started(1, project, written.run)])
        with pytest.raises(Refused, match="other content"):
            await imported(session, path)
        path = forged(tmp_path / "c.tcb", project, [new, written.run], [started(1, project, new)])
        with pytest.raises(Refused, match="is here already"):
            await imported(session, path)
        assert tables(file_rig, project) == before
        assert tables(file_rig, other) == [[] for _ in before]


async def test_what_a_bundle_says_of_memory_tasks_and_mail_is_of_its_run_only(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    async with file_rig.session(project) as session:
        written = WrittenRun(session.context.bus, project)
        await written.begin()
        await session.memory.set("key", "mine")
        await session.tasks.add("task", title="mine")
        await session.send("bob", "mine")
        await written.end()
        last = await file_rig.rig.caught_up(session.context.bus)
        here = await state_at(session.context, StateQuestion(seq=last))
        new, at = ids.run(), 1 << 50
        inside = {"Tc_Run": written.run}
        record = {"state": "done", "owner": "eve", "attempt": 1}
        origin = f"KV_tc_memory {1 << 40} > > $KV.tc_memory.{project}.key"
        entries = [
            started(at, project, new),
            entry(at + 1, f"tc.{project}.memory.key", "forged", Nats_Stream_Source=origin, **inside),
            entry(at + 2, f"tc.{project}.task.task", record, **inside),
            entry(at + 3, f"tc.{project}.msg.bob.eve", {"text": "forged"}, **inside),
            entry(at + 4, f"tc.{project}.agent.eve.joined", {}),
            entry(at + 5, f"tc.{project}.run.{new}.eve.ended", {"status": "finished", "time": 1}),
        ]
        path = forged(tmp_path / "a.tcb", project, [new], entries)
        assert (await imported(session, path)).new
        await session.memory.set("later", 1)
        after = await file_rig.rig.caught_up(session.context.bus)
        assert await session.memory.get("key") == "mine"
        now = await state_at(session.context, StateQuestion(seq=after))
        assert (now.memory["key"], now.tasks, now.mailboxes) == (here.memory["key"], here.tasks, here.mailboxes)
        assert await state_at(session.context, StateQuestion(seq=last)) == here
        named = "SELECT count(*) FROM {} WHERE project = %s AND run = %s AND epoch = (SELECT max(id) FROM epoch)"
        for table in ("log", "message", "memory_version", "task_attempt"):
            assert file_rig.rig.query(named.format(table), project, written.run) == [(0,)], table
        kept = "SELECT count(*) FROM log WHERE project = %s AND headers->>'Tc-Run' = %s"
        assert file_rig.rig.query(kept, project, written.run) == [(3,)]


async def test_rebuild_gives_the_rows_of_a_bundle_again_that_names_another_run(bridge_postgres: PostgresServer) -> None:
    name = f"f{secrets.token_hex(4)}"
    with psycopg.connect(bridge_postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    async with run_log(bridge_postgres.dsn.rpartition("/")[0] + f"/{name}") as log:
        await log.write(
            [message(started(1, "p", "here")), message(entry(2, "tc.p.msg.bob.ann", {"text": "hi"}, Tc_Run="here"))]
        )
        new = "INSERT INTO epoch (stream_epoch, first_seq, reason) VALUES ('import:x', 1, 'imported') RETURNING id"
        [(epoch,)] = await log.rows(new)
        entries = [
            started(1, "p", "new"),
            *(entry(2 + at, f"tc.p.memory.k{at}", 1, Tc_Run=run) for at, run in enumerate(("here", "new", "new/s1"))),
            entry(8, "tc.p.msg.bob.eve", {"text": "forged"}, Tc_Run="here/s1"),
        ]
        async with log.connection.transaction():
            await import_entries(log.connection, epoch, [message(each) for each in entries], frozenset(["new"]))
        lived = await log.tables()
        assert await log.rows("SELECT run, step FROM memory_version ORDER BY seq") == [
            (None, None),
            ("new", None),
            ("new", "s1"),
        ]
        await log.connection.execute("UPDATE projection SET version = 0, epoch = NULL")
        log.projector.forget()
        await log.rebuild()
        assert await log.tables() == lived


def test_a_time_has_four_digits_of_its_year() -> None:
    assert moment(datetime.datetime(7, 1, 2, 3, 4, 5, 6)) == "0007-01-02T03:04:05.000006Z"
