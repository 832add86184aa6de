"""A bridge between servers that a test may hurt, and the comparison of stream and table, entry by entry."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import signal
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest

from tests.support.folder import short_lived_folder
from tracecraft_core import ids, subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions
from tracecraft_stack.bridge import BridgeServer
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tracecraft_core.bus import Stored


class Row(NamedTuple):
    """What of a row must be as in the stream."""

    subject: str
    time: str
    body: Any
    raw: bytes | None
    msg_id: str | None


class Rig:
    """One nats-server, one database, and the bridges between them."""

    def __init__(self, folder: Path, nats: NatsServer, postgres: PostgresServer) -> None:
        self.folder, self.nats, self.postgres = folder, nats, postgres
        self.database = f"b{secrets.token_hex(4)}"
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.database}")
        self.bridges: list[BridgeServer] = []

    @property
    def dsn(self) -> str:
        """Of the database of this test."""
        return self.postgres.dsn.rpartition("/")[0] + f"/{self.database}"

    def bridge(self, **settings: str) -> BridgeServer:
        """A bridge that is not started yet; ``retention="1s"`` is TRACECRAFT_RETENTION."""
        own = {f"TRACECRAFT_{name.upper()}": value for name, value in settings.items()}
        environment = {"TRACECRAFT_SERVER": self.nats.url, "TRACECRAFT_POSTGRES": self.dsn, **own}
        bridge = BridgeServer(self.folder / f"bridge{len(self.bridges)}", settings=environment)
        self.bridges.append(bridge)
        return bridge

    def start(self, **settings: str) -> BridgeServer:
        """A bridge that mirrors or stands by."""
        bridge = self.bridge(**settings)
        bridge.start()
        return bridge

    def bus(self) -> Bus:
        """A connection to the server, not yet made."""
        return Bus(ServerOptions(servers=(self.nats.url,)))

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def hold_up_the_mirror(self) -> Iterator[None]:
        """It can write neither rows nor epochs meanwhile; reading them is possible."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("LOCK TABLE log, epoch IN SHARE MODE")
            yield

    async def flood(self, bus: Bus, count: int, project: str = "p", *, at_once: int = 64) -> None:
        """Publish so many events, each until it is acknowledged."""
        numbers = iter(range(count))

        async def publisher() -> None:
            for number in numbers:
                body = json.dumps({"name": "loss", "step": number, "note": 'täb\t\\ "quoted" \n'}).encode()
                await bus.publish(f"tc.{project}.run.r{number % 5}.a{number % 3}.metric", body)

        await asyncio.gather(*(publisher() for _ in range(at_once)))

    async def flood_until(self, bus: Bus, enough: asyncio.Event, *, at_once: int = 8) -> int:
        """Publish events and memory changes until told that it is enough; returns how many were acknowledged."""
        stored = 0

        async def publisher(name: str) -> None:
            nonlocal stored
            revision = 0
            for number in itertools.count():
                if enough.is_set():
                    return
                await bus.publish(f"tc.p.run.r.{name}.metric", b'{"step": %d}' % number)
                revision = await bus.cas("KV_tc_memory", f"$KV.tc_memory.p.{name}", b"%d" % number, revision)
                stored += 2

        await asyncio.gather(*(publisher(f"a{number}") for number in range(at_once)))
        return stored

    async def caught_up(self, bus: Bus, patience: float = 30.0) -> int:
        """Wait until the checkpoint has reached the newest message; returns its sequence."""
        deadline = time.monotonic() + patience
        while True:
            newest = await bus.leader_get(subjects.LOG, ">")
            last = newest.seq if newest else 0
            if self._mirrored(await topology.epoch(bus)) >= last:
                return last
            assert time.monotonic() < deadline, self.bridges[-1].log.read_text()[-3000:]
            await asyncio.sleep(0.05)

    def _mirrored(self, stream_epoch: str) -> int:
        try:
            found = self.query(
                "SELECT c.seq FROM checkpoint c JOIN epoch e ON e.id = c.epoch WHERE c.stream = 'TC_LOG' "
                "AND e.stream_epoch = %s",
                stream_epoch,
            )
        except psycopg.Error:  # PostgreSQL is away, or the schema is not there yet
            return -1
        return int(found[0][0]) if found else -1

    async def assert_mirrored(self, bus: Bus) -> int:
        """Every message in the stream is in the table, as it is, and the table has no other at those numbers.

        Returns how many there are, without the beats of the bridge.
        """
        await self.caught_up(bus)
        stream = await self.stream(bus)
        table = self.table()
        first = min(stream, default=1)
        assert [seq for seq in table if seq >= first] == list(stream)
        different = {seq: (table[seq], row) for seq, row in stream.items() if table[seq] != row}
        assert not different, next(iter(different.items()))
        assert self.query("SELECT seq FROM log GROUP BY epoch, seq HAVING count(*) > 1") == []
        return sum(not row.subject.startswith(f"tc.{subjects.RESERVED_PROJECT}.") for row in stream.values())

    async def stream(self, bus: Bus) -> dict[int, Row]:
        """What the log on the bus holds."""
        found: dict[int, Row] = {}
        async with Puller(bus, subjects.LOG, watcher_config(["tc.>"], "all"), batch=5000) as puller:
            if puller.initial_pending == 0:
                return found
            async for delivery in puller:
                found[delivery.stored.seq] = _row(delivery.stored)
                if delivery.pending == 0:
                    return found
        raise AssertionError

    def table(self) -> dict[int, Row]:
        """What the table says that it holds, by sequence."""
        columns = (
            "seq, subject, to_char(time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), body, raw, "
            "headers->>'Nats-Msg-Id'"
        )
        return {row[0]: Row(*row[1:]) for row in self.query(f"SELECT {columns} FROM log_current ORDER BY seq")}

    async def wait_for_rows(
        self, count: int, sql: str, *values: object, patience: float = 15.0
    ) -> list[tuple[Any, ...]]:
        """Poll a query until it has so many rows."""
        deadline = time.monotonic() + patience
        while len(found := self.query(sql, *values)) < count:
            assert time.monotonic() < deadline, f"{found} after {patience:.0f} s"
            await asyncio.sleep(0.05)
        return found


def _row(stored: Stored) -> Row:
    try:
        body, raw = (json.loads(stored.data) if stored.data else None), None
    except ValueError:
        body, raw = None, stored.data
    seconds, _, fraction = stored.time.removesuffix("Z").partition(".")
    return Row(stored.subject, f"{seconds}.{fraction[:6]:0<6}", body, raw, stored.headers.get("Nats-Msg-Id"))


def healthz(bridge: BridgeServer) -> tuple[int, dict[str, Any]]:
    """Status and body of /healthz."""
    try:
        with urllib.request.urlopen(f"{bridge.url}/healthz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def metrics(bridge: BridgeServer) -> str:
    """The text of /metrics."""
    with urllib.request.urlopen(f"{bridge.url}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


async def until_health(bridge: BridgeServer, code: int, patience: float = 15.0, **wanted: object) -> dict[str, Any]:
    """Wait until /healthz answers with this status code and these fields."""
    deadline = time.monotonic() + patience
    while True:
        found, body = await asyncio.to_thread(healthz, bridge)
        if found == code and wanted.items() <= body.items():
            return body
        assert time.monotonic() < deadline, f"{found} {body}"
        await asyncio.sleep(0.05)


async def append_raw(bus: Bus, subject: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    """Publish past the checks of core; returns the sequence."""
    reply = await bus.transport.request(subject, body, headers=headers, timeout=5)
    return int(json.loads(reply.data)["seq"])


def fresh_headers() -> dict[str, str]:
    """Headers of an ordinary message."""
    return {"Nats-Msg-Id": ids.fresh()}


@pytest.fixture(scope="session")
def bridge_postgres() -> Iterator[PostgresServer]:
    """PostgreSQL for the tests of the bridge, which kill it and start it again; a database for each test."""
    with (
        short_lived_folder() as folder,
        PostgresServer(folder / "postgres", password=secrets.token_hex(8), fsync=False) as server,
    ):
        yield server
        server.resume()
        os.kill(server.pid, signal.SIGQUIT)  # at once, without a checkpoint of databases that nobody will read


@pytest.fixture
def rig(bridge_postgres: PostgresServer) -> Iterator[Rig]:
    """Servers of one test, with the streams made; start bridges with ``rig.start()``."""
    with short_lived_folder() as folder, NatsServer(folder / "nats", token=secrets.token_hex(8)) as nats:
        bridge_postgres.resume()
        bridge_postgres.start()
        made = Rig(folder, nats, bridge_postgres)
        try:
            yield made
        finally:
            for bridge in made.bridges:
                bridge.resume()
                bridge.kill()
            nats.resume()
