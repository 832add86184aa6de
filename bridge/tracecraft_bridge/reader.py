"""The log from a sequence on, fast, in order, in bounded memory.

One durable pull consumer, ``bridge``, with ack policy *all*. A session keeps several pull requests open at the server
so that messages stream without a pause; each is bounded in messages and bytes. Where to begin is the caller's business
(the checkpoint in PostgreSQL): every session resets the consumer to it, so deliveries that died with a connection or
went to another bridge do not matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.copy_format import NANOSECONDS, LogMessage
from tracecraft_bridge.frames import Frame, frame_parser
from tracecraft_core import subjects
from tracecraft_core.errors import BusError, NotFound, TracecraftError
from tracecraft_core.pull import create_consumer
from tracecraft_core.transport import ConnectionDropped

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from tracecraft_core.bus import Bus

logger = logging.getLogger(__name__)

CONSUMER: Final = "bridge"
REQUEST_MESSAGES: Final = 5_000
REQUEST_BYTES: Final = 8 * 1024 * 1024
ASKED_MESSAGES: Final = 20_000
"""Messages asked for and not written yet, at most: with `BUFFERED_BYTES` this bounds the memory of the bridge."""
BUFFERED_BYTES: Final = 32 * 1024 * 1024
BATCH_BYTES: Final = 16 * 1024 * 1024
"""Bodies in one batch, about."""
EXPIRES_S: Final = 30
HEARTBEAT_S: Final = 1
SILENCE_S: Final = 4.0
"""Without a heartbeat for so long the request is lost."""

_FULFILLED: Final = ("Batch Completed", "Message Size Exceeds MaxBytes")
"""How the server ends a request that has a limit in bytes; anything else with a 409 ends the session."""
_ACK: Final = b"$JS.ACK."
_PENDING: Final = re.compile(rb"Nats-Pending-Messages: (\d+)")
_REQUEST: Final = msgspec.json.encode(
    {
        "batch": REQUEST_MESSAGES,
        "max_bytes": REQUEST_BYTES,
        "expires": EXPIRES_S * NANOSECONDS,
        "idle_heartbeat": HEARTBEAT_S * NANOSECONDS,
    }
)
_CONFIG: Final[dict[str, Any]] = {
    "name": CONSUMER,
    "durable_name": CONSUMER,
    "description": "mirrors the log into PostgreSQL",
    "filter_subjects": [f"{subjects.ROOT}.>"],
    "deliver_policy": "all",
    "ack_policy": "all",
    "ack_wait": 60 * NANOSECONDS,
    "max_ack_pending": 5 * ASKED_MESSAGES,
}


class SessionOver(Exception):
    """This session delivers no more, and reading begins again behind the checkpoint; the message says why."""


class LogReader:
    """One session of reading. Use as an async context manager; `take` and `acknowledge` raise `SessionOver`."""

    def __init__(self, bus: Bus, after: int) -> None:
        self._bus, self._after = bus, after
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._asked = 0
        self._over: str | None = None
        self._arrived = asyncio.Event()
        self._heard = 0.0
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> LogReader:
        transport = self._bus.transport
        self._generation = transport.generation
        await self._place_consumer()
        self._inbox = transport.new_inbox()
        parser = await frame_parser(transport.client)
        self._subscription = await transport.subscribe(self._inbox, _never)
        self._sinks, self._sid = parser.sinks, str(self._subscription._id).encode()
        self._sinks[self._sid] = self._on_frames
        try:
            await self._ask()
        except SessionOver:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            with contextlib.suppress(Exception):
                await self._subscription.unsubscribe()
            self._sinks.pop(self._sid, None)

    async def _place_consumer(self) -> None:
        """Make the consumer deliver what comes behind the checkpoint, whatever it was at."""
        try:
            await create_consumer(self._bus, subjects.LOG, _CONFIG)
        except BusError as error:
            logger.warning("the consumer %s is made anew: %s", CONSUMER, error)
            with contextlib.suppress(NotFound):
                await self._bus.api(f"CONSUMER.DELETE.{subjects.LOG}.{CONSUMER}")
            await create_consumer(self._bus, subjects.LOG, _CONFIG)
        await self._bus.api(f"CONSUMER.RESET.{subjects.LOG}.{CONSUMER}", {"seq": self._after + 1})

    async def take(self, most: int, timeout: float) -> list[LogMessage]:
        """Up to ``most`` messages, as soon as there are any; none after ``timeout`` seconds."""
        if not self._frames:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
        self._arrived.clear()
        self._require_session()
        messages = self._drain(most)
        await self._ask()
        return messages

    async def more(self, most: int) -> list[LogMessage]:
        """Up to ``most`` messages that are here already."""
        self._require_session()
        messages = self._drain(most)
        await self._ask()
        return messages

    async def acknowledge(self, message: LogMessage) -> None:
        """Tell the server that this message and all before it are written down."""
        await self._send(message.reply.decode(), b"+ACK")

    def _drain(self, most: int) -> list[LogMessage]:
        frames, messages, size = self._frames, list[LogMessage](), 0
        while frames and len(messages) < most and size < BATCH_BYTES:
            frame = frames.popleft()
            size += len(frame.body) + len(frame.headers)
            messages.append(_message(frame))
        self._bytes -= size
        return messages

    def _require_session(self) -> None:
        transport = self._bus.transport
        if self._over:
            raise SessionOver(self._over)
        if transport.generation != self._generation or not transport.connected.is_set():
            raise SessionOver("the connection to NATS was lost")
        if not self._frames and asyncio.get_running_loop().time() - self._heard > SILENCE_S:
            raise SessionOver(f"no heartbeat from NATS for {SILENCE_S:.0f} s")

    async def _ask(self) -> None:
        """Keep enough requests open at the server."""
        while self._asked + len(self._frames) <= ASKED_MESSAGES - REQUEST_MESSAGES and self._bytes < BUFFERED_BYTES:
            prefix = self._bus.transport.options.js_prefix
            self._asked += REQUEST_MESSAGES
            self._heard = asyncio.get_running_loop().time()
            await self._send(f"{prefix}.CONSUMER.MSG.NEXT.{subjects.LOG}.{CONSUMER}", _REQUEST, self._inbox)

    async def _send(self, subject: str, payload: bytes, reply: str = "") -> None:
        try:
            await self._bus.transport.send(subject, payload, reply=reply)
        except ConnectionDropped:
            raise SessionOver("the connection to NATS was lost") from None

    def _on_frames(self, frames: list[Frame]) -> None:
        self._heard = asyncio.get_running_loop().time()
        for frame in frames:
            if frame.reply.startswith(_ACK):
                self._asked -= 1
                self._bytes += len(frame.body) + len(frame.headers)
                self._frames.append(frame)
            else:
                self._on_status(frame.headers)
        if self._frames or self._over:
            self._arrived.set()

    def _on_status(self, headers: bytes) -> None:
        """A request ended, or a heartbeat: ``NATS/1.0 <code> <description>``."""
        status, description = headers[9:12], headers[13:].partition(b"\r\n")[0].decode("utf-8", "replace")
        if status == b"100":
            return
        unfilled = _PENDING.search(headers)
        self._asked = max(0, self._asked - (int(unfilled.group(1)) if unfilled else REQUEST_MESSAGES))
        if status != b"408" and description not in _FULFILLED:
            self._over = f"NATS ended the reading: {status.decode('ascii', 'replace')} {description}"
        self._arrived.set()


def _message(frame: Frame) -> LogMessage:
    # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<attempt>.<stream seq>.<consumer seq>.<ns>.<pending>[.<random>]
    tokens = frame.reply.split(b".")
    place = 5 if len(tokens) == 9 else 7
    seq, time, pending = int(tokens[place]), int(tokens[place + 2]), int(tokens[place + 3])
    return LogMessage(frame.subject, seq, time, frame.headers, frame.body, frame.reply, pending)


async def _never(_msg: Msg) -> None:
    """The frames of this subscription go past nats-py."""


NATS_AWAY: Final = (SessionOver, TracecraftError, ConnectionDropped, TimeoutError, OSError)
"""What reading may raise when the server is away or the stream is not what it was."""
