"""Purging and trimming: what goes is mirrored and old enough, always."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.bridge import metrics
from tracecraft import AsyncSession
from tracecraft_core import topology

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_core.bus import Bus

RESERVATIONS = "$KV.tc_tasks.p.file.>"
KEY = "$KV.tc_memory.p.k"


async def _first(bus: Bus) -> int:
    return int((await bus.api("STREAM.INFO.TC_LOG"))["state"]["first_seq"])


async def _until_first(bus: Bus, wanted: int) -> None:
    async with asyncio.timeout(15):
        while True:
            if await _first(bus) >= wanted:
                return
            await asyncio.sleep(0.05)


async def _until_trimmed(bus: Bus) -> None:
    async with asyncio.timeout(15):
        while True:
            if await _revisions(bus) == 64:
                return
            await asyncio.sleep(0.05)


async def _revisions(bus: Bus) -> int:
    return (await bus.list_subjects("KV_tc_memory", KEY)).get(KEY, 0)


async def _write(bus: Bus, count: int) -> None:
    for number in range(count):
        await bus.publish(KEY, b"%d" % number)


async def test_what_is_mirrored_and_older_than_the_retention_is_purged(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start(retention="3s", housekeeping="0.1s")
        await rig.flood(bus, 100)
        await rig.caught_up(bus)
        assert await _first(bus) == 1
        await asyncio.sleep(1)  # so long has whoever looks below after the first are gone, and before the second
        await rig.flood(bus, 50)
        await _until_first(bus, 101)
        assert await _first(bus) == 101
        await _until_first(bus, 151)
        await rig.flood(bus, 10)
        await rig.caught_up(bus)
        assert len(rig.table()) == 160
        assert 'purged_messages_total{stream="TC_LOG"}' in metrics(bridge)
    assert rig.query("SELECT * FROM gap") == []


async def test_what_is_not_mirrored_is_never_purged_however_old(rig: Rig) -> None:
    """The mirror is held up by a lock on its table while the housekeeping goes on."""
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start(retention="0.1s", housekeeping="0.1s")
        await rig.flood(bus, 20)
        await _until_first(bus, 21)
        with rig.hold_up_the_mirror():
            await rig.flood(bus, 30)
            await asyncio.sleep(0.5)
            assert await _first(bus) == 21
            assert (await bus.api("STREAM.INFO.TC_LOG"))["state"]["messages"] == 30
        await _until_first(bus, 51)
    assert len(rig.table()) == 50
    assert rig.query("SELECT * FROM gap") == []


async def test_a_log_that_was_made_again_is_not_purged_by_the_numbers_of_the_old_one(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start(retention="0.1s", housekeeping="0.1s")
        await rig.flood(bus, 50)
        await _until_first(bus, 51)
        with rig.hold_up_the_mirror():
            await bus.api("STREAM.DELETE.TC_LOG")
            await topology.ensure(bus)
            await rig.flood(bus, 10)
            await asyncio.sleep(0.5)
            assert (await bus.api("STREAM.INFO.TC_LOG"))["state"]["messages"] == 10
        await rig.wait_for_rows(10, "SELECT FROM log WHERE epoch = 2")


async def test_a_key_is_trimmed_to_its_newest_64_revisions(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start(trim_age="0.5s", housekeeping="0.2s", retention="forever")
        await _write(bus, 100)
        await _until_trimmed(bus)
        newest = await bus.leader_get("KV_tc_memory", KEY)
        assert newest is not None
        assert newest.data == b"99"
        await asyncio.sleep(0.5)
        assert await _revisions(bus) == 64
        assert await rig.assert_mirrored(bus) == 100
    assert rig.query("SELECT * FROM gap") == []


async def test_a_released_reservation_goes_altogether_and_one_that_is_held_or_young_stays(rig: Rig) -> None:
    async with (
        rig.bus() as bus,
        AsyncSession(server=rig.nats.url, project="p", agent="alice") as alice,
    ):
        await topology.ensure(bus)
        bridge = rig.start(trim_age="1h", housekeeping="0.1s")
        await alice.reservations.reserve("held", "gone")
        await alice.reservations.release("gone")
        await rig.wait_for_rows(4, "SELECT FROM log WHERE family = 'task'")
        await asyncio.sleep(0.4)
        assert len(await bus.list_subjects("KV_tc_tasks", RESERVATIONS)) == 2
        bridge.stop()
        rig.start(trim_age="0.2s", housekeeping="0.1s")
        async with asyncio.timeout(15):
            while True:
                if list(await bus.list_subjects("KV_tc_tasks", RESERVATIONS)) == ["$KV.tc_tasks.p.file.held"]:
                    break
                await asyncio.sleep(0.05)
        assert [one.glob for one in await alice.reservations.list()] == ["held"]
        (again,) = await alice.reservations.reserve("gone")
        assert again.owner == "alice"
    assert rig.query("SELECT outcome FROM task_attempt WHERE task = 'file.gone' AND attempt = 1") == [("released",)]
    assert rig.query("SELECT * FROM gap") == []


async def test_young_and_unmirrored_revisions_are_not_trimmed(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start(trim_age="1h", housekeeping="0.1s")
        await _write(bus, 100)
        await asyncio.sleep(0.4)
        assert await _revisions(bus) == 100
        bridge.stop()
        rig.start(trim_age="0.1s", housekeeping="0.1s")
        with rig.hold_up_the_mirror():
            await asyncio.sleep(0.4)
            before = await _revisions(bus)
            await _write(bus, 100)
            await asyncio.sleep(0.5)
            assert await _revisions(bus) == before + 100
        await _until_trimmed(bus)
        assert await rig.assert_mirrored(bus) == 200


async def test_a_bucket_that_was_made_again_is_not_trimmed_by_the_revisions_of_the_old_one(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start(trim_age="1h", housekeeping="0.1s")
        await _write(bus, 200)
        await rig.wait_for_rows(200, "SELECT FROM log")
        bridge.stop()
        await bus.api("STREAM.DELETE.KV_tc_memory")
        await topology.ensure(bus)
        await _write(bus, 150)
        rig.start(trim_age="0.1s", housekeeping="0.1s")
        with rig.hold_up_the_mirror():
            await asyncio.sleep(0.7)
            assert await _revisions(bus) == 150
