"""What stands in the table ``log``, and that it is all of it."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.bridge import append_raw, fresh_headers, healthz, until_health
from tracecraft_bridge.continuity import Position
from tracecraft_bridge.copy_format import LogMessage
from tracecraft_bridge.database import connect
from tracecraft_bridge.metrics import Metrics
from tracecraft_bridge.writer import Writer
from tracecraft_core import subjects, topology
from tracecraft_core.errors import NotFound

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_core.bus import Bus

DATABASE_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "database.md"


async def test_every_family_lands_in_its_columns(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
        await bus.publish(subjects.message("p", "bob", "alice"), b'{"text":"hi"}', headers=trace, msg_id="m1")
        await bus.publish(subjects.broadcast("p", "alice"), b'{"text":"all"}')
        await bus.publish(subjects.receipt("p", "alice", "bob"), b'{"id":1,"state":"acked"}')
        await bus.publish(subjects.agent_event("p", "alice", "joined"), b"{}")
        await bus.publish("tc.p.run.r1.alice.step.started", b"{}")
        await bus.publish("tc.p.unheard.of", b"[]")
        await bus.publish("tc.p.msg.too.many.tokens", b"1")
        await rig.caught_up(bus)
    found = rig.query("SELECT project, family, agent, recipient, run, event, key FROM log ORDER BY seq")
    assert found == [
        ("p", "msg", "alice", "bob", None, None, None),
        ("p", "all", "alice", None, None, None, None),
        ("p", "receipt", "bob", "alice", None, None, None),
        ("p", "agent", "alice", None, None, "joined", None),
        ("p", "run", "alice", None, "r1", "step.started", None),
        ("p", "other", None, None, None, None, None),
        ("p", "other", None, None, None, None, None),
    ]
    assert rig.query("SELECT body, headers FROM log WHERE seq = 1") == [({"text": "hi"}, trace | {"Nats-Msg-Id": "m1"})]


async def test_changes_of_memory_and_tasks_carry_revision_and_operation(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        first = await bus.cas("KV_tc_memory", "$KV.tc_memory.p.plan.a", b'{"x":1}', 0)
        await bus.cas("KV_tc_memory", "$KV.tc_memory.p.plan.a", b"", first, headers={"KV-Operation": "DEL"})
        await bus.cas("KV_tc_tasks", "$KV.tc_tasks.p.S1.parse", b'{"state":"open"}', 0)
        await rig.wait_for_rows(3, "SELECT FROM log")
        await rig.assert_mirrored(bus)
    found = rig.query("SELECT family, key, body, operation, origin_stream, origin_seq FROM log ORDER BY family, seq")
    assert found == [
        ("memory", "plan.a", {"x": 1}, "PUT", "KV_tc_memory", 1),
        ("memory", "plan.a", None, "DEL", "KV_tc_memory", 2),
        ("task", "S1.parse", {"state": "open"}, "PUT", "KV_tc_tasks", 1),
    ]


POISON = {
    "broken JSON": (b'{"a":', "not JSON"),
    "plain text": (b"hello", "not JSON"),
    "NUL in a string": (rb'{"a":"x\u0000y"}', "NUL"),
    "a NUL byte": (b"\x00", "not JSON"),
    "invalid UTF-8": (b'{"a":"\xff\xfe"}', "not UTF-8"),
    "lone surrogate": (rb'{"a":"\ud800"}', "not JSON"),
    "nested as deep as a message allows": (b"[" * 500_000 + b"]" * 500_000, "nested too deep"),
    "as large as a message may be": (b"\x01" * 1_000_000, "not JSON"),
    "a huge number": (b'{"a":1e999999999}', "a number out of range"),
    "a huge integer": (b"9" * 200_000, "a number out of range"),
    "a number only PostgreSQL refuses": (b'{"a":1e-20000}', "value overflows numeric format"),
    "another one": (b'{"a":0.' + b"1" * 20_000 + b"}", "value overflows numeric format"),
}


async def test_poison_is_kept_raw_with_the_reason_and_blocks_nothing(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await rig.flood(bus, 200)
        places = {}
        for name, (body, _) in POISON.items():
            places[name] = await append_raw(bus, "tc.p.all.mallory", body, fresh_headers())
            await bus.publish("tc.p.all.alice", b'{"text":"between"}')
        await rig.flood(bus, 200)
        rig.start()
        assert await rig.caught_up(bus) == 400 + 2 * len(POISON)
    for name, (body, reason) in POISON.items():
        [(stored_body, raw, problem)] = rig.query("SELECT body, raw, problem FROM log WHERE seq = %s", places[name])
        assert (stored_body, raw) == (None, body), name
        assert problem.startswith(reason), (name, problem)
    assert rig.query("SELECT count(*) FROM log WHERE problem IS NULL") == [(400 + len(POISON),)]


async def test_harmless_oddities_are_no_poison(rig: Rig) -> None:
    odd = [b' {"a" : "\\\\u0000"} \n', b'{"":1,"":2}', b"null", b"-0.0", b'"\\ud83d\\ude00 \\n"', '"ä\u2028"'.encode()]
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        for body in odd:
            await append_raw(bus, "tc.p.all.a", body, fresh_headers())
        await rig.caught_up(bus)
    assert [row[0] for row in rig.query("SELECT body::text FROM log WHERE problem IS NULL ORDER BY seq")] == [
        '{"a": "\\\\u0000"}',
        '{"": 2}',
        "null",
        "0.0",
        '"😀 \\n"',
        '"ä\u2028"',
    ]


async def test_headers_that_lie_are_kept_as_they_are(rig: Rig) -> None:
    headers = {
        "KV-Operation": "EXPLODE\t'); DROP TABLE log; --",
        "Nats-Marker-Reason": "MaxAge",
        "Status": "503",
        "X-Nul": "a\x00b",
        "X-Backslash": "\\N",
    }
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        await append_raw(bus, "tc.p.memory.k", b"1", headers)
        await append_raw(bus, "tc.p.memory.\\N", b"1", fresh_headers())
        await append_raw(bus, "tc.\xe4.msg.b.a", b"{}", fresh_headers())
        lines = b"NATS/1.0 503 no\r\nno colon\r\nA: 1\r\nA: 2\r\nB:\xff\r\n\r\n"
        await _publish_bytes(bus, b"tc.\xff.all.a", lines, b"{}")
        await rig.caught_up(bus)
    found = rig.query("SELECT subject, operation, origin_seq, headers FROM log ORDER BY seq")
    assert found[0][1:] == (headers["KV-Operation"], None, headers | {"X-Nul": "a\\x00b"})
    assert found[1][0] == "tc.p.memory.\\N"
    assert found[2][0] == "tc.ä.msg.b.a"
    assert (found[3][0], found[3][3]) == ("tc.\\xff.all.a", {"A": ["1", "2"], "B": "\\xff"})


async def _publish_bytes(bus: Bus, subject: bytes, headers: bytes, body: bytes) -> None:
    """A frame that no decent client sends."""
    client = bus.transport.client
    frame = b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, len(headers), len(headers) + len(body), headers, body)
    await client._send_command(frame)
    await client._flush_pending()


async def test_a_stream_that_is_deleted_and_made_again_is_another_epoch_and_both_are_kept(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        await rig.flood(bus, 100)
        await rig.caught_up(bus)
        await bus.api("STREAM.DELETE.TC_LOG")
        await topology.ensure(bus)
        await rig.flood(bus, 40, "q")
        await rig.wait_for_rows(2, "SELECT FROM epoch")
        assert await rig.assert_mirrored(bus) == 40
    assert rig.query("SELECT id, first_seq, previous, reason FROM epoch ORDER BY id") == [
        (1, 1, None, "first"),
        (2, 1, 1, "recreated"),
    ]
    assert rig.query("SELECT epoch, count(*) FROM log GROUP BY epoch ORDER BY epoch") == [(1, 100), (2, 40)]


async def test_what_was_purged_or_deleted_before_it_was_mirrored_is_recorded_as_gaps(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await rig.flood(bus, 100)
        await bus.api("STREAM.PURGE.TC_LOG", {"seq": 11})
        for seq in (50, 51, 60):
            await bus.api("STREAM.MSG.DELETE.TC_LOG", {"seq": seq})
        rig.start()
        assert await rig.assert_mirrored(bus) == 87
    assert rig.query("SELECT stream, first_seq, last_seq, reason FROM gap ORDER BY first_seq") == [
        ("TC_LOG", 1, 10, "no longer in the stream when the bridge came to it"),
        ("TC_LOG", 50, 51, "deleted from the stream before it was mirrored"),
        ("TC_LOG", 60, 60, "deleted from the stream before it was mirrored"),
    ]
    assert rig.query(_missing()) == [("TC_LOG", 1, 13)]


async def test_a_bucket_revision_that_never_came_through_the_log_is_a_gap(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        log = (await bus.api("STREAM.INFO.TC_LOG"))["config"]
        revision = await bus.cas("KV_tc_memory", "$KV.tc_memory.p.k", b"1", 0)
        await rig.wait_for_rows(1, "SELECT FROM log WHERE family = 'memory'")
        await bus.api("STREAM.UPDATE.TC_LOG", {**log, "sources": []})
        for number in range(2, 6):
            revision = await bus.cas("KV_tc_memory", "$KV.tc_memory.p.k", b"%d" % number, revision)
        await bus.api("STREAM.PURGE.KV_tc_memory", {"filter": "$KV.tc_memory.p.k", "keep": 2})
        await bus.api("STREAM.UPDATE.TC_LOG", log)
        await rig.wait_for_rows(3, "SELECT FROM log WHERE family = 'memory'")
    assert rig.query("SELECT origin_seq FROM log WHERE family = 'memory' ORDER BY seq") == [(1,), (4,), (5,)]
    assert rig.query("SELECT stream, first_seq, last_seq FROM gap") == [("KV_tc_memory", 2, 3)]
    assert rig.query(_missing()) == [("KV_tc_memory", 1, 2)]


async def test_a_database_restored_from_a_backup_is_filled_up_again(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await rig.flood(bus, 500)
        await rig.caught_up(bus)
        bridge.stop()
        rig.query("DELETE FROM log WHERE seq > 200")
        rig.query("UPDATE checkpoint SET seq = 200")
        bridge.start()
        assert await rig.assert_mirrored(bus) == 500
        bridge.stop()
        rig.query("UPDATE checkpoint SET seq = 100")  # rows ahead of the checkpoint: no backup looks like this
        bridge.start()
        assert await rig.assert_mirrored(bus) == 500


async def test_a_consumer_that_is_deleted_or_read_by_somebody_else_does_no_harm(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        await rig.flood(bus, 100)
        with contextlib.suppress(NotFound):  # asked twice on a busy machine
            await bus.api("CONSUMER.DELETE.TC_LOG.bridge")
        await rig.flood(bus, 100)
        assert await rig.assert_mirrored(bus) == 200
        thief = bus.transport.new_inbox()
        await bus.transport.subscribe(thief, _ignore)
        await bus.transport.send("$JS.API.CONSUMER.MSG.NEXT.TC_LOG.bridge", b'{"batch":50}', reply=thief)
        await rig.flood(bus, 200)
        assert await rig.assert_mirrored(bus) == 400
    assert rig.query("SELECT * FROM gap") == []


async def _ignore(_: object) -> None:
    """Taken and never acknowledged."""


async def test_times_that_are_years_off_go_to_the_default_partition(rig: Rig) -> None:
    bridge = rig.start()
    await rig.wait_for_rows(1, "SELECT id FROM epoch")  # it is healthy as soon as it stands by
    bridge.stop()
    now = time.time_ns()
    times = [now, 0, -(2**60), 2**63 - 1, now + 10 * 365 * 86400 * 10**9]
    messages = [LogMessage(b"tc.p.all.a", seq, moment, b"", b"{}", b"", 0) for seq, moment in enumerate(times, 1)]
    async with await connect(rig.dsn, "test") as connection:
        [(epoch,)] = rig.query("SELECT id FROM epoch")
        writer = Writer(connection, epoch, Metrics())
        position = Position(epoch, 0)
        for message in messages:
            position = await writer.write(position, [message])
    places = [name for (name,) in rig.query("SELECT tableoid::regclass::text FROM log ORDER BY seq")]
    assert re.fullmatch(r"log_\d{8}", places[0])
    assert places[1:] == ["log_default"] * 4


async def test_weeks_are_made_ahead(rig: Rig) -> None:
    rig.start()
    await rig.wait_for_rows(4, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'log'::regclass")
    monday = datetime.datetime.now(datetime.UTC).date()
    monday -= datetime.timedelta(days=monday.weekday())
    for week in range(3):
        name = f"log_{monday + datetime.timedelta(days=7 * week):%Y%m%d}"
        assert rig.query("SELECT to_regclass(%s) IS NOT NULL", name) == [(True,)]


async def test_a_second_bridge_stands_by_and_takes_over(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        first = rig.start()
        await until_health(first, 200, role="active")
        second = rig.start()
        await until_health(second, 200, role="standby")
        await rig.flood(bus, 100)
        await rig.caught_up(bus)
        assert healthz(second)[1]["role"] == "standby"
        first.kill()
        await rig.flood(bus, 100)
        await until_health(second, 200, role="active")
        assert await rig.assert_mirrored(bus) == 200


async def test_a_bridge_stops_cleanly_when_asked(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await rig.flood(bus, 2000)
        began = time.monotonic()
        bridge.stop()
        assert time.monotonic() - began < 3
        assert bridge.ending == "exit code 0"
        assert "Traceback" not in bridge.log.read_text()
        held = rig.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert held == [(0,)]


async def test_a_checkpoint_moved_by_somebody_else_fences_the_writer(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        await rig.flood(bus, 10)
        await rig.caught_up(bus)
        rig.query("UPDATE checkpoint SET seq = 5")
        rig.query("DELETE FROM log WHERE seq > 5")
        await rig.flood(bus, 10)
        assert await rig.assert_mirrored(bus) == 20
    assert "the checkpoint is no longer at" in rig.bridges[0].log.read_text()


async def test_a_database_of_a_newer_bridge_is_left_alone(rig: Rig) -> None:
    bridge = rig.start()
    bridge.stop()
    rig.query("INSERT INTO schema_migration (version, name) VALUES (9999, 'future')")
    bridge.start_patience = 2
    with pytest.raises(Exception, match="schema version 9999"):
        bridge.start()


def _missing() -> str:
    """The query of the documentation that proves that nothing is missing."""
    return next(query for query in _examples() if "AS missing" in query)


def _examples() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", DATABASE_PAGE.read_text(), re.DOTALL)


async def test_the_example_queries_of_the_documentation_run(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        await bus.publish(subjects.message("my-research", "writer", "researcher"), b'{"text":"done"}')
        await bus.cas("KV_tc_memory", "$KV.tc_memory.my-research.findings", b'{"papers":47}', 0)
        await bus.cas("KV_tc_tasks", "$KV.tc_tasks.my-research.S1.parse", b'{"state":"open"}', 0)
        await rig.wait_for_rows(3, "SELECT FROM log")
    assert len(_examples()) >= 5
    with psycopg.connect(rig.dsn) as connection:
        answers = [connection.execute(query).fetchall() for query in _examples()]
        assert connection.execute(_missing()).fetchall() == []
    assert json.dumps(answers, default=str).count("papers") >= 1
