"""The socket that the hooks of a session knock at: of this user only, bounded in number, size and time."""

# ruff: noqa: TID253 - a program of its own: the command line does not import it

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.sidecar import event as events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracecraft_cli.sidecar.event import Event

MAX_PATH_BYTES: Final = 100
"""Of a socket's path: the system allows 108 on Linux, 104 on macOS."""

MAX_KNOCKS: Final = 64
"""Hooks that are served at once; more are sent away, and go on without an answer."""

IDLE_S: Final = 5.0
"""Seconds that a caller may take for its next word."""

_DELIVERED: Final = b"k"


class Reply:
    """What goes back to a hook; ``concluded`` is told whether the hook has printed it."""

    __slots__ = ("concluded", "text")

    def __init__(self, text: str, concluded: Callable[[bool], None] | None = None) -> None:
        self.text, self.concluded = text, concluded


class Door:
    """Listens on a unix socket until it is closed."""

    def __init__(self, path: str, answer: Callable[[Event], Awaitable[Reply]]) -> None:
        self.path, self._answer = path, answer
        self._server: asyncio.Server | None = None
        self._guests: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Begin to listen. Raises ``OSError``."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.bind(self.path)
        os.chmod(self.path, 0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=line, limit=events.MAX_BYTES, backlog=128)

    async def close(self) -> None:
        """Serve nobody any more; who is being served hears the rest."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if self._guests:
            await asyncio.wait(self._guests, timeout=1.0)
        for guest in list(self._guests):
            guest.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._guests.add(task)
        try:
            if len(self._guests) <= MAX_KNOCKS and is_same_user(writer.get_extra_info("socket")):
                await self._converse(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the hook has gone on without us
        finally:
            self._guests.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(IDLE_S):
            event = events.decode(await reader.readline())
        if event is None:
            return
        reply = await self._answer(event)
        said = b""
        try:
            writer.write(reply.text.encode() + b"\n")
            async with asyncio.timeout(IDLE_S):
                await writer.drain()
                said = await reader.read(1)
        finally:
            if reply.concluded is not None:
                reply.concluded(said == _DELIVERED)


def is_same_user(line: socket.socket) -> bool:
    """Whether the caller is this user; where the system does not say, the closed folder around the socket decides."""
    uid = _uid_of(line)
    return uid is None or uid == os.getuid()


def _uid_of(line: socket.socket) -> int | None:
    if sys.platform == "linux":
        _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(uid)
    if sys.platform == "darwin":  # LOCAL_PEERCRED gives a struct xucred: its version, the user, groups
        _, uid = struct.unpack_from("II", line.getsockopt(0, 1, 76))
        return int(uid)
    return None
