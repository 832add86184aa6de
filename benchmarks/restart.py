"""How long nats-server takes to start after kill -9 with many distinct keys in its log: with the bridge's beats, and
without a bridge.

``main`` takes ``--keys N``. The bridge is killed with the server and away while it starts. Beside the seconds stands
how far back in the log the server has to look for the newest task change, of which there are none but the beats.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
from pathlib import Path

from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.bridge import BridgeServer
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.postgres import PostgresServer

KEYS = 16_000
KILLS = 4
AT_ONCE = 64
PATIENCE_S = 120.0


def main(argv: list[str]) -> None:
    """Kill the server again and again as the keys become more, and print how long it was away."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks restart")
    parser.add_argument("--keys", type=int, default=KEYS)
    keys = parser.parse_args(argv).keys
    with tempfile.TemporaryDirectory(prefix="tc-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with PostgresServer(folder / "postgres", password=secrets.token_hex(8)) as postgres:
            for label, dsn in (("without beats", None), ("with beats", postgres.dsn)):
                with NatsServer(folder / label.partition(" ")[0]) as nats:
                    nats.start_patience = PATIENCE_S
                    asyncio.run(_measure(nats, _bridge(folder, nats, dsn), label, keys))


def _bridge(folder: Path, nats: NatsServer, dsn: str | None) -> BridgeServer | None:
    if dsn is None:
        return None
    return BridgeServer(folder / "bridge", settings={"TRACECRAFT_SERVER": nats.url, "TRACECRAFT_POSTGRES": dsn})


async def _measure(nats: NatsServer, bridge: BridgeServer | None, label: str, keys: int) -> None:
    """Every restart is under load until the kill; each key comes with a run event."""
    async with Bus(ServerOptions(servers=(nats.url,)), patience=PATIENCE_S) as bus:
        await topology.ensure(bus)
        for kill in range(KILLS):
            if bridge is not None:
                await asyncio.to_thread(bridge.start)
            await _write(bus, range(keys * kill // KILLS, keys * (kill + 1) // KILLS))
            nats.kill()
            if bridge is not None:
                bridge.kill()
            away = await asyncio.to_thread(nats.start)
            written, back = keys * (kill + 1) // KILLS, await _back(bus)
            print(
                f"{label:<14} {written:7,} keys: ready after {away:5.2f} s, looked {back:,} messages back", flush=True
            )


async def _back(bus: Bus) -> int:
    newest, task = await bus.leader_get(subjects.LOG, ">"), await bus.leader_get(subjects.LOG, "tc.*.task.>")
    return (newest.seq if newest else 0) - (task.seq if task else 0)


async def _write(bus: Bus, numbers: range) -> None:
    waiting = iter(numbers)

    async def writer() -> None:
        for number in waiting:
            await bus.publish(f"$KV.tc_memory.bench.k{number}", b"%d" % number)
            await bus.publish(f"tc.bench.run.r1.a{number % 20}.metric", b'{"step":%d}' % number)

    await asyncio.gather(*(writer() for _ in range(AT_ONCE)))
