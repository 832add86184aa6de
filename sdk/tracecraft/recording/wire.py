"""`Wire`: the connection on which a process delivers its records, hundreds under way at once.

A connection of its own: what a session does is not kept waiting. Whoever sends is called back with the answer, and
told when the connection breaks, because then nobody knows what became of what was under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_core import subjects, topology
from tracecraft_core.bus import Bus
from tracecraft_core.errors import BodyTooLarge, BusUnreachable, TracecraftError, UsageError
from tracecraft_core.nats_client import errors
from tracecraft_core.transport import ConnectionDropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from tracecraft_core.errors import NotPermitted
    from tracecraft_core.transport import ServerOptions

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""Seconds for which presence and other single writes are repeated."""
RETRY_S: Final = (0.1, 0.25, 0.5, 1.0)
"""Seconds between attempts to make the first connection; the last one again and again."""
NO_STREAM: Final = -1
"""Code of an `Answer` when nobody listens: the log is not there, or has no leader for now."""


class Refusal(msgspec.Struct, frozen=True):
    """Why the server did not store a message."""

    err_code: int = 0
    description: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the server says to a publish."""

    seq: int = 0
    error: Refusal | None = None


_decode = msgspec.json.Decoder(Answer).decode


class Wire:
    """Connects at the first `up`, and for ever again."""

    def __init__(self, options: ServerOptions, name: str) -> None:
        self.bus = Bus(options, name=name, patience=PATIENCE_S)
        self.bus.on_missing_stream = _create_streams
        self.bus.transport.on_trouble.add(self._on_trouble)
        self.on_break: set[Callable[[Exception], None]] = set()
        """Told why no answer will come to what was sent: the connection has gone, or a right is missing."""
        self.on_away: set[Callable[[str], None]] = set()
        """Called with the reason when the server cannot be reached."""
        self.away_since: float | None = 0.0
        """Since when there is no connection, of the loop's clock; ``None`` while there is one."""
        self._heard: dict[int, Callable[[Answer], None]] = {}
        self._token = 0
        self._inbox = ""
        self._client = -1
        self.refusals = 0
        """Attempts to make the first connection that failed."""
        self._connecting = asyncio.Lock()
        self._now = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._client >= 0 and self.bus.transport.connected.is_set()

    async def up(self) -> None:
        """Wait for a connection, for as long as it takes."""
        async with self._connecting:
            transport, tries = self.bus.transport, 0
            while not self.connected or self._client != transport.clients:
                try:
                    await self._connect()
                except (BusUnreachable, ConnectionDropped) as error:
                    self._away(str(error))
                    self.refusals += self._client < 0
                    await self._pause(RETRY_S[min(tries, len(RETRY_S) - 1)])
                    tries += 1
            self.away_since = None

    async def _pause(self, seconds: float) -> None:
        self._now.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._now.wait()

    def hurry(self) -> None:
        """Try to connect now: somebody waits for it."""
        self._now.set()

    async def _connect(self) -> None:
        transport = self.bus.transport
        if self._client < 0:
            await transport.connect()
        elif not await transport.ready(1.0):
            raise ConnectionDropped("the server has been away for a second")
        if self._client != transport.clients:
            self._inbox = transport.new_inbox() + "."
            await transport.subscribe(f"{self._inbox}*", self._on_answer)
            self._client = transport.clients

    async def send(self, subject: str, body: bytes, msg_id: str, heard: Callable[[Answer], None]) -> None:
        """Publish; ``heard`` is called with the answer.

        Raises `ConnectionDropped`, `UsageError` for what no server would take.
        """
        self._token = token = self._token + 1
        self._heard[token] = heard
        client = self.bus.transport.client
        try:
            await client.publish(subject, body, reply=f"{self._inbox}{token}", headers={subjects.MSG_ID: msg_id})
        except errors.MaxPayloadError:
            del self._heard[token]
            raise BodyTooLarge(f"the event on {subject}", len(body), self.bus.transport.max_payload) from None
        except (errors.OutboundBufferLimitError, errors.ConnectionClosedError, OSError) as error:
            self._heard.pop(token, None)
            raise ConnectionDropped from error
        except errors.BadSubjectError:
            self._heard.pop(token, None)
            raise UsageError(f"{subject!r} cannot be a subject") from None

    async def _on_answer(self, msg: Msg) -> None:
        heard = self._heard.pop(int(msg.subject[len(self._inbox) :]), None)
        if heard is None:
            return
        if msg.headers and "Status" in msg.headers:
            heard(Answer(error=Refusal(NO_STREAM, "nobody answers for the log")))
            return
        try:
            answer = _decode(msg.data)
        except msgspec.MsgspecError as error:
            answer = Answer(error=Refusal(0, f"an answer that cannot be read: {error}"))
        heard(answer)

    def _on_trouble(self, trouble: ConnectionDropped | NotPermitted) -> None:
        if isinstance(trouble, ConnectionDropped):
            if self._client >= 0:  # an attempt that failed tells itself why
                self._away("the connection was lost")
            self._heard.clear()
        for tell in list(self.on_break):
            tell(trouble)

    def _away(self, reason: str) -> None:
        if self.away_since is None or self.away_since == 0.0:
            self.away_since = asyncio.get_running_loop().time()
        for tell in list(self.on_away):
            tell(reason)

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(TracecraftError):
            await self.bus.close()


async def _create_streams(bus: Bus) -> None:
    await topology.ensure(bus)
