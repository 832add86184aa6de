"""A session that is closed: every verb says so, at once, and nothing waits for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

import tracecraft
from tracecraft import (
    AsyncSession,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_stack.nats_server import NatsServer

CLOSED = "this session is closed: open another one"


async def test_every_verb_of_a_closed_session_is_refused(nats: NatsServer, project: str) -> None:
    session = AsyncSession(server=nats.url, project=project, agent="alice")
    async with session:
        await session.send("alice", "hello")
        message = (await session.inbox())[0]
        claim = session.claim("T")
    await session.close()
    verbs = [
        session.send("bob", "x"),
        session.broadcast("x"),
        session.inbox(),
        session.ack(message),
        anext(session.messages()),
        session.agents(),
        session.wait_for("T"),
        session.wait_for(or_message=True),
        claim.acquire(),
        session.memory.set("k", 1),
        session.memory.get("k"),
        session.memory.incr("k"),
        anext(session.memory.watch(">")),
        session.tasks.list(),
        session.tasks.add("U"),
        session.mail.pending(),
    ]
    async with asyncio.timeout(5):
        for verb in verbs:
            with pytest.raises(UsageError, match=CLOSED):
                await verb
    with pytest.raises(UsageError, match=CLOSED):
        session.claim("T")
    with pytest.raises(UsageError, match=CLOSED):
        session.claim_next()


@pytest.mark.parametrize("opened", [True, False])
def test_every_verb_of_a_closed_blocking_session_is_refused_until_it_is_opened_again(
    nats: NatsServer, project: str, opened: bool
) -> None:
    session = tracecraft.Session(server=nats.url, project=project, agent="alice")
    if opened:
        session.memory.set("k", 1)
    session.close()
    verbs: list[Callable[[], object]] = [
        lambda: session.memory.get("k"),
        lambda: session.send("bob", "x"),
        lambda: session.claim("T"),
        session.claim_next,
        session.tasks.list,
        lambda: next(iter(session.messages())),
        session.agents,
    ]
    for use in verbs:
        with pytest.raises(UsageError, match=CLOSED):
            use()
    with session.open():
        with session.claim("T"):
            assert session.agents()[0].tasks == ("T",)
        assert [agent.name for agent in session.agents()] == ["alice"]


async def test_verbs_under_way_end_when_the_session_is_closed(nats: NatsServer, project: str) -> None:
    session = await AsyncSession(server=nats.url, project=project, agent="alice").open()
    await session.tasks.add("B", after=["A"])
    waits = [
        asyncio.create_task(session.wait_for("A")),
        asyncio.create_task(session.claim("B", wait=60).acquire()),
        asyncio.create_task(session.claim_next("B", wait=60).acquire()),
    ]
    await asyncio.sleep(0.5)
    await session.close()
    async with asyncio.timeout(20):
        for outcome in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(outcome, UsageError), outcome
            assert CLOSED in str(outcome)


def test_leaving_a_session_by_an_exception_does_not_wait_for_a_claim_of_another_task(
    nats: NatsServer, project: str
) -> None:
    holders: list[asyncio.Task[None]] = []

    async def hold(session: AsyncSession) -> None:
        async with session.claim("T"):
            await asyncio.sleep(60)

    async def main() -> None:
        async with AsyncSession(server=nats.url, project=project, agent="alice") as session:
            holders.append(asyncio.create_task(hold(session)))
            await asyncio.sleep(0.3)
            raise RuntimeError("mine")

    started = time.monotonic()
    with pytest.raises(RuntimeError, match="mine"):
        asyncio.run(main())
    assert time.monotonic() - started < 4
    assert holders[0].cancelled()
