"""A door before a server: shut, its address refuses connections as if no server ran; open, it lets through."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType


class Gate:
    """``with Gate(nats.url) as gate``: shut at first; clients connect to ``gate.url``. For code without a loop."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._target = (parts.hostname, parts.port)
        self._port = free_port()
        user = f"{parts.username}@" if parts.username else ""
        self.url = f"nats://{user}127.0.0.1:{self._port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Let through from now on."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def shut(self) -> None:
        """Break what has come through, and refuse from now on."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _shut(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in list(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there = await asyncio.open_connection(*self._target)
            try:
                ways = {
                    asyncio.ensure_future(_carry(reader, there[1])),
                    asyncio.ensure_future(_carry(there[0], writer)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
            finally:
                there[1].transport.abort()
        writer.transport.abort()
        self._passing.discard(task)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
