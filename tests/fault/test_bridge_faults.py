"""Nothing is lost, doubled or changed on the way, whichever of the three is killed again and again under load."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Protocol

from tests.support.bridge import append_raw, fresh_headers, healthz, until_health
from tracecraft import AsyncSession
from tracecraft_core import topology

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_core.bus import Bus

KILLS = 5


class Victim(Protocol):
    """A server that can be killed."""

    def kill(self) -> None: ...

    def start(self) -> float: ...


async def _kill_under_load(rig: Rig, bus: Bus, victim: Victim) -> int:
    """Kill and start, again and again, while messages are published; returns how many were acknowledged."""
    enough = asyncio.Event()
    load = asyncio.create_task(rig.flood_until(bus, enough))
    for kill in range(KILLS):
        await asyncio.sleep(0.2 + 0.07 * kill)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
    enough.set()
    return await load


async def test_a_bridge_killed_again_and_again_ends_with_the_table_equal_to_the_stream(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start(bridge_batch="200")
        stored = await _kill_under_load(rig, bus, bridge)
        assert await rig.assert_mirrored(bus) == stored
    assert rig.query("SELECT * FROM gap") == []
    assert rig.query("SELECT reason FROM epoch") == [("first",)]


async def test_postgresql_killed_again_and_again_ends_with_the_table_equal_to_the_stream(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start(bridge_batch="200")
        stored = await _kill_under_load(rig, bus, rig.postgres)
        assert await rig.assert_mirrored(bus) == stored
    assert rig.query("SELECT * FROM gap") == []
    assert "not mirroring" in rig.bridges[0].log.read_text()


async def test_a_nats_server_killed_again_and_again_ends_with_the_table_equal_to_the_stream(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start(bridge_batch="200")
        stored = await _kill_under_load(rig, bus, rig.nats)
        await until_health(rig.bridges[0], 200)
        assert await rig.assert_mirrored(bus) >= stored
    assert rig.query("SELECT * FROM gap") == []
    assert rig.query("SELECT reason FROM epoch") == [("first",)]


async def test_after_a_restart_of_the_bus_the_bridge_is_healthy_once_it_mirrors_again_and_not_before(rig: Rig) -> None:
    bridge = rig.start()
    for _ in range(KILLS):
        await asyncio.to_thread(rig.nats.kill)
        await asyncio.to_thread(rig.nats.start)
        await until_health(bridge, 200)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert (await asyncio.to_thread(healthz, bridge))[0] == 200, "it said so of the session before"


async def test_a_question_right_after_a_restart_of_the_bus_is_answered(rig: Rig) -> None:
    bridge = rig.start()
    for _ in range(KILLS):
        await until_health(bridge, 200)
        await asyncio.to_thread(rig.nats.kill)
        await asyncio.to_thread(rig.nats.start)
        async with AsyncSession(server=rig.nats.url, project="p", agent="alice") as session:
            assert await session.runs.list() == []


async def test_a_frozen_nats_server_is_waited_for(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        rig.nats.pause()
        await until_health(bridge, 503)
        rig.nats.resume()
        await until_health(bridge, 200)
        await append_raw(bus, "tc.p.all.a", b"{}", fresh_headers())
        assert await rig.assert_mirrored(bus) == 1


async def test_a_log_that_lost_its_newest_messages_goes_on_as_a_new_epoch(rig: Rig) -> None:
    """A crash of the machine: the server comes back with an older state, and hands out the numbers again."""
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        await rig.flood(bus, 300)
        await rig.caught_up(bus)
        rig.nats.stop()
        shutil.copytree(rig.nats.folder / "store", rig.folder / "older")
        rig.nats.start()
        await rig.flood(bus, 200)
        await rig.caught_up(bus)
        before = rig.table()
        await asyncio.to_thread(_set_back, rig)
        await rig.flood(bus, 50)
        await rig.wait_for_rows(2, "SELECT id FROM epoch")
        assert await rig.assert_mirrored(bus) == 350
    assert rig.query("SELECT id, first_seq, previous, reason FROM epoch ORDER BY id") == [
        (1, 1, None, "first"),
        (2, 301, 1, "went_back"),
    ]
    assert len(before) == 500
    assert rig.query("SELECT count(*) FROM log WHERE epoch = 1") == [(500,)]


async def test_numbers_handed_out_again_behind_the_back_of_the_bridge_are_noticed(rig: Rig) -> None:
    """As before, but the log has grown past the checkpoint again before the bridge looks at it."""
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await rig.flood(bus, 300)
        await rig.caught_up(bus)
        rig.nats.stop()
        shutil.copytree(rig.nats.folder / "store", rig.folder / "older")
        rig.nats.start()
        await rig.flood(bus, 200)
        await rig.caught_up(bus)
        bridge.kill()
        await asyncio.to_thread(_set_back, rig)
        await rig.flood(bus, 400)
        bridge.start()
        assert await rig.assert_mirrored(bus) == 700
    assert rig.query("SELECT first_seq, reason FROM epoch WHERE id = 2") == [(301, "went_back")]
    assert rig.query("SELECT count(*) FROM log") == [(500 + 400,)]


def _set_back(rig: Rig) -> None:
    rig.nats.kill()
    shutil.rmtree(rig.nats.folder / "store")
    shutil.copytree(rig.folder / "older", rig.nats.folder / "store")
    rig.nats.start()
