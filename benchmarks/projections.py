"""The projections: one bridge end to end, publish to commit, with everything on, on a realistic mix of events.

Half of the events are metrics, three in ten begin and end steps, one in ten is usage, one in ten mail or memory.
Against them, in the same run: the bare pull of the same messages, and a raw COPY of their log rows into PostgreSQL.
All servers share the machine, PostgreSQL with fsync on. Target: 40,000 events/s.
"""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from benchmarks.bridge import Bench, publish_frames
from tracecraft_bridge.copy_format import COPY, LogMessage, RowFormat
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 400_000
ROUNDS = 3
RUNS = 20
SLICE = 500


def main(argv: list[str]) -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks projections")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
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
            for _ in range(chosen.rounds):
                measure(bench, chosen.events)


def measure(bench: Bench, events: int) -> None:
    """Live: the bridge runs while events are published. Drain: they are there already. Pull: nobody writes."""
    mix = Mix()
    with bench.bridge:
        began = time.perf_counter()
        publish_frames(bench.nats.port, mix.frames(events), events)
        published = time.perf_counter() - began
        bench.wait_for(bench.end())
        live = events / (time.perf_counter() - began)
    first = bench.committed()
    publish_frames(bench.nats.port, mix.frames(events), events)
    pulled = bench.pull(first, events)
    copied = copy(bench.database, mix, 100_000)
    with bench.bridge:
        start, began = bench.committed(), time.perf_counter()
        bench.wait_for(end := bench.end())
        drained = (end - start) / (time.perf_counter() - began)
    row = bench.database.execute("SELECT sum(points), sum(steps), count(*), sum(problems) FROM run").fetchone()
    print(
        f"live {live:9,.0f} events/s publish to commit (published at {events / published:,.0f}/s)   "
        f"drain {drained:9,.0f}/s   bare pull {pulled:9,.0f}/s   raw COPY {copied:9,.0f}/s   {row}",
        flush=True,
    )


def copy(database: psycopg.Connection[tuple[int]], mix: Mix, events: int) -> float:
    """Rows a second of nothing but COPY into a table like the log, already formatted."""
    database.execute("CREATE TABLE raw (LIKE log INCLUDING ALL)")
    rows = RowFormat(1)
    lines = [rows.row(message).line for message in mix.messages(events)]
    began = time.perf_counter()
    for begin in range(0, events, 4_000):
        with database.cursor() as cursor, cursor.copy(sql.SQL(COPY.replace("COPY log", "COPY raw"))) as writing:
            writing.write(b"".join(lines[begin : begin + 4_000]))
    took = time.perf_counter() - began
    database.execute("DROP TABLE raw")
    return events / took


class Mix:
    """Events of runs, steps and mail as agents write them, with their headers."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(4)
        self._numbers = [0] * RUNS
        self._open: list[list[str]] = [[] for _ in range(RUNS)]
        self._count = 0

    def frames(self, events: int) -> Iterator[list[bytes]]:
        """What goes over the wire, in slices."""
        for begin in range(0, events, SLICE):
            yield [self._frame(*self._next()) for _ in range(min(SLICE, events - begin))]

    def messages(self, events: int) -> Iterator[LogMessage]:
        """The same as the bridge reads them."""
        for number in range(1, events + 1):
            subject, headers, body = self._next()
            yield LogMessage(subject.encode(), number, time.time_ns(), headers, body, b"", 0)

    def _next(self) -> tuple[str, bytes, bytes]:
        self._count += 1
        place, kind = self._count % RUNS, (self._count * 7 + self._count // RUNS) % 10
        now = time.time_ns() // 1000
        run = f"{self._token}{place}"
        if kind == 9:
            return self._other(place, run)
        self._numbers[place] += 1
        number = self._numbers[place]
        event, body = self._event(place, kind, number, now)
        subject = f"tc.bench.run.{run}.agent{place % 7}.{event}"
        return subject, _headers(f"{run}writer:{number}"), json.dumps(body, separators=(",", ":")).encode()

    def _event(self, place: int, kind: int, number: int, now: int) -> tuple[str, dict[str, object]]:
        if number == 1:
            return "started", {"name": "bench", "time": now, "params": {"lr": 0.1, "depth": 4}}
        if kind < 5:
            points = [[f"train/{key}", number % 100 / 7, number, now] for key in ("loss", "accuracy")[: 1 + kind % 2]]
            return "metric", {"points": points}
        if kind < 8:
            return self._step(place, number, now)
        tokens = {"input": 1200, "cache_read": 400, "output": 210, "provider": "openai", "model": "gpt-4o"}
        return "usage", {"time": now, **tokens, "request": f"{self._token}{place}-{number}"}

    def _step(self, place: int, number: int, now: int) -> tuple[str, dict[str, object]]:
        still = self._open[place]
        if len(still) > 2:
            step = still.pop(0)
            return "step.ended", {"step": step, "name": "ask", "kind": "llm", "time": now, "duration": 12_345}
        step = secrets.token_hex(8)
        still.append(step)
        return "step.started", {"step": step, "name": "ask", "kind": "llm", "time": now}

    def _other(self, place: int, run: str) -> tuple[str, bytes, bytes]:
        text = json.dumps({"text": "the validation loss is flat, try a smaller step " * 2}).encode()
        return f"tc.bench.msg.agent{place % 5}.agent{place % 7}", _headers(secrets.token_urlsafe(16), run), text

    @staticmethod
    def _frame(subject: str, headers: bytes, body: bytes) -> bytes:
        size = len(headers)
        return b"HPUB %s _INBOX.bench %d %d\r\n%s%s\r\n" % (subject.encode(), size, size + len(body), headers, body)


def _headers(msg_id: str, run: str | None = None) -> bytes:
    inside = f"Tc-Run: {run}\r\n" if run else ""
    return f"NATS/1.0\r\nNats-Msg-Id: {msg_id}\r\n{inside}\r\n".encode()
