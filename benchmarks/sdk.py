"""The SDK's verbs against the raw nats-py requests they are made of (target: at most 1.3 of the raw time)."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import nats

from benchmarks.report import timed_async
from tracecraft import AsyncSession, claims
from tracecraft_stack import NatsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.js import JetStreamContext

TIMES = 400
ROUNDS = 5


def main(_: list[str]) -> None:
    """Compare on a server of its own."""
    with tempfile.TemporaryDirectory() as name, NatsServer(Path(name), token=uuid.uuid4().hex) as server:
        asyncio.run(_compare(server.url))


async def _compare(url: str) -> None:
    client = await nats.connect(url)
    async with AsyncSession(server=url, project="bench", agent="bench") as session:
        raw = Raw(client.jetstream())
        value = {"papers": 47, "text": "x" * 200}
        await session.memory.set("bench.key", value)

        async def claim(number: int) -> None:
            await claims.claim(session.context, f"ours.{uuid.uuid4().hex}.{number}", 30)

        pairs: dict[str, tuple[Callable[[int], Awaitable[object]], Callable[[int], Awaitable[object]]]] = {
            "memory set": (lambda _: session.memory.set("bench.key", value), lambda _: raw.set(value)),
            "memory get": (lambda _: session.memory.get("bench.key"), lambda _: raw.get()),
            "claim": (claim, lambda _: raw.claim()),
        }
        print(f"{'verb':<12} {'ours':>9} {'raw':>9} {'ratio':>6}   medians of {ROUNDS} x {TIMES}, in turn; target 1.3")
        for verb, (ours, theirs) in pairs.items():
            mine: list[float] = []
            other: list[float] = []
            for _ in range(ROUNDS):
                mine += await timed_async(ours, TIMES)
                other += await timed_async(theirs, TIMES)
            one, two = statistics.median(mine), statistics.median(other)
            print(f"{verb:<12} {one * 1000:6.3f} ms {two * 1000:6.3f} ms {one / two:6.2f}", flush=True)
    await client.close()


class Raw:
    """The same requests, straight through nats-py: nothing checked, nothing resolved."""

    def __init__(self, stream: JetStreamContext) -> None:
        self._js = stream

    async def set(self, value: object) -> None:
        """One publish with an id."""
        headers = {"Nats-Msg-Id": uuid.uuid4().hex}
        await self._js.publish("$KV.tc_memory.bench.raw", json.dumps(value).encode(), headers=headers)

    async def get(self) -> object:
        """One leader read."""
        found = await self._js.get_msg("KV_tc_memory", subject="$KV.tc_memory.bench.bench.key", direct=False)
        return json.loads(found.data or b"null")

    async def claim(self) -> None:
        """Two leader reads at once, then two compare-and-set writes."""
        task = uuid.uuid4().hex
        reads = (self._missing("KV_tc_tasks", "tc_tasks", task), self._missing("KV_tc_leases", "tc_leases", task))
        await asyncio.gather(*reads)
        headers = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Msg-Id": uuid.uuid4().hex}
        body = json.dumps({"owner": "bench", "session": "s", "nonce": task, "ttl": 30}).encode()
        await self._js.publish(f"$KV.tc_leases.bench.{task}", body, headers=headers | {"Nats-TTL": "30s"})
        headers["Nats-Msg-Id"] = uuid.uuid4().hex
        await self._js.publish(f"$KV.tc_tasks.bench.{task}", body, headers=headers)

    async def _missing(self, stream: str, bucket: str, task: str) -> None:
        try:
            await self._js.get_msg(stream, subject=f"$KV.{bucket}.bench.{task}", direct=False)
        except nats.js.errors.NotFoundError:
            return
