"""Recording processes that are killed or forked, or have no bus or room: losses are counted, nothing is twice."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tests.support.proxy import Proxy
from tests.support.recording import NOWHERE, RUN, chosen, logged, note, numbers, points, recorder, texts
from tracecraft.recording import delivery, spool
from tracecraft.recording.position import Position
from tracecraft.recording.recorder import Recorder, deliver_spools, spools
from tracecraft_core import settings, subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "spool"))
    return tmp_path / "spool"


async def under_load(taken: Path, count: int) -> None:
    async with asyncio.timeout(20):
        while read_count(taken) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def read_count(taken: Path) -> int:
    return int.from_bytes(taken.read_bytes(), "little") if taken.exists() else 0


async def acknowledging(folder: Path) -> None:
    position = Position.open(folder)
    async with asyncio.timeout(20):
        while position.acked < 500:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    position.close()


@pytest.mark.parametrize("bus", ["there", "away"])
async def test_what_a_killed_process_recorded_is_delivered_by_a_later_one_in_order_and_once(
    nats: NatsServer, project: str, tmp_path: Path, bus: str
) -> None:
    taken = tmp_path / "taken"
    server = nats.url if bus == "there" else NOWHERE
    with Program("recording", server, project, "alice", RUN, "load", taken) as program:
        writer = program.hear("recording")["writer"]
        await under_load(taken, 2000)
        if bus == "there":
            await acknowledging(next(spool.folders()))
        program.kill()
    count = read_count(taken)
    (left,) = spools()
    assert (left.writer, left.alive) == (writer, False)
    (found,) = await deliver_spools(chosen(nats.url, project))
    assert found.problem is None
    assert not spools()
    events = await logged(nats.url, project)
    assert texts(events)[:count] == list(range(1, count + 1))
    assert len(texts(events)) <= count + 1
    assert points(events)[:count] == list(range(1, count + 1))
    assert numbers(events, writer) == list(range(1, len(events) + 1))
    assert (found.events == len(events)) is (bus == "away")


async def test_recording_goes_on_fast_while_the_bus_is_away_and_everything_arrives_afterwards_once(
    nats: NatsServer, project: str
) -> None:
    async with Proxy(nats.url) as proxy:
        here = recorder(proxy.url, project)
        note(here, 1)
        assert (await here.flush_async(10)).complete
        proxy.arm(at=40, loses="reply", times=60)
        slow = []
        for number in range(2, 2001):
            start = time.perf_counter()
            note(here, number)
            here.metric("alice", "n", number, number, 1)
            slow.append(time.perf_counter() - start)
            if number % 100 == 0:
                await asyncio.sleep(0.01)
        assert sorted(slow)[len(slow) * 9 // 10] < 0.005, "recording waited for the bus"
        proxy.heal()
        counts = await here.close_async(timeout=30)
    assert counts.complete
    assert counts.acknowledged == 1 + 2 * 1999
    events = await logged(nats.url, project)
    assert texts(events) == list(range(1, 2001))
    assert points(events) == list(range(2, 2001))
    assert not spools()


async def test_with_no_bus_at_all_a_run_is_recorded_and_one_warning_says_where_to(
    nats: NatsServer, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = recorder(NOWHERE, project)
    for number in range(1, 11):
        note(here, number)
        here.metric("alice", "n", number, None, 1)
    begun = time.monotonic()
    counts = await here.close_async()
    assert time.monotonic() - begun < 0.5, "a server that refuses is not waited for"
    assert (counts.acknowledged, counts.spooled, counts.dropped) == (0, 20, 0)
    (warning,) = [line.getMessage() for line in caplog.records]
    assert "no NATS server answers at nats://127.0.0.1:9" in warning
    assert f"Its records go to {counts.where}" in warning
    assert [status.events for status in spools()] == [20]
    first = await deliver_spools(chosen(nats.url, project))
    assert [(one.events, one.problem) for one in first] == [(20, None)]
    assert await deliver_spools(chosen(nats.url, project)) == []
    assert texts(await logged(nats.url, project)) == list(range(1, 11))


async def test_settings_that_reach_no_bus_and_records_after_the_end_raise_nothing_and_are_counted(
    project: str,
) -> None:
    wrong = settings.load({"server": NOWHERE, "project": project, "agent": "alice", "creds": "/nowhere/my.creds"})
    here = Recorder(wrong, project, RUN, agent="alice")
    note(here, 1)
    assert (await here.flush_async(1)).spooled == 1
    counts = await here.close_async(("alice", "ended", b"{}"), 1)
    assert (counts.spooled, counts.dropped) == (2, 0)
    note(here, 2)
    here.metric("alice", "n", 1.0, None, 1)
    assert here.counts().dropped == 2
    assert [status.events for status in spools()] == [2]


async def test_a_full_spool_counts_what_it_drops_and_keeps_the_rest(
    nats: NatsServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACECRAFT_SPOOL_LIMIT", "1M")
    with Program("recording", NOWHERE, project, "alice", RUN, "full") as program:
        said = program.hear("full")
        program.rest()
    assert said["spooled"] + said["dropped"] == 3000
    assert said["spooled"] > 500
    await deliver_spools(chosen(nats.url, project))
    assert texts(await logged(nats.url, project)) == list(range(1, said["spooled"] + 1))


@pytest.mark.parametrize("what", ["full", "disk", "nothing"])
async def test_a_run_that_had_no_room_is_ended_and_says_how_much_was_dropped(
    nats: NatsServer, project: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what != "disk":
        monkeypatch.setenv("TRACECRAFT_SPOOL_LIMIT", "1M" if what == "full" else "1k")
    with Program(
        "recording", NOWHERE, project, "alice", RUN, "disk-ends" if what == "disk" else "full-ends"
    ) as program:
        said = program.hear("ended")
        program.rest()
    assert said["dropped"] > 0
    (found,) = await deliver_spools(chosen(nats.url, project))
    assert (found.problem, found.dropped) == (None, said["dropped"])
    events = await logged(nats.url, project)
    ends = [json.loads(one.data) for one in events if one.subject.endswith(".alice.ended")]
    assert ends == [{"status": "finished", "time": 1, "dropped": said["dropped"]}]
    assert len(texts(events)) == 3000 - said["dropped"]
    assert numbers(events, said["writer"]) == list(range(1, len(events) + 1))


async def test_what_a_killed_process_had_to_drop_the_one_that_delivers_says(
    nats: NatsServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACECRAFT_SPOOL_LIMIT", "1M")
    with Program("recording", NOWHERE, project, "alice", RUN, "full-killed") as program:
        said = program.hear("full")
        program.kill()
    (found,) = await deliver_spools(chosen(nats.url, project))
    assert (found.problem, found.dropped) == (None, said["dropped"])
    *_, joined, left = await logged(nats.url, project)
    assert joined.subject.endswith(".joined")
    assert left.subject.endswith(".left")
    assert json.loads(left.data)["dropped"] == said["dropped"] > 0
    assert not spools()


async def test_without_a_spool_and_a_bus_nobody_is_told_that_records_come_later(
    project: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "file" / "spool"))
    here = recorder(NOWHERE, project)
    note(here, 1)
    counts = await here.close_async(timeout=1)
    assert (counts.spooled, counts.dropped) == (0, 1)
    told = " ".join(line.getMessage() for line in caplog.records)
    assert "spool flush" not in told
    assert "are lost when this process ends before the server is back" in told


async def test_a_full_disk_neither_ends_the_process_nor_loses_what_the_bus_takes(
    nats: NatsServer, project: str
) -> None:
    with Program("recording", nats.url, project, "alice", RUN, "disk") as program:
        said = program.hear("disk")
        program.rest()
    assert (said["acknowledged"], said["spooled"], said["dropped"]) == (3000, 0, 0)
    assert texts(await logged(nats.url, project)) == list(range(1, 3001))


async def test_a_full_disk_with_no_bus_is_counted(nats: NatsServer, project: str) -> None:
    with Program("recording", NOWHERE, project, "alice", RUN, "disk") as program:
        said = program.hear("disk")
        program.rest()
    assert said["acknowledged"] == 0
    assert said["dropped"] > 0
    assert said["spooled"] + said["dropped"] == 3000
    await deliver_spools(chosen(nats.url, project))
    assert texts(await logged(nats.url, project)) == list(range(1, said["spooled"] + 1))


async def test_a_forked_child_is_a_writer_of_its_own_and_what_it_leaves_the_parent_delivers(
    nats: NatsServer, project: str
) -> None:
    with Program("recording", nats.url, project, "alice", RUN, "fork") as program:
        said = program.hear("forked")
        program.rest()
    events = await logged(nats.url, project)
    mine = numbers(events, said["writer"])
    assert mine == list(range(1, 202))
    others = [one for one in events if not one.headers[subjects.MSG_ID].startswith(said["writer"])]
    assert others[0].subject.endswith(".joined")
    assert texts(others) == list(range(101, 202))
    assert not spools()


async def test_after_the_logs_own_window_what_it_has_is_looked_up_and_not_sent_again(
    own_nats: NatsServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        for wanted in topology.definitions():
            short = {**wanted, "duplicate_window": 100_000_000}
            await bus.api(f"STREAM.CREATE.{wanted['name']}", short)
        here = recorder(NOWHERE, project)
        for number in range(1, 101):
            note(here, number)
        counts = await here.close_async(timeout=0)
        writer = here.writer
        for number in range(1, 41):  # the log got these, and their acknowledgement was lost
            body = json.dumps({"text": str(number), "time": 1}).encode()
            subject = subjects.run_event(project, RUN, "alice", "log")
            await bus.publish(subject, body, msg_id=f"{writer}:{number}")
    position = Position.open(Path(counts.where))
    position.note_sent(60, time.time_ns() // 1000)
    position.doubt_since = time.time_ns() // 1000 - 1000
    position.close()
    await asyncio.sleep(0.3)  # the log forgets these ids
    monkeypatch.setattr(delivery, "RECOGNISED_S", 0)
    (found,) = await deliver_spools(chosen(own_nats.url, project))
    assert found.problem is None
    events = await logged(own_nats.url, project)
    assert numbers(events, writer) == list(range(1, 101))


async def test_a_disk_without_room_for_the_first_file_disturbs_nobody(
    nats: NatsServer, project: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int, __: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tracecraft.recording.position.allocate", full)
    recording = recorder(nats.url, project)
    note(recording, 1)
    counts = await recording.close_async(timeout=10)
    assert (counts.acknowledged, counts.where) == (1, "memory")
    assert "No space left on device" in caplog.text
    assert texts(await logged(nats.url, project)) == [1]
