"""Files and large values of a run: into the store in the background, once, also by a later process; and presence."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.fault.test_recording import NOWHERE, chosen, logged, note, recorder
from tracecraft.recording import spool
from tracecraft.recording.recorder import deliver_spools, spools
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import Presence
from tracecraft_core.bus import Bus
from tracecraft_core.run_events import Blob
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.artifacts import FileRig
    from tracecraft_core.bus import Stored
    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "spool"))


def artifacts(events: list[Stored]) -> dict[str, str]:
    found = [json.loads(one.data) for one in events if one.subject.endswith(".artifact")]
    return {one["name"]: one["sha256"] for one in found}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_files_and_values_of_a_run_are_in_the_store_when_it_is_closed(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    url = file_rig.rig.nats.url
    here = recorder(url, project)
    model = tmp_path / "model.bin"
    model.write_bytes(b"model" * 1000)
    here.upload(model, name="models/best", agent="alice")
    model.unlink()
    here.upload(b"a text", name="note.txt", kind="text", agent="alice")
    large = json.dumps("x" * 20_000).encode()
    assert here.blob(large, preview="xx") == here.blob(large, preview="xx")
    counts = await here.close_async(("alice", "ended", b'{"status":"finished","time":1}'), 30)
    assert (counts.complete, counts.uploads_done) == (True, 3)
    events = await logged(url, project)
    assert artifacts(events) == {"models/best": sha256(b"model" * 1000), "note.txt": sha256(b"a text")}
    assert events[-1].subject.endswith(".ended")
    stored = [name.split("/")[2][:64] for name in file_rig.objects()]
    assert [stored.count(sha256(content)) for content in (large, b"a text", b"model" * 1000)] == [1, 1, 1]
    assert not spools()


async def test_what_was_to_be_uploaded_is_uploaded_by_a_later_process(
    file_rig: FileRig, project: str, tmp_path: Path
) -> None:
    here = recorder(NOWHERE, project)
    note(here, 1)
    here.upload(b"left behind", name="left.txt", agent="alice")
    value = here.blob(b'"a value"')
    assert isinstance(value, Blob)
    counts = await here.close_async(timeout=0.2)
    assert counts.uploads_waiting == 2
    assert [status.uploads for status in spools()] == [2]
    (found,) = await deliver_spools(chosen(file_rig.rig.nats.url, project))
    assert (found.problem, found.uploads, found.left_uploads) == (None, 2, 0)
    events = await logged(file_rig.rig.nats.url, project)
    assert artifacts(events) == {"left.txt": sha256(b"left behind")}
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
