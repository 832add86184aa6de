"""One request from its bytes to the answer: decode, sort, write as events, publish; 200 when the log has all of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from concurrent.futures import CancelledError as Cancelled
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.artifacts.errors import StoreAway
from tracecraft_bridge.otlp import copies, meaning, messages, points, records, sorting, spans
from tracecraft_bridge.otlp.refused import later
from tracecraft_bridge.otlp.telemetry import text
from tracecraft_bridge.otlp.traces import Traces
from tracecraft_bridge.otlp.writing import Writing, stored
from tracecraft_bridge.query.pool import Pool
from tracecraft_core import semconv, topology
from tracecraft_core.bus import Bus
from tracecraft_core.errors import TracecraftError
from tracecraft_core.run_events import PREVIEW, Blob

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tracecraft_bridge.artifacts.store import ObjectStore
    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.otlp.home import Home
    from tracecraft_bridge.otlp.telemetry import Attributes
    from tracecraft_bridge.progress import Progress
    from tracecraft_bridge.settings import OtlpSettings, Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

REQUESTS: Final = 4
"""Requests that are worked on together; each holds its telemetry in memory."""
QUEUE_S: Final = 5.0
"""Seconds that a request waits for its turn before the exporter is told to come again."""
ANSWER_S: Final = 30.0
"""Seconds for one part of the work on the loop; longer than the patience of the bus."""
AT_ONCE: Final = 512
"""Events of a request that are under way to the log together."""
CONNECTIONS: Final = 2
"""To the database."""
PATIENCE_S: Final = 5.0
"""Seconds for which a publish is repeated while the log does not answer."""

_SORTERS: Final[dict[str, Callable[[Any, str], sorting.Sorted[Any]]]] = {
    "traces": sorting.sort_spans,
    "logs": sorting.sort_records,
    "metrics": sorting.sort_points,
}


class Receiver:
    """Takes requests on the threads of the listener, and uses the bus and the database on the loop of the bridge."""

    def __init__(
        self,
        settings: Settings,
        otlp: OtlpSettings,
        store: ObjectStore | None,
        progress: Progress,
        metrics: Metrics,
    ) -> None:
        self._settings, self._store, self._metrics = otlp, store, metrics
        self.bus = Bus(settings.bus, name="tracecraft-bridge otlp", patience=PATIENCE_S)
        """A connection of its own: telemetry does not hold up the mirror."""
        self.bus.on_missing_stream = _create_streams
        self._pool = Pool(settings.postgres, CONNECTIONS)
        self._traces = Traces(self.bus, self._pool, progress)
        self._told = spans.Told()
        self._turns = threading.BoundedSemaphore(REQUESTS)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Connect, and take requests from now on; raises `BusUnreachable`."""
        await self.bus.connect()
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Take no more requests."""
        self._loop = None
        await self._pool.close()
        await self.bus.close()

    def take(self, signal: str, encoding: str, body: bytes, project: str = "") -> bytes:
        """The response to a request; all that it does not reject is in the log. Raises `Refused`.

        ``project``: where telemetry goes that names none, if not into the one of the settings.
        """
        if not self._turns.acquire(timeout=QUEUE_S):
            raise later(f"{REQUESTS} requests are being worked on, and this one waited for {QUEUE_S:g} s")
        try:
            return self._take(signal, encoding, body, project or self._settings.project)
        finally:
            self._turns.release()

    def _take(self, signal: str, encoding: str, body: bytes, project: str) -> bytes:
        found = _SORTERS[signal](messages.decode(signal, encoding, body), project)
        homes = self._on_loop(self._traces.homes(found.asked)) if found.asked else {}
        groups = found.settle(homes)
        if exported := [home for home in groups if home.origin == "copy"]:
            others = self._on_loop(self._traces.of_others(exported))
            groups = {
                replace(home, origin="named") if home in others else home: group for home, group in groups.items()
            }
        digest = hashlib.sha256(signal.encode() + body).digest()
        writings = [self._write(signal, home, items, digest) for home, items in groups.items()]
        self._on_loop(self._publish(writings))
        rejected = found.rejected.total()
        self._metrics.otlp_items.labels(signal, "accepted").inc(found.items - rejected)
        self._metrics.otlp_items.labels(signal, "rejected").inc(rejected)
        return messages.accepted(signal, encoding, rejected, found.why)

    def _write(self, signal: str, home: Home, items: list[Any], digest: bytes) -> Writing:
        writing = Writing(home, _agent_of(home, items[0].resource), digest)
        if signal == "traces" and home.origin == "copy":
            copies.write(writing, items)
        elif signal == "traces":
            spans.write(writing, items, self._told)
        elif signal == "logs":
            records.write(writing, items)
        else:
            points.write(writing, items)
        return writing

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work on the loop. What it cannot reach, the exporter is told to bring again."""
        loop = self._loop
        if loop is None:
            work.close()
            raise later("the bridge is stopping or not connected", 5)
        try:
            return asyncio.run_coroutine_threadsafe(work, loop).result(ANSWER_S)
        except (TracecraftError, psycopg.Error, StoreAway, OSError) as error:
            raise later(f"not taken: {str(error).strip() or type(error).__name__}"[:500], 2) from error
        except (TimeoutError, Cancelled):
            raise later("not taken: no answer from the log in time", 2) from None

    async def _publish(self, writings: list[Writing]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)
        for writing in writings:
            await self._keep_large(writing)
        await asyncio.gather(*(self._publish_one(writing, turns) for writing in writings))

    async def _publish_one(self, writing: Writing, turns: asyncio.Semaphore) -> None:
        """The first event first and the last one last: who sees that says that nothing is missing between them."""
        first, *middle, last = writing.messages()
        await self._send([first], turns)
        await self._send(middle, turns)
        await self._send([last], turns)

    async def _send(self, events: Sequence[tuple[str, bytes, str]], turns: asyncio.Semaphore) -> None:
        waiting = iter(events)

        async def worker() -> None:
            for subject, body, msg_id in waiting:
                async with turns:
                    await self.bus.publish(subject, body, msg_id=msg_id)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(events))):
                    group.create_task(worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None  # they tell of one trouble: the log

    async def _keep_large(self, writing: Writing) -> None:
        """Values that do not fit into an event go to the object store, before the event that refers to them."""
        for draft in writing.drafts:
            if draft.large is None:
                continue
            blob = None
            if self._store is not None:
                async with self._pool.connection() as connection:
                    kept = await Blobs(self._store).put(connection, draft.body, "application/json")
                preview = draft.body[: PREVIEW * 2].decode("utf-8", "ignore")[:PREVIEW]
                blob = Blob(sha256=kept.sha256, size=kept.size, media_type="application/json", preview=preview)
            draft.body, draft.large = stored(draft, blob), None


def _agent_of(home: Home, resource: Attributes) -> str:
    """Who writes what no agent is named for."""
    if home.origin == "session":
        return meaning.as_token(text(resource, semconv.AGENT)) or home.source
    return meaning.service_agent(resource)


async def _create_streams(bus: Bus) -> None:
    with contextlib.suppress(TracecraftError):
        await topology.ensure(bus)
