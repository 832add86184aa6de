"""The background loop of blocking sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tracecraft.loop import BackgroundLoop, background
from tracecraft.portal import Portal
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def loop() -> BackgroundLoop:
    return background()


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_all_threads_of_a_process_share_one_loop(loop: BackgroundLoop) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: background(), range(50))) == {loop}


def test_many_threads_run_their_coroutines_at_once(loop: BackgroundLoop) -> None:
    together = asyncio.Barrier(10)

    async def meet() -> int:
        async with asyncio.timeout(5):
            return await together.wait()

    with ThreadPoolExecutor(10) as threads:
        assert sorted(threads.map(lambda _: loop.run(meet()), range(10))) == list(range(10))


def test_an_exception_of_the_coroutine_reaches_the_caller(loop: BackgroundLoop) -> None:
    async def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        loop.run(fail())


def test_a_coroutine_that_calls_back_into_the_loop_is_refused_instead_of_hanging(loop: BackgroundLoop) -> None:
    async def call_back() -> int:
        return loop.run(double(1))

    with pytest.raises(UsageError, match="use AsyncSession there"):
        loop.run(call_back())


def test_a_forked_child_is_refused_and_gets_a_loop_of_its_own(loop: BackgroundLoop) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # a child that hangs must not outlive the test
        answer = "no error"
        try:
            loop.run(double(1))
        except UsageError as error:
            answer = f"{error} {background().run(double(21))}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    assert "a forked child opens its own with tracecraft.connect()" in answer
    assert answer.endswith(" 42")


def test_of_many_threads_that_use_a_session_first_one_opens_it(loop: BackgroundLoop) -> None:
    opened = []

    async def open_() -> None:
        await asyncio.sleep(0.05)
        opened.append(1)

    portal = Portal(loop, open_)
    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(lambda number: portal.run(double(number)), range(10))) == [2 * n for n in range(10)]
    assert opened == [1]


def test_a_session_that_could_not_be_opened_is_opened_by_the_next_verb(loop: BackgroundLoop) -> None:
    failures = [ConnectionError("away")]

    async def open_() -> None:
        if failures:
            raise failures.pop()

    portal = Portal(loop, open_)
    with pytest.raises(ConnectionError):
        portal.run(double(1))
    assert portal.run(double(1)) == 2


def test_leaving_a_loop_over_an_iterator_closes_it(loop: BackgroundLoop) -> None:
    closed = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(1000):
                yield number
        finally:
            closed.set()

    async def nothing() -> None:
        return

    with contextlib.closing(Portal(loop, nothing).iterate(count())) as numbers:
        assert [next(numbers), next(numbers)] == [0, 1]
        assert not closed.is_set()
    assert closed.is_set()
