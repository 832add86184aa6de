"""A TCP proxy between a NATS client and its server that loses replies, loses writes, or falls silent.

It reads the client's side of the protocol, so a cut falls at a chosen request and nowhere else: the write is with the
server and carried out, and the reply that the proxy has already seen never reaches the client.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

Loses = Literal["reply", "write"]


@dataclass(slots=True)
class Cut:
    """Break the connection at the request with this number, counted from 0 since `Proxy.arm`."""

    at: int
    loses: Loses
    times: int = 1
    """How many requests in a row are hit."""
    seen: list[str] = field(default_factory=list)
    """Subjects of the requests that came by since then."""
    hits: list[str] = field(default_factory=list)
    """Subjects of the requests that were hit."""


class Proxy:
    """``async with Proxy(nats.url) as proxy``: clients connect to ``proxy.url``."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._user = f"{parts.username}@" if parts.username else ""
        self._cut: Cut | None = None
        self._counts: Callable[[str], bool] = _is_request
        self._silent = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.delay = 0.0
        """Seconds by which everything that the server says is late."""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where clients connect, with the token of the server."""
        return f"nats://{self._user}127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def arm(
        self, at: int, loses: Loses = "reply", *, times: int = 1, counts: Callable[[str], bool] | None = None
    ) -> Cut:
        """Cut at a request from now on; ``counts`` chooses by subject which requests count."""
        self._cut, self._counts = Cut(at, loses, times), counts or _is_request
        return self._cut

    def swallow(self) -> None:
        """From now on both directions vanish without a trace, on connections that stay open, and on new ones."""
        self._silent.set()

    def heal(self) -> None:
        """No more tricks."""
        self._silent.clear()
        self._cut = None
        self.delay = 0.0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._connection(reader, writer)
        self._tasks.discard(task)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            raise
        replied = asyncio.Event()
        muted = asyncio.Event()
        down = asyncio.create_task(self._downstream(up_reader, writer, muted, replied))
        try:
            await self._upstream(reader, up_writer, muted, replied, down)
        finally:
            down.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await down
            writer.transport.abort()
            up_writer.transport.abort()

    async def _upstream(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        muted: asyncio.Event,
        replied: asyncio.Event,
        down: asyncio.Task[None],
    ) -> None:
        while True:
            frame = asyncio.create_task(_frame(reader))
            await asyncio.wait({frame, down}, return_when=asyncio.FIRST_COMPLETED)
            if not frame.done():
                frame.cancel()
                return
            subject, raw = frame.result()
            if self._silent.is_set():
                continue
            hit = subject is not None and self._hits(subject)
            if hit and self._cut is not None and self._cut.loses == "write":
                return
            if hit:
                muted.set()
            server.write(raw)
            await server.drain()
            if hit:
                async with asyncio.timeout(5):
                    await replied.wait()
                return

    def _hits(self, subject: str) -> bool:
        cut = self._cut
        if cut is None or not self._counts(subject):
            return False
        place = len(cut.seen)
        cut.seen.append(subject)
        if cut.at <= place < cut.at + cut.times:
            cut.hits.append(subject)
            return True
        return False

    async def _downstream(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, muted: asyncio.Event, replied: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if self.delay:
                await asyncio.sleep(self.delay)
            if muted.is_set():
                if b"MSG " in data:
                    replied.set()
                continue
            if not self._silent.is_set():
                client.write(data)
                await client.drain()


def _is_request(subject: str) -> bool:
    """A request of ours: all of them but the pull requests, which are asked again and are no decision."""
    return ".CONSUMER.MSG.NEXT." not in subject


async def _frame(reader: asyncio.StreamReader) -> tuple[str | None, bytes]:
    """One operation of the client's protocol, with the subject if it publishes."""
    line = await reader.readline()
    if not line:
        raise asyncio.IncompleteReadError(line, None)
    words = line.split()
    if words[:1] not in ([b"PUB"], [b"HPUB"]):
        return None, line
    return words[1].decode(), line + await reader.readexactly(int(words[-1]) + 2)
