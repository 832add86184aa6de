"""One board for all the verbs of a session: who takes a thousand tasks does not load the list a thousand times."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from tracecraft import board as boards
from tracecraft_core import subjects
from tracecraft_core.errors import SESSION_CLOSED, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft.board import Board
    from tracecraft.context import Context

LINGER_S: Final = 30.0
"""Seconds for which a board is kept up to date after its last use."""

CATCH_UP_S: Final = 2.0
"""Seconds after which a board that does not hear what is stored is given up for a new one."""


class SharedBoard:
    """A board of the whole project, opened at its first use and closed when it has not been used for a while."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: contextlib.AsyncExitStack | None = None
        self._board: Board | None = None
        self._users = 0
        self._lock = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Board]:
        """A view of the board that shows everything stored before this call."""
        self._users += 1
        if self._closing is not None:
            self._closing.cancel()
        try:
            async with self._lock:
                board = await self._current()
            with board.view() as view:
                yield view
        finally:
            self._users -= 1
            if not self._users:
                self._closing = asyncio.create_task(self._close_later())

    async def close(self) -> None:
        """Stop watching; who still waits on the board is told that the session is closed."""
        if self._board is not None:
            self._board.touch(UsageError(SESSION_CLOSED))
        if self._closing is not None:
            await boards.stop(self._closing)
        await self._drop()

    async def _current(self) -> Board:
        if self._board is not None and await self._caught_up(self._board):
            return self._board
        await self._drop()
        async with contextlib.AsyncExitStack() as stack:
            board = self._board = await stack.enter_async_context(boards.watch(self._context, [">"]))
            self._open = stack.pop_all()
        return board

    async def _caught_up(self, board: Board) -> bool:
        """Whether the board has heard all there is now: what this agent has just written must be on it."""
        try:
            async with asyncio.timeout(CATCH_UP_S):
                await asyncio.gather(*(self._hear(board, bucket) for bucket in (subjects.TASKS, subjects.LEASES)))
        except TimeoutError:
            return False
        return board.failure is None

    async def _hear(self, board: Board, bucket: str) -> None:
        newest = await self._context.bus.leader_get(*self._context.kv(bucket, ">"))
        with board.view() as view:
            while newest is not None and view.failure is None and view.heard.get(bucket, 0) < newest.seq:
                await view.changed.wait()
                view.changed.clear()

    async def _close_later(self) -> None:
        await asyncio.sleep(LINGER_S)
        await self._drop()

    async def _drop(self) -> None:
        opened, self._open, self._board = self._open, None, None
        if opened is not None:
            await opened.aclose()
