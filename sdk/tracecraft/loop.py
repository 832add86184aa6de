"""The one background event loop on which all blocking sessions of a process run."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

_T = TypeVar("_T")

LISTEN_S: Final = 0.02
"""Seconds between two looks of a loop that no other thread can wake."""


class BackgroundLoop:
    """An event loop on a daemon thread."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        if deaf():
            self._loop.call_soon(self._listen)
        self._thread = threading.Thread(target=self._loop.run_forever, name="tracecraft", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        """Wake up now and then: what others have asked for meanwhile is done at every turn of the loop."""
        self._loop.call_later(LISTEN_S, self._listen)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the loop and return its result, from any thread but the loop's own.

        An interrupt (Ctrl-C) in the waiting thread cancels the coroutine. Raises `UsageError` in a forked child: the
        loop's thread exists in the parent only.
        """
        try:
            self.check()
        except UsageError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Start a coroutine on the loop and go on; from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, function: Callable[[], object]) -> None:
        """Call a plain function on the loop, soon; from any thread."""
        self._loop.call_soon_threadsafe(function)

    def check(self) -> None:
        """Raise `UsageError` where `run` cannot work."""
        if sys.is_finalizing():  # the loop's thread stands still already: nothing would ever answer
            raise UsageError("the interpreter is shutting down: close the session before the program ends")
        if os.getpid() != self._pid:
            raise UsageError(
                "this session was opened in another process: a forked child opens its own with tracecraft.connect()"
            )
        if threading.current_thread() is self._thread:
            raise UsageError("a blocking session cannot be used on tracecraft's own loop: use AsyncSession there")

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a plain function on the loop."""

        async def work() -> _T:
            return function()

        return self.run(work())


@functools.cache
def deaf() -> bool:
    """Whether threads cannot wake each other's loops: asyncio sends a byte for it, which Codex's sandbox refuses."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            ours.send(b"x")
        except OSError:
            return True
    return False


async def result_of(future: Future[_T]) -> _T:
    """The result of what runs on another loop; cancelling this cancels that."""
    if not deaf():
        return await asyncio.wrap_future(future)
    try:
        while not future.done():  # noqa: ASYNC110  # nothing could wake us
            await asyncio.sleep(LISTEN_S)
    except asyncio.CancelledError:
        future.cancel()
        raise
    return future.result()


async def in_thread(function: Callable[..., _T], *arguments: object) -> _T:
    """`asyncio.to_thread`, where a thread can wake the caller's loop and where it cannot."""
    if not deaf():
        return await asyncio.to_thread(function, *arguments)
    pool = ThreadPoolExecutor(1)  # not the loop's own, for whose end asyncio.run would wait without hearing of it
    try:
        return await result_of(pool.submit(copy_context().run, functools.partial(function, *arguments)))
    finally:
        pool.shutdown(wait=False)


_current: BackgroundLoop | None = None
_lock = threading.Lock()


def background() -> BackgroundLoop:
    """The process's loop, started at first use; a forked child gets its own."""
    global _current
    with _lock:
        if _current is None or _current._pid != os.getpid():
            _current = BackgroundLoop()
        return _current


def _forget_after_fork() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
