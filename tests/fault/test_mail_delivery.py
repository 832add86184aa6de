"""Mail reaches agents that are away, comes again to readers that died, and reaches everybody once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tracecraft import AsyncSession, NotFound, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture
async def session(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="sender") as session:
        yield session


async def test_a_message_to_an_agent_that_has_never_been_here_waits_for_it(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    first = await session.send("reader", "before you came")
    assert not first.registered
    with Program("fetcher", nats.url, project, "reader") as reader:
        reader.hear("ready")
        assert (await session.send("reader", "while you are here")).registered
        reader.say("fetch")
        assert reader.hear("fetched")["texts"] == ["before you came", "while you are here"]
        reader.say("ack")
        assert reader.hear("acked")["all"]
    sent = await session.mail.sent()
    assert [message.receipts for message in sent] == [{"reader": "acked"}, {"reader": "acked"}]
    await session.send("reader", "while you were away")
    with Program("fetcher", nats.url, project, "reader") as reader:
        reader.hear("ready")
        reader.say("fetch")
        assert reader.hear("fetched")["texts"] == ["while you were away"]


async def test_mail_that_a_killed_reader_had_fetched_comes_again(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    await session.send("reader", "do not lose me")
    with Program("fetcher", nats.url, project, "reader") as reader:
        reader.hear("ready")
        reader.say("fetch")
        assert reader.hear("fetched")["texts"] == ["do not lose me"]
        reader.kill()
    with Program("listener", nats.url, project, "reader", "mail") as reader:
        reader.hear("ready")
        assert reader.hear("message", 10)["text"] == "do not lose me"


async def test_a_broadcast_reaches_every_registered_agent_once_and_not_its_sender(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    names = [f"agent{number}" for number in range(5)]
    for name in names[:4]:
        async with AsyncSession(server=nats.url, project=project, agent=name):
            pass  # registered, and away again
    await session.broadcast("to all")
    texts = {}
    for name in names:
        async with AsyncSession(server=nats.url, project=project, agent=name) as agent:
            texts[name] = [(message.text, message.to) for message in await agent.inbox()]
            for _ in range(2):
                texts[name] += [(message.text, message.to) for message in await agent.inbox()]
    assert texts == {name: [("to all", None)] for name in names[:4]} | {"agent4": []}
    assert await session.inbox() == []


async def test_a_busy_reader_gets_no_message_twice_and_keeps_none_from_another_reader(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    async with (
        AsyncSession(server=nats.url, project=project, agent="reader") as busy,
        AsyncSession(server=nats.url, project=project, agent="reader") as idle,
    ):
        await session.send("reader", "first")
        await session.send("reader", "second")
        slow, quick = busy.messages(), idle.messages()
        assert (await anext(slow)).text == "first"
        async with asyncio.timeout(3):
            assert (await anext(quick)).text == "second"
        await asyncio.sleep(6)  # longer than the server waits for an acknowledgement
        following = [asyncio.create_task(_next(source)) for source in (slow, quick)]
        await session.send("reader", "third")
        done, waiting = await asyncio.wait(following, timeout=3, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == ["third"]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await slow.aclose()
        await quick.aclose()


async def _next(source: AsyncIterator[object]) -> str:
    return str(getattr(await anext(source), "text"))  # noqa: B009


async def test_waiting_for_mail_is_not_ended_by_ones_own_broadcast(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    await session.broadcast("who takes S1?")
    with pytest.raises(WaitTimeout):
        await session.wait_for(or_message=True, timeout=0.3)
    with Program("waiter", nats.url, project, "reader", "message", "-", 20) as reader:
        reader.hear("waiting")
        await session.send("reader", "I do")
        assert reader.hear("woken", 5)["reason"] == "message"


async def test_a_receipt_that_cannot_be_understood_hides_no_other(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    async with AsyncSession(server=nats.url, project=project, agent="reader") as reader:
        await session.send("reader", "hello")
        await session.context.bus.publish(f"tc.{project}.receipt.sender.reader", b"[not a receipt")
        for message in await reader.inbox():
            await reader.ack(message)
    assert [sent.receipts for sent in await session.mail.sent()] == [{"reader": "acked"}]


async def test_a_mailbox_that_was_deleted_is_opened_again(session: AsyncSession, project: str) -> None:
    await session.inbox()
    await session.context.bus.api(f"CONSUMER.DELETE.TC_LOG.inbox={project}=sender")
    assert await session.inbox() == []
    async with AsyncSession(resolved=session.settings, session="other") as other:
        await other.send("sender", "to myself")
    assert [message.text for message in await session.inbox()] == ["to myself"]


async def test_a_sender_that_is_late_does_not_take_a_registration_back(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    from tracecraft.mail import create_mailbox

    async with AsyncSession(server=nats.url, project=project, agent="reader"):
        pass
    await create_mailbox(session.context, "reader", registered=False)  # it had looked before the agent came
    assert (await session.send("reader", "hello")).registered


async def test_two_projects_on_one_server_never_see_each_other(nats: NatsServer, project: str) -> None:
    here = AsyncSession(server=nats.url, project=project, agent="twin")
    there = AsyncSession(server=nats.url, project=f"{project}-other", agent="twin")
    async with here, there, AsyncSession(server=nats.url, project=project, agent="friend") as friend:
        changes = asyncio.Queue[str]()
        watching = asyncio.create_task(_watch(there, changes))
        waiting = asyncio.create_task(there.wait_for("T", timeout=30))
        mail = asyncio.create_task(there.wait_for(or_message=True, timeout=30))
        await there.tasks.add("T")
        await there.tasks.add("mine")
        await here.memory.set("key", "of here")
        await there.memory.set("ready", True)
        async with asyncio.timeout(5):
            assert await changes.get() == "ready"
        await friend.send("twin", "hello")
        await friend.broadcast("hello all")
        async with here.claim("T"):
            assert [task.id for task in await there.tasks.list()] == ["T", "mine"]
            assert {agent.name for agent in await there.agents(all_=True)} == {"twin"}
            async with there.claim("T") as claim:  # a task of the same name, free there
                assert claim.record.took_over_from is None
                await claim.release()
        with pytest.raises(NotFound):
            async with here.claim_next("mine"):
                raise AssertionError("a task of another project")
        assert [message.text for message in await here.inbox()] == ["hello", "hello all"]
        assert await there.inbox() == []
        assert await there.mail.pending() == (0, 0)
        assert await there.memory.get("key") is None
        assert [entry.key for entry in await there.memory.list()] == ["ready"]
        assert changes.empty()
        assert not waiting.done()
        assert not mail.done()
        for task in (watching, waiting, mail):
            task.cancel()
        await asyncio.gather(watching, waiting, mail, return_exceptions=True)


async def _watch(session: AsyncSession, changes: asyncio.Queue[str]) -> None:
    async for entry in session.memory.watch(">", initial=True):
        changes.put_nowait(entry.key)
