"""How often two writes of one agent that take different ways into the log swap places there (decision 0009)."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final

from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions
from tracecraft_stack import NatsServer

ROUNDS: Final = 1_000
PAUSES_MS: Final = (0, 1, 5)
WAYS: Final = ("memory", "task", "message")


def main(_: list[str]) -> None:
    """Write memory, task and message in turn, each acknowledged before the next, and read the log."""
    with tempfile.TemporaryDirectory() as name, NatsServer(Path(name), token=uuid.uuid4().hex) as server:
        for pause in PAUSES_MS:
            swaps = asyncio.run(_swaps(server.url, f"p{pause}", pause / 1000))
            told = ", ".join(f"{late} behind {early} {count}" for (early, late), count in sorted(swaps.items()))
            print(
                f"{pause} ms between writes, {3 * ROUNDS} writes: {sum(swaps.values())} swapped {told and f'({told})'}"
            )


async def _swaps(url: str, project: str, pause: float) -> Counter[tuple[str, str]]:
    """Neighbours in the log that were written the other way round, by what they are."""
    async with Bus(ServerOptions(servers=(url,))) as bus:
        await topology.ensure(bus)
        revisions = {"memory": 0, "task": 0}
        for number in range(3 * ROUNDS):
            way, body = WAYS[number % 3], b"%d" % number
            if way == "message":
                await bus.publish(subjects.message(project, "b", "a"), body)
            else:
                bucket = subjects.MEMORY if way == "memory" else subjects.TASKS
                subject = subjects.kv_subject(bucket, project, "k")
                revisions[way] = await bus.cas(subjects.kv_stream(bucket), subject, body, revisions[way])
            await asyncio.sleep(pause)
        heard: list[int] = []
        async with Puller(bus, subjects.LOG, watcher_config([f"tc.{project}.>"], "all")) as puller:
            while len(heard) < 3 * ROUNDS:
                delivery = await puller.next(30)
                assert delivery is not None, "the log does not have all that was acknowledged"
                heard.append(int(delivery.stored.data))
    return Counter((WAYS[later % 3], WAYS[earlier % 3]) for later, earlier in pairwise(heard) if later > earlier)
