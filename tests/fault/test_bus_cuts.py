"""A reply that is lost, a write that is lost, a server that falls silent: nothing happens twice, nothing is denied.

Each test cuts the connection at the first request of an operation, then at the second, and so on, until the operation
gets by without meeting the cut: every write and every read in it has then lost its reply once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.proxy import Proxy
from tracecraft import AsyncSession, BusUnreachable, ClaimLost, OutcomeUnknown, TaskHeld
from tracecraft_core import subjects
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.proxy import Cut, Loses
    from tracecraft_stack.nats_server import NatsServer

MOST_REQUESTS = 12
"""More than any operation here makes."""

LOSSES = pytest.mark.parametrize("loses", ["reply", "write"])
REPEATED = pytest.mark.parametrize("times", [1, 2])


@pytest.fixture
async def proxy(nats: NatsServer) -> AsyncIterator[Proxy]:
    async with Proxy(nats.url) as proxy:
        yield proxy


@pytest.fixture
async def direct(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    """An agent whose connection nobody touches."""
    async with AsyncSession(server=nats.url, project=project, agent="observer") as session:
        yield session


@pytest.fixture
async def cut_off(proxy: Proxy, direct: AsyncSession) -> AsyncIterator[AsyncSession]:
    """An agent behind the proxy; it writes no presence, so that its requests are those of the test."""
    async with AsyncSession(server=proxy.url, project=direct.project, agent="alice", mode="oneshot") as session:
        yield session


async def at_every_request(
    proxy: Proxy, loses: Loses, times: int, operation: Callable[[int, Cut], Awaitable[None]]
) -> int:
    """Run an operation with a cut at each of its requests in turn; tells how many there were."""
    for at in range(MOST_REQUESTS):
        cut = proxy.arm(at, loses, times=times)
        await operation(at, cut)
        proxy.heal()
        if not cut.hits:
            assert at > 0, "the operation makes no requests"
            return at
        assert len(cut.hits) == times or at + times > len(cut.seen)
    raise AssertionError(f"still cut at request {MOST_REQUESTS}: {cut.seen}")


@LOSSES
@REPEATED
async def test_a_claim_that_loses_a_reply_has_one_owner_who_knows_it(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses, times: int
) -> None:
    async def claim(at: int, _: Cut) -> None:
        task = f"T{at}"
        async with cut_off.claim(task) as mine:
            found = await direct.tasks.show(task)
            assert found is not None
            assert (found.revision, found.record.owner, found.record.attempt) == (mine.fence, "alice", 1)
            with pytest.raises(TaskHeld, match="alice"):
                async with direct.claim(task):
                    raise AssertionError("two owners")
        found = await direct.tasks.show(task)
        assert found is not None
        assert (found.record.state, found.record.attempt) == ("done", 1)
        async with direct.claim(f"{task}.next"):  # a lease left over would be in the way of nobody else's task
            pass

    assert await at_every_request(proxy, loses, times, claim) >= 6  # 2 reads, 2 writes, the outcome, the lease


@LOSSES
async def test_of_two_that_race_while_one_loses_replies_exactly_one_gets_the_task(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    async def one(session: AsyncSession, task: str, owners: list[str]) -> None:
        try:
            async with session.claim(task):
                owners.append(session.agent)
                await everybody_tried.wait()
        except TaskHeld:
            pass

    for at in range(4):
        everybody_tried, owners = asyncio.Event(), list[str]()
        proxy.arm(at, loses)
        racing = [asyncio.create_task(one(session, f"R{at}", owners)) for session in (cut_off, direct)]
        await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)  # the loser
        everybody_tried.set()
        await asyncio.gather(*racing)
        proxy.heal()
        found = await direct.tasks.show(f"R{at}")
        assert found is not None
        assert owners == [found.record.owner]
        assert found.record.attempt == 1


@LOSSES
async def test_a_renewal_that_loses_its_reply_is_not_taken_for_a_lost_lease(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    async with cut_off.claim("T", lease=3) as mine:
        for _ in range(2):
            before = await direct.context.bus.leader_get(*direct.context.kv(subjects.LEASES, "T"))
            proxy.arm(0, loses, counts=lambda subject: subject.startswith("$KV.tc_leases."))
            async with asyncio.timeout(5):
                while True:
                    now = await direct.context.bus.leader_get(*direct.context.kv(subjects.LEASES, "T"))
                    if before and now and now.seq > before.seq:
                        break
                    await asyncio.sleep(0.02)
        mine.check()
        proxy.heal()
        await mine.complete()


@LOSSES
async def test_a_completion_that_loses_its_reply_is_written_once_and_succeeds(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    async def complete(at: int, cut: Cut) -> None:
        proxy.heal()
        async with cut_off.claim(f"T{at}") as mine:
            again = proxy.arm(at, loses)
            await mine.complete("finished")
            cut.hits += again.hits
            cut.seen += again.seen
        found = await direct.tasks.show(f"T{at}")
        assert found is not None
        assert found.record.handoff is not None
        assert (found.record.state, found.record.handoff.note) == ("done", "finished")
        changes = await direct.context.bus.list_subjects(*direct.context.kv(subjects.TASKS, f"T{at}"))
        assert list(changes.values()) == [2]  # claimed and done

    assert await at_every_request(proxy, loses, 1, complete) >= 2


@LOSSES
@REPEATED
async def test_an_increment_that_loses_its_reply_counts_once(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses, times: int
) -> None:
    wanted = 0

    async def increment(_: int, __: Cut) -> None:
        nonlocal wanted
        wanted += 1
        assert await cut_off.memory.incr("n") == wanted
        assert await direct.memory.get("n") == wanted

    assert await at_every_request(proxy, loses, times, increment) == 2
    assert len(await direct.memory.history("n")) == wanted


@LOSSES
async def test_increments_of_others_in_between_are_neither_lost_nor_doubled(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    async def steady() -> None:
        for _ in range(100):
            await direct.memory.incr("n")

    others = asyncio.create_task(steady())
    mine = 0
    for at in range(3):
        proxy.arm(at, loses)
        for _ in range(3):
            await cut_off.memory.incr("n")
            mine += 1
        proxy.heal()
    await others
    assert await direct.memory.get("n") == 100 + mine


@LOSSES
async def test_a_compare_and_set_that_loses_its_reply_tells_the_truth(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    revision = await direct.memory.set("key", 0)

    async def swap(at: int, _: Cut) -> None:
        nonlocal revision
        revision = await cut_off.memory.set("key", at + 1, if_revision=revision)
        entry = await direct.memory.entry("key")
        assert entry is not None
        assert (entry.value, entry.revision) == (at + 1, revision)

    assert await at_every_request(proxy, loses, 1, swap) == 1


@LOSSES
async def test_a_message_that_loses_its_reply_arrives_once(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    texts = []

    async def send(at: int, _: Cut) -> None:
        cut_off.mail._mailboxes.clear()  # look the mailbox up again: that request is cut too
        texts.append(f"message {at}")
        sent = await cut_off.send("observer", texts[-1])
        assert (await direct.mail.show(sent.id)).text == texts[-1]

    await at_every_request(proxy, loses, 1, send)
    assert [message.text for message in await direct.inbox()] == texts


@LOSSES
async def test_reading_the_inbox_over_lost_connections_loses_no_message(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    await cut_off.inbox()
    for number in range(3):
        await direct.send("alice", str(number))
    seen = set()
    for at in range(4):
        proxy.arm(at, loses, counts=lambda _: True)
        for message in await cut_off.inbox():
            seen.add(message.text)
            await cut_off.ack(message)
        proxy.heal()
    async with asyncio.timeout(12):
        while await direct_pending(cut_off) != (0, 0):
            for message in await cut_off.inbox():
                seen.add(message.text)
                await cut_off.ack(message)
            await asyncio.sleep(0.2)
    assert seen == {"0", "1", "2"}


async def direct_pending(session: AsyncSession) -> tuple[int, int]:
    return await session.mail.pending()


@LOSSES
async def test_a_burst_of_publishes_over_a_cut_is_complete_and_without_doubles(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession, loses: Loses
) -> None:
    subject = f"tc.{direct.project}.run.r1.alice.log"
    bus = cut_off.context.bus
    for at in range(5):
        proxy.arm(at, loses)
        await asyncio.gather(*(bus.publish(subject, f"{at}-{number}".encode()) for number in range(10)))
        proxy.heal()
    async with Puller(direct.context.bus, subjects.LOG, watcher_config([subject], "all")) as puller:
        bodies = [delivery.stored.data.decode() async for delivery in puller.backlog()]
    assert sorted(bodies) == sorted(f"{at}-{number}" for at in range(5) for number in range(10))


async def test_a_server_that_falls_silent_makes_a_write_fail_with_unknown_outcome_after_its_patience(
    nats: NatsServer, proxy: Proxy, direct: AsyncSession
) -> None:
    async with AsyncSession(
        server=proxy.url, project=direct.project, agent="alice", mode="oneshot", patience=1.0
    ) as session:
        await session.memory.set("a", 1)
        proxy.swallow()
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown) as unknown:
            await session.memory.set("a", 2)
        assert (unknown.value.exit_code, unknown.value.seconds) == (69, 1.0)
        with pytest.raises(BusUnreachable):
            await session.memory.get("a")
        assert 1.9 < time.monotonic() - started < 3
        proxy.heal()


async def test_a_slow_server_changes_no_outcome(proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession) -> None:
    proxy.delay = 0.15
    async with cut_off.claim("T", lease=2) as mine:
        mine.check()
    assert await cut_off.memory.incr("n") == 1
    found = await direct.tasks.show("T")
    assert found is not None
    assert found.record.state == "done"


async def test_a_lost_reply_to_a_takeover_does_not_hide_that_the_former_owner_lost(
    proxy: Proxy, cut_off: AsyncSession, direct: AsyncSession
) -> None:
    theirs = direct.claim("T", lease=1)
    await theirs.acquire()
    await direct._keeper.stop()  # an owner that does not renew
    proxy.arm(2)
    async with cut_off.claim("T", wait=5) as mine:
        assert mine.fence > theirs.fence
        with pytest.raises(ClaimLost) as lost:
            await theirs.complete()
    assert lost.value.owner == "alice"
