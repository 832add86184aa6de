"""The verbs of core on a real server, and the streams they work on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus, parse_headers
from tracecraft_core.errors import BusError, NotFound, RevisionConflict
from tracecraft_core.pull import Puller, acknowledge, create_consumer, fetch_now, watcher_config
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_core.topology import Drift
    from tracecraft_stack.nats_server import NatsServer

MEMORY = subjects.kv_stream(subjects.MEMORY)


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with Bus(ServerOptions(servers=(nats.url,))) as bus:
        await topology.ensure(bus)
        yield bus


@pytest.fixture
def key(project: str) -> str:
    return subjects.kv_subject(subjects.MEMORY, project, "key")


# -- the verbs ------------------------------------------------------------------------------------------------------


async def test_a_publish_with_the_same_id_is_stored_once(bus: Bus, project: str) -> None:
    subject = subjects.broadcast(project, "a")
    first = await bus.publish(subject, b"1", msg_id=f"{project}-id")
    again = await bus.publish(subject, b"1", msg_id=f"{project}-id")
    assert (again.seq, first.duplicate, again.duplicate) == (first.seq, False, True)


async def test_a_compare_and_set_writes_only_on_the_revision_it_was_told(bus: Bus, key: str) -> None:
    first = await bus.cas(MEMORY, key, b"1", 0)
    with pytest.raises(RevisionConflict) as conflict:
        await bus.cas(MEMORY, key, b"2", 0)
    assert (conflict.value.expected, conflict.value.actual, conflict.value.exit_code) == (0, first, 3)
    second = await bus.cas(MEMORY, key, b"2", first)
    with pytest.raises(RevisionConflict):
        await bus.cas(MEMORY, key, b"3", first)
    stored = await bus.leader_get(MEMORY, key)
    assert stored is not None
    assert (stored.data, stored.seq) == (b"2", second)


async def test_of_twenty_compare_and_sets_at_once_one_is_written(bus: Bus, key: str) -> None:
    results = await asyncio.gather(*(bus.cas(MEMORY, key, b"x", 0) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, RevisionConflict) for result in results) == 19
    assert (await bus.list_subjects(MEMORY, key)) == {key: 1}


async def test_what_is_not_there_is_none_and_a_missing_stream_is_an_error(bus: Bus, key: str) -> None:
    assert await bus.leader_get(MEMORY, key) is None
    assert await bus.get(MEMORY, 10**9) is None
    assert await bus.list_subjects("NO_SUCH_STREAM", ">") == {}
    with pytest.raises(NotFound, match="stream"):
        await bus.api("STREAM.INFO.NO_SUCH_STREAM")
    with pytest.raises(BusError, match="JetStream error"):
        await bus.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["tc.>"]})


async def test_a_message_with_a_ttl_leaves_a_marker_when_it_lapses(bus: Bus, project: str) -> None:
    stream, subject = subjects.kv_stream(subjects.LEASES), subjects.kv_subject(subjects.LEASES, project, "T")
    async with Puller(bus, stream, watcher_config([subject], "new")) as puller:
        written = await bus.publish(subject, b"lease", ttl=1)
        first, marker = await puller.next(5), await puller.next(5)
    assert first is not None
    assert marker is not None
    assert (first.stored.seq, first.stored.deleted) == (written.seq, False)
    assert (marker.stored.lapsed, marker.stored.deleted) == (True, True)
    await bus.cas(stream, subject, b"taken", marker.stored.seq, ttl=60)


async def test_a_change_in_a_bucket_stands_in_the_log_with_the_revision_it_had(
    bus: Bus, project: str, key: str
) -> None:
    async with Puller(bus, subjects.LOG, watcher_config([f"tc.{project}.>"], "all")) as puller:
        revisions = [await bus.cas(MEMORY, key, b"1", 0)]
        for number in range(30):
            revisions.append(await bus.cas(MEMORY, key, str(number).encode(), revisions[-1]))
        found = [await puller.next(5) for _ in revisions]
    origins = [int(d.stored.headers[subjects.STREAM_SOURCE].split()[1]) for d in found if d is not None]
    assert origins == revisions
    assert {d.stored.subject for d in found if d is not None} == {f"tc.{project}.memory.key"}


async def test_a_backlog_ends_where_the_stream_ended_when_it_began(bus: Bus, project: str) -> None:
    subject = subjects.broadcast(project, "a")
    async with Puller(bus, subjects.LOG, watcher_config([subject], "all")) as puller:
        assert [d async for d in puller.backlog()] == []
    for number in range(600):  # more than one pull request
        await bus.publish(subject, str(number).encode())
    async with Puller(bus, subjects.LOG, watcher_config([subject], "all")) as puller:
        bodies = [int(d.stored.data) async for d in puller.backlog()]
    assert bodies == list(range(600))


async def test_a_watcher_whose_consumer_was_deleted_goes_on_where_it_was(bus: Bus, project: str) -> None:
    subject = subjects.broadcast(project, "a")
    config = watcher_config([subject], "new")
    async with Puller(bus, subjects.LOG, config) as puller:
        await bus.publish(subject, b"0")
        assert (await _body(puller)) == b"0"
        await bus.api(f"CONSUMER.DELETE.{subjects.LOG}.{config['name']}")
        for number in range(1, 6):
            await bus.publish(subject, str(number).encode())
        assert [await _body(puller) for _ in range(5)] == [b"1", b"2", b"3", b"4", b"5"]
        assert await puller.next(0.2) is None


async def test_a_watcher_that_had_heard_nothing_misses_nothing_when_its_consumer_goes(own_nats: NatsServer) -> None:
    """The log is empty, so there is no sequence to go on from: what came meanwhile must come all the same."""
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        await topology.ensure(bus)
        async with Puller(bus, subjects.LOG, watcher_config(["tc.p.>"], "new")) as puller:
            own_nats.kill()
            own_nats.start()
            await bus.publish(subjects.broadcast("p", "a"), b"first")
            assert (await _body(puller)) == b"first"


async def _body(puller: Puller) -> bytes:
    delivery = await puller.next(10)
    assert delivery is not None
    return delivery.stored.data


async def test_a_fetch_takes_what_waits_and_what_is_not_acknowledged_comes_again(bus: Bus, project: str) -> None:
    name, subject = f"c-{project}", subjects.broadcast(project, "a")
    config = {"name": name, "durable_name": name, "filter_subjects": [subject], "ack_policy": "explicit"}
    await create_consumer(bus, subjects.LOG, config | {"ack_wait": 10**9})
    assert await fetch_now(bus, subjects.LOG, name, 10) == []
    for number in range(5):
        await bus.publish(subject, str(number).encode())
    first = await fetch_now(bus, subjects.LOG, name, 3)
    assert [d.stored.data for d in first] == [b"0", b"1", b"2"]
    assert await acknowledge(bus, first[0])
    assert await acknowledge(bus, first[1], kind="-NAK")
    second = await fetch_now(bus, subjects.LOG, name, 10)
    assert sorted(d.stored.data for d in second) == [b"1", b"3", b"4"]
    with pytest.raises(NotFound, match="consumer"):
        await fetch_now(bus, subjects.LOG, "no-such-consumer", 1)


async def test_no_consumer_stays_behind_when_a_watcher_ends(bus: Bus, project: str) -> None:
    config = watcher_config([f"tc.{project}.>"])
    async with Puller(bus, subjects.LOG, config):
        await bus.api(f"CONSUMER.INFO.{subjects.LOG}.{config['name']}")
    with pytest.raises(NotFound):
        await _ask_until_gone(bus, f"CONSUMER.INFO.{subjects.LOG}.{config['name']}")


async def _ask_until_gone(bus: Bus, verb: str) -> None:
    """The deletion is on its way when the watcher has ended."""
    async with asyncio.timeout(5):
        while True:
            await bus.api(verb)


def test_headers_are_read_from_their_wire_form() -> None:
    assert parse_headers(b"NATS/1.0\r\nA: 1\r\nB:2\r\nA: 3\r\n\r\n") == {"A": "1", "B": "2"}


# -- the streams ----------------------------------------------------------------------------------------------------


def test_twenty_processes_that_meet_a_fresh_server_make_one_set_of_streams(own_nats: NatsServer) -> None:
    with Program("creators", own_nats.url, "p", "a", 20) as creators:
        for _ in range(20):
            creators.hear("ready")
        creators.say("go")
        created = creators.rest()
    assert len(created) == 20
    assert len({line["epoch"] for line in created}) == 1
    assert created[0]["epoch"]
    assert [drift for line in created for drift in line["drifts"]] == []


async def test_verbs_that_meet_a_fresh_server_together_all_succeed(own_nats: NatsServer) -> None:
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        bus.on_missing_stream = _ensure
        results = await asyncio.gather(
            bus.leader_get(MEMORY, "$KV.tc_memory.p.key"),
            bus.list_subjects(MEMORY, "$KV.tc_memory.p.>"),
            create_consumer(bus, subjects.LOG, watcher_config(["tc.p.>"])),
            bus.publish(subjects.broadcast("p", "a"), b"{}"),
            bus.cas(MEMORY, "$KV.tc_memory.p.other", b"1", 0),
        )
        assert results[0] is None
        assert results[1].keys() <= {"$KV.tc_memory.p.other"}
        assert await topology.check(bus) == []


async def _ensure(bus: Bus) -> None:
    await topology.ensure(bus)


async def test_creating_the_streams_again_changes_nothing(bus: Bus) -> None:
    before = await topology.epoch(bus)
    assert await topology.ensure(bus) == []
    assert await topology.check(bus) == []
    assert await topology.epoch(bus) == before


async def test_a_stream_that_somebody_made_otherwise_is_reported_and_left_alone(own_nats: NatsServer) -> None:
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        assert [drift.setting for drift in await topology.check(bus)] == ["existence"] * 5
        for definition in topology.definitions():
            if definition["name"] == MEMORY:
                await bus.api(f"STREAM.CREATE.{MEMORY}", definition | {"max_msgs_per_subject": 64})
            if definition["name"] == subjects.LOG:
                foreign = {key: value for key, value in definition.items() if key != "sources"}
                await bus.api(f"STREAM.CREATE.{subjects.LOG}", foreign | {"max_age": 3600 * 10**9})
        drifts = await topology.ensure(bus)
        assert _told(drifts) >= {
            "KV_tc_memory: max_msgs_per_subject is 64, tracecraft needs 1000000",
            "TC_LOG: max_age is 3600000000000, tracecraft needs 0",
            "TC_LOG: metadata tc.epoch is None, tracecraft needs 'a random id'",
        }
        assert any(text.startswith("TC_LOG: sources is None") for text in _told(drifts))
        assert _told(await topology.check(bus)) == _told(drifts)
        info = await bus.api(f"STREAM.INFO.{MEMORY}")
        assert info["config"]["max_msgs_per_subject"] == 64


def _told(drifts: list[Drift]) -> set[str]:
    return {str(drift) for drift in drifts}


async def test_the_first_changes_of_a_new_log_are_all_heard_each_bucket_in_its_order(own_nats: NatsServer) -> None:
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        await topology.ensure(bus)
        await bus.publish("$KV.tc_tasks.p.a", b"{}")
        await bus.publish("$KV.tc_memory.p.a", b"1")
        await bus.publish("$KV.tc_tasks.p.b", b"{}")
        async with Puller(bus, subjects.LOG, watcher_config(["tc.p.>"], "all")) as puller:
            found = [await puller.next(5) for _ in range(3)]
    heard = [delivery.stored.subject for delivery in found if delivery is not None]
    assert [subject for subject in heard if "task" in subject] == ["tc.p.task.a", "tc.p.task.b"]
    assert sorted(heard) == ["tc.p.memory.a", "tc.p.task.a", "tc.p.task.b"]
