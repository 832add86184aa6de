"""A server that is killed finds the newest message of each source near the end of its log, because the bridge beats."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tracecraft_bridge.beats import EVERY
from tracecraft_core import topology
from tracecraft_core.subjects import BEAT, KV_OPERATION, LOG, RESERVED_PROJECT

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_core.bus import Bus

NEAR = EVERY * 3 // 2
BEAT_OF_TASKS = f"$KV.tc_tasks.{RESERVED_PROJECT}.{BEAT}"


async def _write_keys(bus: Bus, numbers: range) -> None:
    waiting = iter(numbers)

    async def writer() -> None:
        for number in waiting:
            await bus.publish(f"$KV.tc_memory.p.k{number}", b"1")

    await asyncio.gather(*(writer() for _ in range(64)))


async def _newest(bus: Bus, subject: str) -> int:
    stored = await bus.leader_get(LOG, subject)
    return 0 if stored is None else stored.seq


async def _until_near(bus: Bus) -> None:
    """Wait until a memory change and a task change are among the newest messages of the log."""
    async with asyncio.timeout(10):
        while True:
            newest = [await _newest(bus, subject) for subject in (">", "tc.*.memory.>", "tc.*.task.>")]
            if newest[0] - min(newest) <= NEAR and min(newest) > 0:
                return
            await asyncio.sleep(0.05)


async def test_however_many_keys_of_one_source_are_written_the_other_has_a_message_near_the_end(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await _write_keys(bus, range(EVERY + 200))
        assert await _newest(bus, "tc.*.task.>") == 0
        bridge = rig.start()
        await _until_near(bus)
        await _write_keys(bus, range(EVERY + 200, 4 * EVERY))
        await rig.caught_up(bus)
        await _until_near(bus)
        bridge.kill()
        rig.nats.kill()
        await asyncio.to_thread(rig.nats.start)
        await asyncio.to_thread(bridge.start)
        assert await rig.assert_mirrored(bus) == 4 * EVERY
        assert await bus.last_values("KV_tc_tasks", "$KV.tc_tasks.>") == []
    assert rig.query("SELECT * FROM gap") == []


async def test_a_log_that_does_not_grow_gets_no_beat_whoever_restarts(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await rig.flood(bus, EVERY - 1)
        await rig.caught_up(bus)
        await asyncio.sleep(0.3)
        assert await _newest(bus, ">") == EVERY - 1
        await rig.flood(bus, 1)
        await _until_near(bus)
        for _ in range(2):
            bridge.kill()
            await asyncio.to_thread(bridge.start)
            await rig.caught_up(bus)
            await asyncio.sleep(0.3)
            assert await _newest(bus, ">") == EVERY + 2


async def test_beats_are_trimmed_like_the_revisions_of_any_key(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        for _ in range(70):
            await bus.publish(BEAT_OF_TASKS, b"", headers={KV_OPERATION: "DEL"})
        rig.start(trim_age="0.1s", housekeeping="0.1s")
        async with asyncio.timeout(10):
            while True:
                if (await bus.list_subjects("KV_tc_tasks", "$KV.tc_tasks.>"))[BEAT_OF_TASKS] == 64:
                    return
                await asyncio.sleep(0.05)
