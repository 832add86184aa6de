"""The receiver of OpenTelemetry when things die: the exporter is told to come again, and nothing counts twice."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from tests.support.bridge import until_health
from tests.support.otlp import TOKEN, Where, agent, chat, logs, record, send, trace_id, traces

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_stack.bridge import BridgeServer


async def start(rig: Rig, **settings: str) -> BridgeServer:
    """A bridge with a receiver that is ready to take what comes."""
    bridge = rig.start(otlp_token=TOKEN, otlp_project="p", **settings)
    await until_health(bridge, 200, role="active")
    return bridge


@pytest.fixture
async def receiving(rig: Rig) -> BridgeServer:
    """A bridge of this test's own, that may be hurt."""
    return await start(rig)


def door(bridge: BridgeServer) -> Where:
    """Its receiver."""
    return Where(bridge.otlp_url, TOKEN)


async def test_what_a_killed_bridge_had_half_written_is_whole_when_the_exporter_repeats_it(
    rig: Rig, receiving: BridgeServer
) -> None:
    trace, count = trace_id(), 6_000
    request = traces([*(chat(number, trace, 1) for number in range(2, count + 2)), agent(1, trace, "boss")], "p")
    async with rig.bus() as bus:
        sending = asyncio.create_task(asyncio.to_thread(send, door(receiving), request))
        while await stored(bus, trace) < count // 10:
            assert not sending.done()
        os.kill(receiving.pid, signal.SIGKILL)
        with pytest.raises((http.client.HTTPException, OSError)):
            await sending
        half = await stored(bus, trace)
        assert half < 2 * count, "it was killed too late to be in the middle"
        again = await start(rig)
        reply = await asyncio.to_thread(send, door(again), request)
        assert (reply.status, reply.body) == (200, b"")
        await rig.caught_up(bus)
    writers = rig.query("SELECT last_number, final, received FROM run_writer WHERE run = %s", trace)
    assert len(writers) == 1
    assert writers[0][0] == writers[0][1] == writers[0][2]
    assert rig.query("SELECT status, steps, input_tokens, output_tokens, problems FROM run WHERE run = %s", trace) == [
        ("finished", count + 1, 60 * count, 15 * count, 0)
    ]


async def stored(bus: Any, run: str) -> int:
    """How many events of a run the log has."""
    found = await bus.list_subjects("TC_LOG", f"tc.p.run.{run}.>")
    return sum(found.values())


async def test_without_the_log_the_exporter_is_told_to_come_again(rig: Rig, receiving: BridgeServer) -> None:
    trace = trace_id()
    request = traces([chat(1, trace)], "p")
    rig.nats.kill()
    reply = await asyncio.to_thread(send, door(receiving), request)
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) > 0
    assert Status.FromString(reply.body).code == 14
    rig.nats.start()
    await until_health(receiving, 200, role="active")
    reply = await asyncio.to_thread(send, door(receiving), request)
    assert reply.status == 200
    async with rig.bus() as bus:
        await rig.caught_up(bus)
    assert rig.query("SELECT steps, input_tokens FROM run WHERE run = %s", trace) == [(1, 60)]


async def test_a_bridge_that_stands_by_receives_nothing(rig: Rig, receiving: BridgeServer) -> None:
    second = rig.start(otlp_token=TOKEN)
    reply = await asyncio.to_thread(send, door(second), traces([chat(1, trace_id())], "p"))
    assert (reply.status, Status.FromString(reply.body).code) == (503, 14)
    assert b"standby" in reply.body


async def test_a_run_is_over_when_its_telemetry_falls_silent(rig: Rig) -> None:
    bridge = await start(rig, otlp_silence="1s")
    alone, joined = trace_id(), trace_id()
    await asyncio.to_thread(send, door(bridge), traces([chat(2, alone, 1)], "p"))
    await asyncio.to_thread(send, door(bridge), traces([chat(2, joined, 1)], "p"))
    async with rig.bus() as bus:
        await bus.publish(f"tc.p.run.{joined}.a.tag", b'{"tags": {"mine": "yes"}, "time": 1}', msg_id="another:1")
    await rig.wait_for_rows(1, "SELECT FROM run WHERE run = %s AND status = 'finished'", alone)
    assert rig.query("SELECT status FROM run WHERE run = %s", joined) == [("running",)], "somebody else writes into it"
    await asyncio.to_thread(send, door(bridge), traces([agent(1, alone, "boss", error="late")], "p"))
    await rig.wait_for_rows(1, "SELECT FROM run WHERE run = %s AND name = 'invoke_agent boss'", alone)


async def test_metrics_of_the_bridge_count_what_was_rejected(rig: Rig, receiving: BridgeServer) -> None:
    from tests.support.bridge import metrics as scraped

    wrong = record("", {"tracecraft.project": "a b"}, body="x")
    reply = await asyncio.to_thread(send, door(receiving), logs([wrong, record("", {}, body="y")], "p"))
    assert ExportLogsServiceResponse.FromString(reply.body).partial_success.rejected_log_records == 1
    text = scraped(receiving)
    assert 'tracecraft_bridge_otlp_items_total{outcome="rejected",signal="logs"} 1.0' in text
    assert 'tracecraft_bridge_otlp_items_total{outcome="accepted",signal="logs"} 1.0' in text
    assert 'tracecraft_bridge_otlp_request_seconds_count{code="200",signal="logs"} 1.0' in text
