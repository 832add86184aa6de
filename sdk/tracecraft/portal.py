"""The way from a blocking caller's thread onto the background loop; the connection is opened at its first use."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from tracecraft_core.errors import SESSION_CLOSED, TracecraftError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    from tracecraft.loop import BackgroundLoop

_T = TypeVar("_T")


class Portal:
    """Runs the coroutines of one session, from any thread."""

    def __init__(self, loop: BackgroundLoop, open_: Callable[[], Awaitable[object]]) -> None:
        self._loop, self._open = loop, open_
        self._opened = self._closed = False
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a verb and return its result; opens the session before the first one.

        Raises `UsageError` when the session was closed: only `open` opens it again.
        """
        try:
            self._ensure_open(again=False)
        except BaseException:
            work.close()
            raise
        return self._loop.run(work)

    def open(self) -> None:
        """Open the session unless it is open, also one that was closed."""
        self._ensure_open(again=True)

    def _ensure_open(self, *, again: bool) -> None:
        """Of several threads one opens the session and the others wait."""
        self._loop.check()  # before the lock: in a forked child nobody would ever release it
        with self._lock:
            if self._closed and not again:
                raise UsageError(SESSION_CLOSED)
            if not self._opened:
                self._loop.run(self._opening())
                self._opened, self._closed = True, False

    async def _opening(self) -> None:
        await self._open()

    def close(self, close: Coroutine[Any, Any, None]) -> None:
        """Close the session, opened or not."""
        try:
            self._loop.check()
        except BaseException:
            close.close()
            raise
        with self._lock:
            self._opened, self._closed = False, True
            self._loop.run(close)

    def iterate(self, source: AsyncIterator[_T]) -> Generator[_T]:
        """The items of an asynchronous iterator, which is closed with the loop over them."""
        try:
            while True:
                try:
                    yield self.run(_next(source))
                except StopAsyncIteration:
                    return
        finally:
            with contextlib.suppress(TracecraftError, RuntimeError):
                self._loop.run(_close(source))


async def _next(source: AsyncIterator[_T]) -> _T:
    return await anext(source)


async def _close(source: AsyncIterator[Any]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
