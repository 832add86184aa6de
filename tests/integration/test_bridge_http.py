"""``/healthz`` and ``/metrics`` of a bridge, and what the program says about its settings."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.bridge import append_raw, fresh_headers, healthz, metrics, until_health
from tracecraft_bridge.health import Health
from tracecraft_bridge.listener import Listener
from tracecraft_bridge.metrics import Metrics
from tracecraft_core import topology

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_stack.bridge import BridgeServer


def _samples(bridge: BridgeServer) -> dict[str, float]:
    """Every sample by its name and labels, as a parser of the format reads it."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(metrics(bridge))
        for sample in family.samples
    }


async def test_metrics_count_what_was_mirrored(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await rig.flood(bus, 20)
        await append_raw(bus, "tc.p.all.a", b"no json", fresh_headers())
        await bus.api("STREAM.MSG.DELETE.TC_LOG", {"seq": 5})
        bridge = rig.start()
        await rig.caught_up(bus)
        await until_health(bridge, 200, lag=0)
    found = _samples(bridge)
    assert found["tracecraft_bridge_events_total family=run"] == 19
    assert found["tracecraft_bridge_events_total family=all"] == 1
    assert found["tracecraft_bridge_malformed_bodies_total"] == 1
    assert found["tracecraft_bridge_gaps_total"] == found["tracecraft_bridge_gap_messages_total"] == 1
    assert found["tracecraft_bridge_lag_messages"] == found["tracecraft_bridge_lag_seconds"] == 0
    assert found["tracecraft_bridge_last_sequence"] == 21
    assert found["tracecraft_bridge_batch_size_sum"] == 20
    assert found["tracecraft_bridge_write_seconds_count"] == found["tracecraft_bridge_batch_size_count"] >= 1
    assert found["tracecraft_bridge_active"] == 1
    assert any(name.startswith("tracecraft_build_info version=") for name in found)


async def test_no_label_has_a_value_that_a_user_chose(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await bus.publish("tc.projectx.run.runx.agentx.eventx", b"{}")
        await bus.publish("tc.projectx.familyx.y", b"{}")
        await rig.caught_up(bus)
    text = metrics(bridge)
    assert not [word for word in ("projectx", "runx", "agentx", "eventx", "familyx") if word in text]


async def test_every_metric_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
    collected = list(Metrics().registry.collect())
    assert len(collected) >= 15
    for family in collected:
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        assert f"`{name}`" in page, name


async def test_healthz_says_why_not(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        body = await until_health(bridge, 200, role="active", status="ok")
        assert body["epoch"] == 1
        assert (body["lag"], body["reason"]) == (0, None)
        await asyncio.to_thread(rig.postgres.kill)
        body = await until_health(bridge, 503)
        assert "PostgreSQL" in body["reason"]
        await asyncio.to_thread(rig.postgres.start)
        await until_health(bridge, 200)
        await asyncio.to_thread(rig.nats.kill)
        body = await until_health(bridge, 503, nats=False)
        assert body["reason"] == "not connected to NATS"
        await asyncio.to_thread(rig.nats.start)
        await until_health(bridge, 200)


async def test_a_bridge_that_starts_before_its_servers_waits_for_them(rig: Rig) -> None:
    rig.nats.kill()
    bridge = rig.bridge()
    starting = asyncio.create_task(asyncio.to_thread(bridge.start))
    body = await _first_health(bridge)
    assert body["status"] == "starting"
    await asyncio.to_thread(rig.nats.start)
    await starting
    assert healthz(bridge)[0] == 200


async def _first_health(bridge: BridgeServer) -> dict[str, object]:
    for _ in range(200):
        try:
            return (await asyncio.to_thread(healthz, bridge))[1]
        except urllib.error.URLError:
            await asyncio.sleep(0.05)
    raise AssertionError


def test_health_and_metrics_need_no_event_loop() -> None:
    """So they answer while it is busy: here there is none at all."""
    listener = Listener(("127.0.0.1", 0), Health(), Metrics())
    listener.start()
    host, port = listener.address
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        assert b"tracecraft_bridge_active 0.0" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=5)
    refused.value.close()
    listener.stop()


def test_other_paths_are_not_found(rig: Rig) -> None:
    bridge = rig.start()
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{bridge.url}/secrets", timeout=5)
    refused.value.close()


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracecraft_bridge", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_program_explains_itself() -> None:
    helped, versioned = _run("--help"), _run("--version")
    assert helped.returncode == versioned.returncode == 0
    assert "TRACECRAFT_POSTGRES" in helped.stdout
    assert versioned.stdout.startswith("tracecraft-bridge ")
    assert _run("--nonsense").returncode == 2


def test_a_wrong_setting_ends_the_program_with_an_example() -> None:
    done = _run(TRACECRAFT_POSTGRES="postgresql://x", TRACECRAFT_RETENTION="soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert "TRACECRAFT_RETENTION is 'soon'" in done.stderr
    assert "example 7d" in done.stderr


def test_a_taken_port_is_said_so(rig: Rig) -> None:
    bridge = rig.start()
    done = _run(TRACECRAFT_POSTGRES=rig.dsn, TRACECRAFT_BRIDGE_LISTEN=f"127.0.0.1:{bridge.port}")
    assert done.returncode == 1
    assert "TRACECRAFT_BRIDGE_LISTEN" in done.stderr
    assert "Traceback" not in done.stderr
