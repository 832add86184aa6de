"""The projections of runs, from the bus to the tables: crashes, poison, retention, takeover."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from tests.support.bridge import append_raw, fresh_headers, metrics
from tracecraft_bridge.database import connect
from tracecraft_bridge.partitions import PARTITIONED, Partitions
from tracecraft_bridge.run_retention import RunRetention
from tracecraft_core import bodies, subjects, topology
from tracecraft_core.bodies import Presence

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_core.bus import Bus


async def event(bus: Bus, run: str, name: str, body: object, number: int) -> None:
    """An event of a run, with its writer's number."""
    fields = {"time": time.time_ns() // 1000, **body} if isinstance(body, dict) and name != "metric" else body
    raw = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    await append_raw(bus, f"tc.p.run.{run}.a.{name}", raw, {"Nats-Msg-Id": f"writer-of-{run}:{number}"})


async def test_a_run_whose_last_process_is_gone_has_crashed_until_it_is_heard_again(rig: Rig) -> None:
    bridge = rig.start()
    presence = Presence(session="s", mode="live", host="h", pid=1, ttl=1)
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await event(bus, "r1", "started", {"name": "n"}, 1)
        await event(bus, "r1", "step.started", {"step": "ab", "name": "train"}, 2)
        await event(bus, "r2", "started", {"name": "without a presence"}, 1)
        key = subjects.kv_subject(subjects.AGENTS, "p", subjects.run_presence("r1", "writer-of-r1"))
        await append_raw(bus, key, bodies.encode(presence), {"Nats-TTL": "1s"})
        await rig.wait_for_rows(1, "SELECT FROM run WHERE run = 'r1' AND status = 'crashed'")
        assert rig.query("SELECT reason <> '', last_step FROM run WHERE run = 'r1'") == [(True, "ab")]
        assert rig.query("SELECT status FROM step WHERE run = 'r1'") == [("lost",)]
        assert rig.query("SELECT status FROM run WHERE run = 'r2'") == [("running",)]
        await event(bus, "r1", "step.ended", {"step": "ab", "name": "train", "duration": 5}, 3)
        await rig.caught_up(bus)
        assert rig.query("SELECT status, reason FROM run WHERE run = 'r1'") == [("running", None)]
        assert rig.query("SELECT status FROM step WHERE run = 'r1'") == [("ok",)]
        await event(bus, "r1", "ended", {"status": "finished"}, 4)
        await rig.caught_up(bus)
    assert rig.query("SELECT status FROM run WHERE run = 'r1'") == [("finished",)]
    assert 'lost_events_total{kind="run"} 1.0' in metrics(bridge)
    assert 'lost_events_total{kind="agent"}' not in metrics(bridge)


async def test_a_run_that_every_process_has_left_is_open_until_somebody_ends_it(rig: Rig) -> None:
    rig.start()
    presence = bodies.encode(Presence(session="s", mode="live", host="h", pid=1, ttl=1))
    async with rig.bus() as bus:
        await topology.ensure(bus)
        for run in ("left", "commands", "silent"):
            key = subjects.kv_subject(subjects.AGENTS, "p", subjects.run_presence(run, f"writer-of-{run}"))
            await append_raw(bus, key, presence, {"Nats-TTL": "1s"})
            await event(bus, run, "joined", {}, 1)
        command = {"Nats-Msg-Id": "writer-of-commands-without-a-presence:1"}
        await append_raw(bus, "tc.p.run.commands.b.log", b'{"time":%d,"text":"hi"}' % (time.time_ns() // 1000), command)
        for run in ("left", "commands"):
            await event(bus, run, "left", {}, 2)
        await rig.wait_for_rows(1, "SELECT FROM run WHERE run = 'silent' AND status = 'crashed'")
        await rig.wait_for_rows(1, "SELECT WHERE NOT EXISTS (SELECT FROM run_presence WHERE run <> 'silent')")
        await rig.caught_up(bus)
        assert rig.query("SELECT run, status FROM run WHERE run <> 'silent' ORDER BY 1") == [
            ("commands", "running"),
            ("left", "running"),
        ]
        await event(bus, "left", "ended", {"status": "finished"}, 3)
        await rig.caught_up(bus)
    assert rig.query("SELECT status FROM run WHERE run = 'left'") == [("finished",)]


async def test_a_file_of_a_size_that_cannot_be_is_noted_as_a_problem(rig: Rig) -> None:
    rig.start()
    async with rig.bus() as bus:
        await topology.ensure(bus)
        for number, size in enumerate((-1, 0, 2**63), 1):
            body = {"name": f"f{number}", "sha256": "ab" * 32, "size": size}
            await event(bus, "r1", "artifact", body, number)
        await rig.caught_up(bus)
    assert rig.query("SELECT name, size FROM artifact") == [("f2", 0)]
    assert rig.query("SELECT problem FROM run_problem ORDER BY seq") == [("size is out of range",)] * 2


async def test_poison_is_noted_and_what_is_behind_it_arrives(rig: Rig) -> None:
    rig.start()
    poison = [
        b"{{{",
        b"\xff",
        b'{"points":[["k","a text",1,1]]}',
        b'{"points":[["k\\u0000",1,1,1]]}',
        b'{"points":[["k",1,1e40,1]]}',
        b'{"points":[["k",NaN,1,1]]}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"points":[["k",1,1,99999999999999999999999]]}',
    ]
    many = {"points": [[f"key{number}", 1.0, 1, time.time_ns() // 1000] for number in range(2_000)]}
    async with rig.bus() as bus:
        await topology.ensure(bus)
        for number, body in enumerate(poison, 1):
            await event(bus, "r1", "metric", body, number)
        await event(bus, "r1", "param", b'{"time":%d,"params":{"x":1e-20000}}' % (time.time_ns() // 1000), 9)
        for place in range(5):
            points = {"points": [[f"{place}{key}", *rest] for key, *rest in many["points"]]}
            await event(bus, "r1", "metric", points, 10 + place)
        await rig.caught_up(bus)
    assert rig.query("SELECT count(*) FROM log WHERE family = 'run'") == [(14,)]
    assert rig.query("SELECT problems, points FROM run") == [(9, 10_001)]
    assert rig.query("SELECT count(*) FROM run_problem") == [(9,)]
    assert rig.query("SELECT count(*) FROM metric_latest WHERE agent = ''") == [(10_001,)]
    assert rig.query("SELECT last_number, received FROM run_writer") == [(14, 14)]


async def test_a_point_that_cannot_be_loses_none_of_the_others_of_its_event(rig: Rig) -> None:
    rig.start()
    now = time.time_ns() // 1000
    steps = [0, 2**63 - 1, 1, 2**70, -(2**70), time.time_ns(), 2**62, -(2**62)]
    points = [*(["loss", 0.5, step, now] for step in steps), ["k" * 300, 1, 1, now], ["loss", "a text", 2, now]]
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await event(bus, "r1", "metric", {"points": points}, 1)
        await rig.caught_up(bus)
        await event(bus, "r1", "metric", {"points": [["loss", 0.25, None, now], ["loss", 0.125, -5, now]]}, 2)
        await rig.caught_up(bus)
    assert rig.query("SELECT points, problems FROM run") == [(7, 1)]
    [(problem,)] = rig.query("SELECT problem FROM run_problem")
    assert problem.startswith("5 of 10 points cannot be and were left out: a step of loss is out of range")
    assert rig.query("SELECT step, value, points FROM metric_latest WHERE agent = ''") == [(2**62 + 1, 0.25, 7)]
    narrow = rig.query("SELECT bucket, points FROM metric_bucket WHERE agent = '' AND width = 64 ORDER BY 1")
    assert [found for found in narrow if found[0] != steps[5] // 64] == [(-(2**56), 1), (-1, 1), (0, 2), (2**56, 2)]


async def test_a_bridge_that_takes_over_goes_on_where_the_other_was(rig: Rig) -> None:
    first, _ = rig.start(), rig.start()
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await event(bus, "r1", "started", {"name": "n"}, 1)
        await event(bus, "r1", "step.started", {"step": "ab", "name": "train"}, 2)
        await event(bus, "r1", "metric", {"points": [["loss", 0.5, None, time.time_ns() // 1000]]}, 3)
        await rig.caught_up(bus)
        first.kill()
        await event(bus, "r1", "metric", {"points": [["loss", 0.25, None, time.time_ns() // 1000]]}, 5)
        body = b'{"points":[["loss",0.125,null,1]]}'
        for _ in range(2):  # a foreign client's ids prove nothing, so each of them is an event
            await append_raw(bus, "tc.p.run.r1.b.metric", body, fresh_headers())
        await event(bus, "r1", "step.ended", {"step": "ab", "name": "train", "duration": 5}, 6)
        await rig.caught_up(bus)
    assert rig.query("SELECT step, value, points FROM metric_latest WHERE agent = 'a'") == [(1, 0.25, 2)]
    assert rig.query("SELECT step, value, points FROM metric_latest WHERE agent = ''") == [(1, 0.125, 4)]
    assert rig.query("SELECT status FROM step") == [("ok",)]
    assert rig.query("SELECT first_number, last_number FROM run_hole") == [(4, 4)]


async def test_old_runs_go_with_their_partitions(rig: Rig) -> None:
    bridge = rig.start()
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await event(bus, "r1", "started", {"name": "n", "params": {"a": 1}}, 1)
        await event(bus, "r1", "ended", {"status": "finished"}, 2)
        await rig.caught_up(bus)
    bridge.kill()
    async with await connect(rig.dsn, "test") as connection:
        await Partitions(connection).ensure([week_ago := int(time.time() - 4 * 86_400 * 7 - 345_600) // 604_800])
        assert week_ago
        rig.query("UPDATE run SET heard = now() - interval '30 days'")
        assert await RunRetention(connection, 86_400 * 10).apply() == len(PARTITIONED)
    assert rig.query("SELECT FROM run") == []
    assert rig.query("SELECT FROM run_param") == []
    assert len(rig.query("SELECT FROM log WHERE project = 'p'")) == 2


async def test_a_rebuild_is_done_by_the_active_bridge_when_it_is_wanted(rig: Rig) -> None:
    bridge = rig.start()
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await event(bus, "r1", "started", {"name": "n"}, 1)
        await rig.caught_up(bus)
        rig.query("UPDATE run SET name = 'spoiled'")
        rig.query("UPDATE projection SET version = 0, epoch = NULL, seq = NULL")
        await rig.wait_for_rows(1, "SELECT FROM projection WHERE version > 0")
        assert rig.query("SELECT name FROM run") == [("n",)]
        await event(bus, "r1", "ended", {"status": "failed"}, 2)
        await rig.caught_up(bus)
    assert rig.query("SELECT status FROM run") == [("failed",)]
    await asyncio.to_thread(bridge.stop)
