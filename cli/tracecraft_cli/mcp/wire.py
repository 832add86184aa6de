"""`Wire`: standard input and output for the protocol alone, and the moment at which the client is gone.

Whatever else in this process, or a child of it, reads standard input finds nothing there, and what it prints goes to
standard error: one stray line would end the conversation. Lines are read by a thread of our own, which does not keep
the process from ending.
"""

# ruff: noqa: TID253 - the server imports this module when it runs

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK: Final = 64 * 1024
"""Bytes of one read."""


class Wire:
    """The client's end: lines to iterate over, and `write`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._in, self._out = _divert(0, os.O_RDONLY), _divert(1, None)
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.ended = asyncio.Event()
        """Set when the client has closed our standard input, or wants us to end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(number, self.ended.set)
        threading.Thread(target=self._read, name="tracecraft-mcp-stdin", daemon=True).start()

    def __aiter__(self) -> AsyncIterator[str]:
        return self._each()

    async def _each(self) -> AsyncIterator[str]:
        while (line := await self._lines.get()) is not None:
            yield line

    async def write(self, text: str) -> None:
        """Send a whole line; a client that is gone hears nothing, and that is noticed elsewhere."""
        await asyncio.to_thread(self._send, text.encode())

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError:
            self._loop.call_soon_threadsafe(self.ended.set)

    def _read(self) -> None:
        decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
        while data := _some(self._in):
            *lines, rest = (rest + decoder.decode(data)).split("\n")
            for line in lines:
                self._tell(line)
        if rest.strip():
            self._tell(rest)
        self._tell(None)

    def _tell(self, line: str | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, line)
        except RuntimeError:
            return  # the loop is closed: nobody listens any more

    def _take(self, line: str | None) -> None:
        if line is None:
            self._lines.put_nowait(None)
            self.ended.set()
        elif line.strip():
            self._lines.put_nowait(line)


def _some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, CHUNK)
    except OSError:
        return b""


def _divert(descriptor: int, flags: int | None) -> int:
    """A private copy of a standard descriptor, which itself then leads nowhere (or, for output, to standard error)."""
    private = os.dup(descriptor)
    os.set_inheritable(private, False)
    if flags is None:
        os.dup2(2, descriptor)
    else:
        nowhere = os.open(os.devnull, flags)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return private
