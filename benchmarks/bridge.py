"""The mirror: events a second from publish to commit, against the bare pull of the same messages, and the idle latency.

`main` takes ``--backlog`` (also drain 1,000,000 events and watch the memory of the bridge) and ``--events N``. All
servers share the machine, PostgreSQL with fsync on. Target: 40,000 events/s, 5 ms idle, flat memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil
import psycopg
import uvloop

from benchmarks.report import milliseconds
from tracecraft_bridge.reader import LogReader
from tracecraft_core import topology
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.bridge import BridgeServer
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_R = TypeVar("_R")

EVENTS = 200_000
BACKLOG = 1_000_000
ROUNDS = 3
SINGLE = 300
LOOK_S = 0.0005
"""Pause between two looks at the checkpoint; looking without a pause would take a core from the bridge."""
WINDOW = 20_000
"""Publishes that may wait for their acknowledgement."""


def main(argv: list[str]) -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks bridge")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--backlog", action="store_true")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tc-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with (
            NatsServer(folder / "nats") as nats,
            PostgresServer(folder / "postgres", password=secrets.token_hex(8)) as postgres,
            psycopg.connect(postgres.dsn, autocommit=True) as database,
        ):
            bench = Bench(folder, nats, postgres, database)
            print(f"psycopg {psycopg.__version__}, PostgreSQL {database.info.server_version // 10000}, fsync on")
            for _ in range(ROUNDS):
                bench.throughput(chosen.events)
            bench.latency()
            if chosen.backlog:
                bench.backlog(BACKLOG)


class Bench:
    """The servers of one run."""

    def __init__(
        self, folder: Path, nats: NatsServer, postgres: PostgresServer, database: psycopg.Connection[tuple[int]]
    ) -> None:
        self.nats, self.database = nats, database
        settings = {"TRACECRAFT_SERVER": nats.url, "TRACECRAFT_POSTGRES": postgres.dsn}
        self.bridge = BridgeServer(folder / "bridge", settings=settings)
        self._on_bus(topology.ensure)

    def throughput(self, events: int) -> None:
        """Live: the bridge runs while events are published. Drain: they are there already. Pull: nobody writes."""
        with self.bridge:
            began = time.perf_counter()
            publish(self.nats.port, events)
            published = time.perf_counter() - began
            self.wait_for(self.end())
            live = events / (time.perf_counter() - began)
        first = self.committed()
        publish(self.nats.port, events)
        pulled = self.pull(first, events)
        with self.bridge:
            start, began = self.committed(), time.perf_counter()
            self.wait_for(end := self.end())
            drained = (end - start) / (time.perf_counter() - began)
        print(
            f"live {live:9,.0f} events/s publish to commit (published at {events / published:,.0f}/s)   "
            f"drain {drained:9,.0f}/s   bare pull {pulled:9,.0f}/s   drain/pull {drained / pulled:.2f}",
            flush=True,
        )

    def latency(self) -> None:
        """One event at a time on an idle bridge, from publish to seen committed."""
        with self.bridge:
            print(f"idle publish to commit: {milliseconds(self._on_bus(self._singles))}", flush=True)

    async def _singles(self, bus: Bus) -> list[float]:
        took = []
        for number in range(SINGLE + 20):
            await asyncio.sleep(0.01)
            began = time.perf_counter()
            ack = await bus.publish("tc.bench.run.r1.a1.metric", b'{"name":"loss","value":0.5,"step":%d}' % number)
            self.wait_for(ack.seq, pause=LOOK_S)
            took.append(time.perf_counter() - began)
        return took[20:]

    def backlog(self, events: int) -> None:
        """Memory of the bridge while it drains a long backlog."""
        publish(self.nats.port, events)
        start, sizes = self.committed(), list[float]()
        with self.bridge:
            process, began = psutil.Process(self.bridge.pid), time.perf_counter()
            while (done := self.committed() - start) < events:
                sizes.append(process.memory_info().rss / 2**20)
                time.sleep(0.1)
            seconds = time.perf_counter() - began
        quarter = [max(part) for part in _quarters(sizes)]
        shown = ", ".join(f"{size:.0f}" for size in quarter)
        print(f"backlog of {done:,}: {done / seconds:,.0f}/s, most RSS in each quarter of it: {shown} MiB", flush=True)

    def committed(self) -> int:
        """The checkpoint."""
        try:
            row = self.database.execute("SELECT seq FROM checkpoint WHERE stream = 'TC_LOG'").fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
        return row[0] if row else 0

    def end(self) -> int:
        """The newest sequence of the log, which has the beats of the bridge too."""

        async def newest(bus: Bus) -> int:
            stored = await bus.leader_get("TC_LOG", ">")
            return 0 if stored is None else stored.seq

        return self._on_bus(newest)

    def wait_for(self, seq: int, pause: float = 0.005) -> None:
        """Return when the checkpoint has reached a sequence."""
        while self.committed() < seq:
            time.sleep(pause)

    def pull(self, after: int, events: int) -> float:
        """Events a second of the bridge's own reader when nothing is written."""

        async def pull(bus: Bus) -> float:
            began, taken = time.perf_counter(), 0
            async with LogReader(bus, after) as reader:
                while taken < events:
                    messages = await reader.take(4000, 1)
                    taken += len(messages)
                    if messages:
                        await reader.acknowledge(messages[-1])
            return events / (time.perf_counter() - began)

        return self._on_bus(pull)

    def _on_bus(self, use: Callable[[Bus], Coroutine[object, object, _R]]) -> _R:
        async def connected() -> _R:
            async with Bus(ServerOptions(servers=(self.nats.url,))) as bus:
                return await use(bus)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(connected())


def _quarters(values: list[float]) -> list[list[float]]:
    size = max(1, len(values) // 4)
    return [values[begin : begin + size] for begin in range(0, size * 4, size) if values[begin : begin + size]]


def publish(port: int, events: int) -> None:
    """Publish so many metric events of about 200 bytes, each acknowledged, as fast as the server takes them."""
    publish_frames(port, _frames(events), events)


def publish_frames(port: int, slices: Iterator[list[bytes]], events: int) -> None:
    """Publish frames, each acknowledged, as fast as the server takes them."""
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.recv(65536)
        options = json.dumps({"verbose": False, "headers": True, "lang": "bench", "version": "1"}).encode()
        wire.sendall(b"CONNECT " + options + b"\r\nSUB _INBOX.bench 1\r\n")
        acked, enough = 0, threading.Condition()

        def count() -> None:
            nonlocal acked
            left = b""
            while acked < events:
                data = left + wire.recv(1 << 18)
                whole = data.rfind(b"\n") + 1
                left = data[whole:]
                assert b'"error"' not in data, data
                with enough:
                    acked += data.count(b'"stream"', 0, whole)
                    enough.notify()

        counter = threading.Thread(target=count, daemon=True)
        counter.start()
        sent = 0
        for frames in slices:
            with enough:
                enough.wait_for(lambda: sent - acked < WINDOW, timeout=60)  # noqa: B023
            wire.sendall(b"".join(frames))
            sent += len(frames)
        counter.join(120)


def _frames(events: int, size: int = 500) -> Iterator[list[bytes]]:
    token = secrets.token_hex(4).encode()
    for begin in range(0, events, size):
        yield [_frame(token, number) for number in range(begin, min(begin + size, events))]


def _frame(token: bytes, number: int) -> bytes:
    subject = b"tc.bench.run.r%d.a%d.metric" % (number % 20, number % 7)
    headers = b"NATS/1.0\r\nNats-Msg-Id: %s-%d\r\n\r\n" % (token, number)
    body = b'{"v":1,"name":"train/loss","value":%d.25,"step":%d,"writer":"w-%s","count":%d,"unit":"nats","note":"%s"}'
    body %= (number % 100, number, token, number, b"x" * 90)
    return b"HPUB %s _INBOX.bench %d %d\r\n%s%s\r\n" % (
        subject,
        len(headers),
        len(headers) + len(body),
        headers,
        body,
    )
