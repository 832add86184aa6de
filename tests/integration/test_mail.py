"""Messages through the SDK: stored for whoever is away, delivered until acknowledged, with honest receipts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tracecraft import AsyncSession, timeline
from tracecraft_core import subjects
from tracecraft_core.errors import BodyTooLarge, InvalidName, NotFound, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tracecraft_stack.nats_server import NatsServer

    Open = Callable[[str], Awaitable[AsyncSession]]


@pytest.fixture
async def agent(nats: NatsServer, project: str) -> AsyncIterator[Open]:
    """Opens sessions of agents: ``await agent("ann")``."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_(name: str) -> AsyncSession:
            return await stack.enter_async_context(AsyncSession(server=nats.url, project=project, agent=name))

        yield open_


async def texts(session: AsyncSession) -> list[str]:
    return [message.text for message in await session.inbox()]


async def test_a_message_carries_everything_its_sender_gave(agent: Open) -> None:
    ann, bob = await agent("ann"), await agent("bob")
    first = await ann.send("bob", "한국어\n🙂", kind="question", thread="S1", reply_to=3, data={"a": [1, None]})
    (message,) = await bob.inbox()
    assert (message.id, message.sender, message.to, message.text) == (first.id, "ann", "bob", "한국어\n🙂")
    assert (message.kind, message.thread, message.reply_to, message.data) == ("question", "S1", 3, {"a": [1, None]})
    assert message.delivered == 1


async def test_secrets_in_a_message_are_replaced_before_it_leaves_and_the_sender_is_told(agent: Open) -> None:
    key = "sk-ant-api03-" + "Zx9" * 20
    a, b = await agent("a"), await agent("b")
    sent = await a.send("b", f"use {key}", data={"password": "hunter2hunter2", "lines": [key]})
    (message,) = await b.inbox()
    assert sent.redacted == 3
    assert message.text.startswith("use [redacted:")
    assert key not in str(message.data)
    assert "hunter2" not in str(message.data)
    assert (await a.broadcast("nothing to hide")).redacted == 0


async def test_mail_to_a_name_that_nobody_has_is_stored_and_the_sender_is_told(agent: Open) -> None:
    ann = await agent("ann")
    assert (await ann.send("bob", "one")).registered is False
    assert (await ann.send("bob", "two")).registered is False
    bob = await agent("bob")
    assert await texts(bob) == ["one", "two"]
    assert (await ann.send("bob", "three")).registered is True


async def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(agent: Open) -> None:
    ann, bob = await agent("ann"), await agent("bob")
    await ann.send("bob", "one")
    await ann.send("bob", "two")
    one, two = await bob.inbox()
    await bob.ack(one)
    await bob.mail.unread(two)
    (again,) = await bob.inbox()
    assert (again.text, again.delivered) == ("two", 2)
    await bob.ack(again)
    assert await bob.inbox() == []
    assert await bob.mail.pending() == (0, 0)


async def test_a_broadcast_reaches_every_registered_agent_once_and_not_oneself(agent: Open) -> None:
    everyone = [await agent(name) for name in ("ann", "bob", "cid")]
    sent = await everyone[0].broadcast("all of you")
    assert sent.to is None
    await agent("late")
    for reader in everyone[1:]:
        (message,) = await reader.inbox()
        assert (message.text, message.sender, message.to) == ("all of you", "ann", None)
        await reader.ack(message)
        assert await reader.inbox() == []
    assert await everyone[0].inbox() == []
    assert await texts(await agent("late")) == []


async def test_the_inbox_of_one_sender_leaves_the_others_unread(agent: Open) -> None:
    ann, bob, cid = await agent("ann"), await agent("bob"), await agent("cid")
    await ann.send("cid", "from ann")
    await bob.send("cid", "from bob")
    (message,) = await cid.inbox(sender="bob")
    assert message.text == "from bob"
    await cid.ack(message)
    assert await texts(cid) == ["from ann"]


async def test_an_agent_may_write_to_itself(agent: Open) -> None:
    ann = await agent("ann")
    await ann.send("ann", "do not forget")
    assert await texts(ann) == ["do not forget"]


async def test_receipts_tell_who_has_seen_and_who_has_taken_a_message(agent: Open) -> None:
    ann, bob, cid = await agent("ann"), await agent("bob"), await agent("cid")
    await ann.send("bob", "to bob")
    await ann.broadcast("to all")
    await ann.send("cid", "never read")
    for message in await bob.inbox():
        await bob.ack(message)
    for message in await cid.inbox():
        await cid.mail.unread(message, shown=message.to is None)
    found = [(sent.message.text, sent.receipts) for sent in await ann.mail.sent()]
    assert found == [("to bob", {"bob": "acked"}), ("to all", {"bob": "acked", "cid": "fetched"}), ("never read", {})]
    assert [sent.message.text for sent in await ann.mail.sent(limit=1)] == ["never read"]
    assert await bob.mail.sent() == []


async def test_a_forged_receipt_that_cannot_be_understood_is_passed_over(agent: Open) -> None:
    ann = await agent("ann")
    await agent("bob")
    sent = await ann.send("bob", "hello")
    await ann.context.bus.publish(subjects.receipt(ann.project, "ann", "bob"), b'{"id": "no", ')
    assert [(found.message.id, found.receipts) for found in await ann.mail.sent()] == [(sent.id, {})]
    with pytest.raises(WaitTimeout):
        await ann.mail.acked(sent.id, "bob", 0.2)


async def test_waiting_for_an_acknowledgement_ends_when_it_comes(agent: Open) -> None:
    ann, bob = await agent("ann"), await agent("bob")
    waiting = asyncio.create_task(ann.send("bob", "please", wait_ack=20))
    messages = bob.messages()
    first = await anext(messages)
    assert first.text == "please"
    assert not waiting.done()
    following = asyncio.create_task(anext(messages))  # asking for the next one acknowledges the first
    assert (await asyncio.wait_for(waiting, 10)).id == first.id
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await messages.aclose()


async def test_waiting_for_an_acknowledgement_that_does_not_come_times_out_and_the_message_stays(agent: Open) -> None:
    ann, bob = await agent("ann"), await agent("bob")
    with pytest.raises(WaitTimeout, match="bob to acknowledge message"):
        await ann.send("bob", "please", wait_ack=0.2)
    assert await texts(bob) == ["please"]


async def test_a_plain_text_or_odd_body_of_a_foreign_client_is_a_message(agent: Open) -> None:
    bob = await agent("bob")
    for body in (b"plain words", b'{"text": "with text"}', b'{"no": "text"}', b'{"text": 7}', b"\xff\xfe", b"[1]"):
        await bob.context.bus.publish(subjects.message(bob.project, "bob", "node"), body)
    found = [(message.sender, message.text) for message in await bob.inbox()]
    assert found == [
        ("node", "plain words"),
        ("node", "with text"),
        ("node", '{"no": "text"}'),
        ("node", '{"text": 7}'),
        ("node", "\ufffd\ufffd"),
        ("node", "[1]"),
    ]


async def test_only_ones_own_messages_can_be_shown_by_id(agent: Open) -> None:
    ann, bob, cid = await agent("ann"), await agent("bob"), await agent("cid")
    secret = await ann.send("bob", "for bob")
    broadcast = await ann.broadcast("for all")
    value = await ann.memory.set("k", 1)
    assert (await bob.mail.show(secret.id)).text == (await ann.mail.show(secret.id)).text == "for bob"
    assert (await cid.mail.show(broadcast.id)).text == "for all"
    for session, id_ in ((cid, secret.id), (cid, 10**9), (bob, 1 if secret.id != 1 else 2)):
        with pytest.raises(NotFound, match="not yours"):
            await session.mail.show(id_)
    assert value > 0


async def test_two_projects_never_see_each_others_mail(agent: Open, nats: NatsServer, project: str) -> None:
    bob = await agent("bob")
    async with AsyncSession(server=nats.url, project=f"{project}x", agent="ann") as other:
        sent = await other.send("bob", "wrong project")
        await other.broadcast("wrong project")
        assert sent.registered is False
        assert await bob.inbox() == []
        with pytest.raises(NotFound):
            await bob.mail.show(sent.id)


async def test_wrong_names_and_large_bodies_are_refused_and_nothing_is_stored(agent: Open) -> None:
    ann = await agent("ann")
    for name in ("", "a b", "a.b", "*", ">", "x" * 65):
        with pytest.raises(InvalidName):
            await ann.send(name, "hello")
    with pytest.raises(BodyTooLarge, match="the message is"):
        await ann.send("bob", "x" * subjects.MAX_BODY_BYTES)
    assert await ann.mail.sent() == []


async def test_hundreds_of_messages_arrive_in_order(agent: Open) -> None:
    ann, bob = await agent("ann"), await agent("bob")
    for start in range(0, 600, 100):
        for number in range(start, start + 100):
            await ann.send("bob", str(number))
    assert [int(text) for text in [message.text for message in await bob.inbox(limit=1000)]] == list(range(600))


async def log(session: AsyncSession, count: int) -> list[int]:
    filter_ = timeline.subject_filter(session.project, "msg.>")
    return [int(entry.body["text"]) async for entry in timeline.last(session.context, filter_, count)]


async def test_the_newest_of_the_log_are_found_however_they_lie(agent: Open, nats: NatsServer, project: str) -> None:
    ann = await agent("ann")
    for number in range(300):
        await ann.send("bob", str(number))
    async with AsyncSession(server=nats.url, project=f"{project}x", agent="noise") as noise:
        await asyncio.gather(*(noise.memory.set("k", number) for number in range(3000)))
    for count in (0, 1, 7, 299, 300, 301, 5000):
        assert await log(ann, count) == list(range(300))[max(0, 300 - count) :]
    start = await timeline.start_of_last(ann.context.bus, [f"tc.{project}.msg.>"], 1)
    found = await ann.context.bus.next_after(subjects.LOG, f"tc.{project}.msg.>", start - 1)
    assert found is not None
    assert int(json.loads(found.data)["text"]) >= 299 - 256


async def test_the_log_since_a_sequence_or_an_age_can_be_limited(agent: Open) -> None:
    ann = await agent("ann")
    ids = [(await ann.send("bob", str(number))).id for number in range(5)]
    filter_ = timeline.subject_filter(ann.project, "msg.>")
    since = [entry.seq async for entry in timeline.since_seq(ann.context, filter_, ids[2])]
    assert since == ids[2:]
    assert [entry.seq async for entry in timeline.since_seq(ann.context, filter_, ids[1], limit=2)] == ids[1:3]
    assert [entry.seq async for entry in timeline.since_time(ann.context, filter_, 60.0)] == ids
    assert [entry.seq async for entry in timeline.since_time(ann.context, filter_, 1e15)] == ids
    await asyncio.sleep(0.3)
    assert [entry.seq async for entry in timeline.since_time(ann.context, filter_, 0.2)] == []
    assert [entry.seq async for entry in timeline.since_seq(ann.context, filter_, 10**12)] == []


async def test_following_the_log_misses_nothing_between_what_was_and_what_comes(agent: Open) -> None:
    ann = await agent("ann")
    filter_ = timeline.subject_filter(ann.project, "msg.>")
    for number in range(20):
        await ann.send("bob", str(number))
    writing = asyncio.create_task(_send(ann, range(20, 120)))
    seen: list[int] = []
    async with asyncio.timeout(20), contextlib.aclosing(timeline.last(ann.context, filter_, 5, follow=True)) as entries:
        async for entry in entries:
            seen.append(int(entry.body["text"]))
            if seen[-1] == 119:
                break
    await writing
    assert seen[0] >= 15
    assert seen == list(range(seen[0], 120))


async def _send(session: AsyncSession, numbers: range) -> None:
    for number in numbers:
        await session.send("bob", str(number))
