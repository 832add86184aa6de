"""A log of runs that never went over a bus: random events, poison among them, written as the bridge writes them."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.continuity import Position
from tracecraft_bridge.copy_format import LogMessage
from tracecraft_bridge.database import Connection, connect
from tracecraft_bridge.metrics import Metrics
from tracecraft_bridge.projector import Projector
from tracecraft_bridge.rebuild import TABLES, rebuild_if_needed
from tracecraft_bridge.schema import migrate
from tracecraft_bridge.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

NOW: Final = 1_795_000_000_000_000
"""Microseconds: the server's clock when a log begins."""
POISON: Final = (
    b"{{{",
    b"",
    b"\xff\xfe",
    b'{"points":[["k","\\u0000",1,1795000000000000]]}',
    b'{"points":[["k",1e999,1,1]]}',
    b'{"points":[["k",NaN,1,1]]}',
    b'{"points":[["k","text",1,1]]}',
    b'{"points":"no"}',
    b'{"points":[["k",1,99999999999999999999999999,1]]}',
    b'{"points":[["k",1,5,-1]]}',
    b'{"points":[["k",1,9223372036854775807,1],["k",2,1795000000000000000,1],["k",3,-7,1],["",4,1,1]]}',
    b'{"points":[["k",1,5e0,1.795e15]]}',
    b"[" * 100_000 + b"]" * 100_000,
    b'{"step":"x\\u0000","name":"n","time":1,"duration":1}',
    b'{"step":"p","name":"n","time":1795000000000000,"duration":-5}',
    b'{"time":1795000000000000,"input":99999999999999999999}',
    b'{"name":"n","time":1795000000000000,"params":{"big":1e5000,"deep":' + b"[" * 900 + b"]" * 900 + b"}}",
    b'{"params":{"x":1e-20000},"time":1795000000000000}',
    b'{"params":{"x":1e200000},"time":1795000000000000}',
)


class RunLog:
    """Writes messages into a database of its own and compares what came of them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.projector = Projector()
        self.metrics = Metrics()
        self.position = Position(0, 0)

    async def begin(self) -> None:
        """An empty log, epoch 1."""
        await migrate(self.connection)
        cursor = await self.connection.execute(
            "INSERT INTO epoch (stream_epoch, first_seq, reason) VALUES ('e', 1, 'first') RETURNING id"
        )
        row = await cursor.fetchone()
        assert row is not None
        self.position = Position(row[0], 0)
        await self.connection.execute("INSERT INTO checkpoint (stream, epoch, seq) VALUES ('TC_LOG', %s, 0)", (row[0],))
        await self.projector.prepare(self.connection)
        await self.rebuild()

    async def rebuild(self) -> None:
        """Make the projections again when that is wanted."""
        await rebuild_if_needed(self.connection, self.projector, lambda: None)

    async def write(self, messages: Sequence[LogMessage], batch: int = 10_000) -> None:
        """Write messages in transactions of so many."""
        writer = Writer(self.connection, self.position.epoch, self.metrics, self.projector)
        for begin in range(0, len(messages), batch):
            self.position = await writer.write(self.position, messages[begin : begin + batch])

    async def tables(self) -> dict[str, list[str]]:
        """Every row of every projection, as text, in one order."""
        found = {}
        for table in TABLES:
            cursor = await self.connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1")
            found[table] = [row[0] for row in await cursor.fetchall()]
        return found

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        cursor = await self.connection.execute(sql, values)
        return await cursor.fetchall()


@asynccontextmanager
async def run_log(dsn: str) -> AsyncIterator[RunLog]:
    """A log in the database."""
    async with await connect(dsn, "test") as connection:
        made = RunLog(connection)
        await made.begin()
        yield made


class Events:
    """Makes the messages of a log, one after another."""

    def __init__(self) -> None:
        self.messages: list[LogMessage] = []
        self._numbers: dict[tuple[str, str], int] = {}

    @property
    def now(self) -> int:
        """The server's time of the next message, in microseconds."""
        return NOW + len(self.messages) * 1_000

    def add(self, subject: str, body: object, *headers: str) -> LogMessage:
        """Any message; a body that is no ``bytes`` becomes JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = "".join(f"{header}\r\n" for header in headers).encode()
        lines = b"NATS/1.0\r\n" + shown + b"\r\n" if headers else b""
        self.messages.append(
            LogMessage(subject.encode(), len(self.messages) + 1, self.now * 1_000 + 999, lines, raw, b"", 0)
        )
        return self.messages[-1]

    def run(
        self, event: str, body: object, *, run: str = "r1", agent: str = "a", writer: str | None = "w", number: int = 0
    ) -> LogMessage:
        """An event of a run with its writer's next number, or with the given one; times are filled in."""
        if isinstance(body, dict) and event != "metric":
            body = {"time": self.now, **body}
        subject = f"tc.p.run.{run}.{agent}.{event}"
        if writer is None:
            return self.add(subject, body)
        if not number:
            number = self._numbers[run, writer] = self._numbers.get((run, writer), 0) + 1
        return self.add(subject, body, f"Nats-Msg-Id: {run}{writer}:{number}")

    def point(self, key: str, *points: tuple[float | str, int | None], **where: Any) -> LogMessage:
        """A ``metric`` event of one key."""
        return self.run("metric", {"points": [[key, value, step, self.now] for value, step in points]}, **where)


class RandomLog:
    """A varied log from a seed: several runs, lost, repeated and late events, poison, mail, memory and tasks."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.events = Events()
        self._late: list[LogMessage] = []
        self._steps: list[tuple[str, str]] = []
        self._revision = 0

    def make(self, count: int) -> list[LogMessage]:
        """So many messages, about."""
        while len(self.events.messages) < count:
            self._one()
        return [message._replace(seq=place + 1) for place, message in enumerate(self.events.messages)]

    def _one(self) -> None:
        draw = self.random
        kinds = (self._metric, self._step, self._step, self._run, self._other, self._task, self._trouble)
        draw.choices(kinds, (30, 20, 20, 12, 12, 6, 10))[0]()

    def _where(self) -> dict[str, Any]:
        draw = self.random
        return {
            "run": f"r{draw.randrange(4)}",
            "agent": draw.choice("abc"),
            "writer": draw.choice(["w1", "w2", "w3", None]),
        }

    def _metric(self) -> None:
        draw = self.random
        odd: list[float | str] = [7, "NaN", "Infinity", "-Infinity", 1e308, -0.0, 1e22]
        points: list[tuple[float | str, int | None]] = [
            (
                draw.choice([draw.gauss(0, 1e3), draw.random(), *odd]),
                draw.choice([None, None, draw.randrange(3_000), draw.randrange(100_000), -draw.randrange(200)]),
            )
            for _ in range(draw.choice([1, 1, 1, 2, 5, 60]))
        ]
        self.events.point(draw.choice(["loss", "accuracy", "ä\t\\n"]), *points, **self._where())

    def _step(self) -> None:
        draw, where = self.random, self._where()
        if not self._steps or draw.random() < 0.4:
            step = (where["run"], f"{draw.randrange(10**6):016x}")
            self._steps.append(step)
        run, name = draw.choice(self._steps[-12:])
        where["run"] = run
        event = draw.choice(["started", "input", "output", "ended", "ended"])
        value = draw.choice([None, "text\t\n", {"b": 1.0, "a": [1e2, 2**70, "ü" * 300]}, 1e23, [0.1, -0.0]])
        error = draw.choice([None, {"type": "ValueError", "message": "no\n"}])
        body: dict[str, Any] = {"step": name, "name": f"step {name[-1]}", "duration": draw.randrange(10**7)}
        if event in ("input", "output"):
            body = {"step": name, "value": value}
            if draw.random() < 0.3:
                body = {"step": name, "blob": {"sha256": f"{draw.randrange(16):x}" * 64, "size": 9, "preview": "p"}}
        elif event == "ended" and error:
            body |= {"status": "error", "error": error}
        self.events.run(f"step.{event}", body, **where)

    def _run(self) -> None:
        draw, where = self.random, self._where()
        params = {
            "lr": draw.choice([0.1, 1e-7, 1.0, 1e16, "3e2", "x", None, [1.50, {"a": 1e2}]]),
            f"p{draw.randrange(4)}": True,
        }
        usage: dict[str, Any] = {
            "input": draw.randrange(10**5),
            "output": draw.randrange(10**4),
            "model": draw.choice(["gpt-4o", "nobody-knows", None]),
            "request": draw.choice([None, f"q{draw.randrange(20)}"]),
            "cause": draw.choice(["original", "original", "retry", "replay", "fork"]),
        }
        usage |= draw.choice([{}, {}, {"cost": 0.1234567891234}, {"cost": 1, "currency": "EUR"}, {"cost": -1}])
        event, body = draw.choice(
            [
                ("started", {"name": f"n{draw.randrange(9)}", "params": params, "tags": {"t": draw.choice("xy\n")}}),
                ("joined", {}),
                ("param", {"params": params}),
                ("tag", {"tags": {"team": draw.choice("abc")}}),
                ("usage", usage),
                ("usage", usage),
                ("usage", usage),
                ("artifact", {"name": f"f{draw.randrange(3)}", "sha256": "ab" * 32, "size": draw.randrange(10**9)}),
                ("agent.started", {"model": "gpt-4o", "role": None}),
                ("agent.ended", {"status": "error"}),
                ("log", {"text": "hello"}),
                ("novelty", {"x": 1}),
            ]
        )
        if draw.random() < 0.08:
            event, body = draw.choice(
                [
                    ("ended", {"status": "finished", "dropped": draw.randrange(3)}),
                    ("ended", {"status": "failed", "error": {"type": "T", "message": "m"}}),
                    ("left", {"dropped": 1}),
                    ("crashed", {"reason": "silence", "last_step": "x"}),
                    ("deleted", {"by": "a"}),
                ]
            )
            if event == "crashed" and draw.random() < 0.9:
                where["agent"], where["writer"] = "_tracecraft", None
        self.events.run(event, body, **where)

    def _other(self) -> None:
        draw, events = self.random, self.events
        inside = f"Tc-Run: r{draw.randrange(4)}" + draw.choice(["", "/ab12", "/", "/x y"])
        self._revision += 1
        source = f"Nats-Stream-Source: KV_tc_memory {self._revision} a b c"
        others: list[Callable[[], LogMessage]] = [
            lambda: events.add("tc.p.msg.b.a", {"text": "hi \t", "data": [1e2], "reply_to": 3}, inside),
            lambda: events.add("tc.p.all.a", b"plain \xff text"),
            lambda: events.add("tc.p.receipt.a.b", {"id": draw.randrange(9), "state": "acked"}),
            lambda: events.add("tc.p.memory.k.x", {"v": 1.50}, source, inside, "Tc-Agent: a", "Tc-Fence: t:1"),
            lambda: events.add("tc.p.memory.k.x", b"", source, "KV-Operation: DEL"),
            lambda: events.add("tc.p.agent.a.joined", {"mode": "live"}),
            lambda: events.add("tc.weird", b"x"),
        ]
        draw.choice(others)()

    def _task(self) -> None:
        draw = self.random
        if draw.random() < 0.2:
            self.events.add("tc.p.agent.a.lost", {"task": f"T{draw.randrange(3)}", "fence": draw.randrange(60)})
            return
        record = {
            "state": draw.choice(["open", "claimed", "claimed", "done", "failed"]),
            "owner": draw.choice(["a", "b", None]),
            "session": "s",
            "attempt": draw.randrange(6),
            "handoff": {"note": "n"},
        }
        self._revision += 1
        source = f"Nats-Stream-Source: KV_tc_tasks {self._revision} a b c"
        self.events.add(f"tc.p.task.T{draw.randrange(3)}", record, source)

    def _trouble(self) -> None:
        draw, events = self.random, self.events
        kind = draw.randrange(5)
        if kind == 0 and events.messages:  # a repeat that comes too late for the server to notice
            events.messages.append(draw.choice(events.messages[-200:])._replace(time=events.now * 1_000))
        elif kind == 1 and events.messages:  # one that is held back, and perhaps never comes
            self._late.append(
                events.messages.pop(draw.randrange(max(0, len(events.messages) - 9), len(events.messages)))
            )
        elif kind == 2 and self._late:
            late = self._late.pop(draw.randrange(len(self._late)))
            events.messages.append(late._replace(time=events.now * 1_000))
        elif kind == 3:
            body = draw.choice(POISON)
            events.run(draw.choice(["metric", "step.ended", "usage", "started", "param", "tag"]), body, **self._where())
        else:
            lie = draw.choice([0, -5, 10**18, 946_684_799_999_999])
            events.run("tag", {"tags": {"a": "b"}, "time": lie}, **self._where())
