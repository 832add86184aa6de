"""Reading a stream in order, without polling and without losing the place when the server restarts.

A `Puller` keeps one pull request open on a consumer; the server answers it the moment something is stored. It asks
again when the request ends, when heartbeats stop and when the connection comes back. A watcher's consumer lives in the
server's memory: when it is gone, a new one goes on behind the last sequence that was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from tracecraft_core import ids
from tracecraft_core.bus import Stored
from tracecraft_core.errors import NotFound, NotPermitted, TracecraftError, UsageError
from tracecraft_core.transport import ConnectionDropped, NoResponders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

NANOSECOND: Final = 1_000_000_000
EXPIRES_S: Final = 30
"""Seconds that one pull request stays open on the server."""
HEARTBEAT_S: Final = 1
"""Seconds between the server's signs of life on an idle request; three missed ones mean that it is gone."""
WATCHER_IDLE_S: Final = 30
"""Seconds after which the server forgets a watcher that stopped asking."""
FETCH_S: Final = 5.0
"""Seconds that the server may take to hand out what waits."""
FETCHES: Final = 3
"""How often that is asked when the connection drops."""

DeliverPolicy = Literal["all", "new", "last_per_subject", "by_start_sequence", "by_start_time"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a consumer handed it out."""

    stored: Stored
    reply: str
    """Where its acknowledgement goes."""
    attempt: int
    """1 on the first delivery."""
    pending: int
    """Messages that wait behind this one; 0 when it is the newest."""


def watcher_config(
    filters: Sequence[str],
    deliver: DeliverPolicy = "last_per_subject",
    *,
    start_seq: int | None = None,
    start_time: str | None = None,
) -> dict[str, Any]:
    """Configuration of a short-lived consumer that only reads."""
    config: dict[str, Any] = {
        "name": f"w_{ids.fresh()}",
        "filter_subjects": list(filters),
        "deliver_policy": deliver,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": WATCHER_IDLE_S * NANOSECOND,
    }
    if start_seq is not None:
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": start_seq}
    if start_time is not None:
        config |= {"deliver_policy": "by_start_time", "opt_start_time": start_time}
    return config


async def create_consumer(bus: Bus, stream: str, config: dict[str, Any], *, update: bool = True) -> dict[str, Any]:
    """Create a consumer, or find it when it exists with this configuration; returns its info.

    One that exists with another configuration is changed, or without ``update`` refused (`BusError`).
    """
    name, filters = config["name"], config["filter_subjects"]
    verb, sent = f"CONSUMER.CREATE.{stream}.{name}", dict(config)
    if len(filters) == 1:  # the filter in the subject lets permissions see it
        verb, sent = f"{verb}.{filters[0]}", {k: v for k, v in config.items() if k != "filter_subjects"}
        sent["filter_subject"] = filters[0]
    request = {"stream_name": stream, "config": sent} | ({} if update else {"action": "create"})
    return await bus.api(verb, request)


class Puller:
    """An ordered reader of one consumer. Use as an async context manager; read with `next` or ``async for``."""

    def __init__(self, bus: Bus, stream: str, config: dict[str, Any], *, batch: int = 256) -> None:
        self._bus, self._stream, self._config = bus, stream, config
        self._batch = batch
        self._durable = "durable_name" in config
        self._queue: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._client = self._generation = -1
        self._inbox = ""
        self._asked = 0
        self._heard = 0.0
        self._spoke = time.monotonic()
        self._gone = False
        self._denied: NotPermitted | None = None
        self.on_recreated: Callable[[], Awaitable[None]] | None = None
        """Called when the server had forgotten the consumer and there is a new one."""
        self.last_seq = 0
        """Stream sequence of the newest message handed out."""
        self.initial_pending = 0
        """How many messages there were to deliver when the consumer was created."""

    async def __aenter__(self) -> Puller:
        info = await create_consumer(self._bus, self._stream, self._config)
        self.initial_pending = info.get("num_pending", 0)
        self.last_seq = info.get("delivered", {}).get("stream_seq", 0)
        self._bus.transport.on_trouble.add(self._on_trouble)
        await self._ask_quietly()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.transport.on_trouble.discard(self._on_trouble)
        with contextlib.suppress(Exception):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
        if not self._durable:
            with contextlib.suppress(ConnectionDropped, UsageError):  # the latter: closed, the server forgets by itself
                prefix = self._bus.transport.options.js_prefix
                await self._bus.transport.send(f"{prefix}.CONSUMER.DELETE.{self._stream}.{self._config['name']}")

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while True:
            delivery = await self.next()
            assert delivery is not None
            yield delivery

    async def backlog(self) -> AsyncIterator[Delivery]:
        """What there was to deliver when the consumer was created (and what came meanwhile), then stop."""
        seen = 0
        while seen < self.initial_pending:
            delivery = await self.next(HEARTBEAT_S)
            if delivery is None:
                if await self._waiting_on_server() == 0 and not self._queue:
                    return  # what was counted has been overwritten since
                continue
            seen += 1
            yield delivery
            if delivery.pending == 0:
                return

    async def _waiting_on_server(self) -> int:
        info = await self._bus.api(f"CONSUMER.INFO.{self._stream}.{self._config['name']}")
        return int(info.get("num_pending", 0))

    @property
    def silent_for(self) -> float:
        """Seconds since the server was last heard; it gives a sign of life every `HEARTBEAT_S`."""
        return time.monotonic() - self._spoke

    def ready(self) -> list[Delivery]:
        """Take everything that has arrived, without waiting."""
        taken = list(self._queue)
        self._queue.clear()
        if taken:
            self.last_seq = taken[-1].stored.seq
        return taken

    async def next(self, timeout: float | None = None) -> Delivery | None:
        """The next message; ``None`` after ``timeout`` seconds without one (``None``: wait for ever).

        Raises `NotPermitted` when the server does not let us read, `NotFound` when the stream is gone.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while not self._queue:
            if self._denied is not None:
                raise self._denied
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                return None
            await self._keep_asking()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S if left is None else min(left, HEARTBEAT_S)):
                    await self._arrived.wait()
            self._arrived.clear()
        delivery = self._queue.popleft()
        self.last_seq = delivery.stored.seq
        # What a mailbox hands out ahead of its reader would come again while the reader is busy with another message.
        if self._asked <= self._batch // 2 and not self._durable:
            await self._ask_quietly()
        return delivery

    async def _keep_asking(self) -> None:
        now = asyncio.get_running_loop().time()
        transport = self._bus.transport
        silent = now - self._heard > 3 * HEARTBEAT_S
        if self._gone:
            await self._recreate()
        elif silent or self._asked <= 0 or transport.generation != self._generation:
            await self._ask_quietly()

    async def _ask_quietly(self) -> None:
        with contextlib.suppress(ConnectionDropped):
            await self._ask()

    async def _ask(self) -> None:
        """Put a pull request to the server; it answers as messages come, for `EXPIRES_S`."""
        transport = self._bus.transport
        await transport.ready(HEARTBEAT_S)
        if self._client != transport.clients:
            self._inbox = transport.new_inbox()
            self._subscription = await transport.subscribe(self._inbox, self._on_message)
            self._client = transport.clients
        self._generation, self._heard = transport.generation, asyncio.get_running_loop().time()
        request = {
            "batch": self._batch,
            "expires": EXPIRES_S * NANOSECOND,
            "idle_heartbeat": HEARTBEAT_S * NANOSECOND,
        }
        self._asked = self._batch
        await transport.send(self._pull_subject, msgspec.json.encode(request), reply=self._inbox)

    @property
    def _pull_subject(self) -> str:
        return f"{self._bus.transport.options.js_prefix}.CONSUMER.MSG.NEXT.{self._stream}.{self._config['name']}"

    def _on_trouble(self, trouble: ConnectionDropped | NotPermitted) -> None:
        denied = _denial(trouble, self._pull_subject, self._inbox)
        if denied is not None:
            self._denied = denied
            self._arrived.set()

    async def _recreate(self) -> None:
        """The consumer is gone (a restart, or idleness): go on behind the last message that was handed out."""
        self._gone = False
        seen = self._queue[-1].stored.seq if self._queue else self.last_seq
        if not self._durable:
            self._config = dict(self._config) | {"name": f"w_{ids.fresh()}"}
            if seen or self._config["deliver_policy"] == "new":
                self._config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": seen + 1}
                self._config.pop("opt_start_time", None)
        try:
            await create_consumer(self._bus, self._stream, self._config)
        except (NotFound, NotPermitted):
            raise
        except TracecraftError as error:
            logger.debug("cannot recreate the consumer on %s yet: %s", self._stream, error)
            self._gone = True
            await asyncio.sleep(HEARTBEAT_S / 4)
            return
        await self._ask_quietly()
        if self.on_recreated is not None:
            await self.on_recreated()

    async def _on_message(self, msg: Msg) -> None:
        self._heard, self._spoke = asyncio.get_running_loop().time(), time.monotonic()
        status = msg.headers.get("Status") if msg.headers and not msg.reply.startswith("$JS.ACK") else None
        if status is not None:
            self._on_status(status, (msg.headers or {}).get("Description", ""))
            return
        self._asked -= 1
        delivery = _delivery(msg)
        newest = self._queue[-1].stored.seq if self._queue else self.last_seq
        if self._durable or delivery.stored.seq > newest:
            self._queue.append(delivery)
        self._arrived.set()

    def _on_status(self, status: str, description: str) -> None:
        if status == "100":
            return
        self._asked = 0
        lowered = description.lower()
        if status == "503" or "deleted" in lowered or "consumer not found" in lowered:
            self._gone = True
        elif status not in ("404", "408"):
            logger.debug("pull on %s: %s %s", self._stream, status, description)
            return  # the server is overloaded: ask again at the next heartbeat
        self._arrived.set()


def _denial(trouble: ConnectionDropped | NotPermitted, *subjects: str) -> NotPermitted | None:
    """The trouble, if it is that one of the subjects is denied; nats-py tells them in lower case."""
    if isinstance(trouble, NotPermitted):
        for subject in subjects:
            if subject.lower() == trouble.subject:
                return NotPermitted(trouble.operation, subject)
    return None


async def fetch_now(bus: Bus, stream: str, consumer: str, limit: int) -> list[Delivery]:
    """Up to ``limit`` messages that wait on a durable consumer right now, without waiting for more.

    A connection that drops on the way is no answer: it is asked again. Raises `NotFound` when there is no such
    consumer, `NotPermitted`, and `BusUnreachable` when the server stays away.
    """
    found: list[Delivery] = []
    for _ in range(FETCHES):
        try:
            await _fetch_once(bus, f"{stream}.{consumer}", limit, found)
        except (TimeoutError, ConnectionDropped, NoResponders):
            if found:
                break  # what is still under way comes again after the consumer's ack_wait
            await bus.api(f"CONSUMER.INFO.{stream}.{consumer}")  # raises when the bus or the consumer is gone
        else:
            break
    return found


async def _fetch_once(bus: Bus, consumer: str, limit: int, found: list[Delivery]) -> None:
    transport = bus.transport
    inbox, subject = transport.new_inbox(), f"{transport.options.js_prefix}.CONSUMER.MSG.NEXT.{consumer}"
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(trouble: Exception | None = None) -> None:
        if ended.done():
            return
        if trouble is None:
            ended.set_result(None)
        else:
            ended.set_exception(trouble)

    def on_trouble(trouble: ConnectionDropped | NotPermitted) -> None:
        failure = trouble if isinstance(trouble, ConnectionDropped) else _denial(trouble, subject, inbox)
        if failure is not None:
            end(failure)

    async def on_message(msg: Msg) -> None:
        if msg.headers and "Status" in msg.headers and not msg.reply:
            end(NoResponders(subject) if msg.headers["Status"] == "503" else None)
            return
        found.append(_delivery(msg))
        if len(found) == limit:
            end()

    subscription = await transport.subscribe(inbox, on_message)
    transport.on_trouble.add(on_trouble)
    try:
        await transport.send(subject, msgspec.json.encode({"batch": limit, "no_wait": True}), reply=inbox)
        async with asyncio.timeout(FETCH_S):
            await ended
    finally:
        transport.on_trouble.discard(on_trouble)
        with contextlib.suppress(Exception):
            await subscription.unsubscribe()


async def acknowledge(bus: Bus, delivery: Delivery, *, kind: Literal["+ACK", "-NAK", "+WPI"] = "+ACK") -> bool:
    """Tell the server what became of a delivery; returns once it has heard (``False``: it may not have)."""
    for _ in range(3):
        try:
            await bus.transport.request(delivery.reply, kind.encode(), timeout=2.0)
        except NoResponders:
            return False
        except (ConnectionDropped, TimeoutError):
            await bus.transport.ready(bus.patience)
        else:
            return True
    return False


def _delivery(msg: Msg) -> Delivery:
    # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<attempt>.<stream seq>.<consumer seq>.<ns>.<pending>[.<random>]
    tokens = msg.reply.split(".")
    place = 2 if len(tokens) == 9 else 4
    attempt, seq, _, nanoseconds, pending = tokens[place + 2 : place + 7]
    headers = msg.headers or {}
    stored = Stored(msg.subject, int(seq), msg.data, headers, rfc3339(int(nanoseconds)))
    return Delivery(stored, msg.reply, int(attempt), int(pending))


def rfc3339(nanoseconds: int) -> str:
    """A time in nanoseconds since the epoch as the server writes it, in UTC."""
    import datetime

    seconds, rest = divmod(nanoseconds, NANOSECOND)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
