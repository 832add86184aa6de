"""Owners that die or sleep: when a task becomes free, who is told, and what a former owner can still do."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tracecraft import AsyncSession, ClaimLost, TaskHeld, claims
from tracecraft_core import bodies, subjects, topology
from tracecraft_core.bodies import Lease
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_core.bus import Stored
    from tracecraft_stack.nats_server import NatsServer

LEASE_S = 2
LEASES = subjects.kv_stream(subjects.LEASES)


@pytest.fixture
async def session(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="observer") as session:
        yield session


async def lease_of(session: AsyncSession, task: str) -> Stored:
    found = await session.context.bus.leader_get(*session.context.kv(subjects.LEASES, task))
    assert found is not None
    return found


async def marker_of(session: AsyncSession, task: str) -> Stored:
    """The mark that the server leaves when it deletes a lease."""
    async with asyncio.timeout(LEASE_S + 5):
        while True:
            found = await lease_of(session, task)
            if found.lapsed:
                return found
            await asyncio.sleep(0.02)


def seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


async def test_a_task_whose_holder_was_killed_is_free_when_the_lease_lapses_and_not_before(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    with Program("holder", nats.url, project, "alice", "T", LEASE_S) as holder:
        fence = holder.hear("claimed")["fence"]
        holder.kill()
    renewed = await lease_of(session, "T")
    owners = []
    while True:
        try:
            async with session.claim("T") as claim:
                break
        except TaskHeld as held:
            owners.append(held.owner)
    assert len(owners) > 10
    assert set(owners) == {"alice"}
    record = claim.record
    assert record.took_over_from is not None
    assert (record.took_over_from.owner, record.took_over_from.fence, record.attempt) == ("alice", fence, 2)
    assert claim.fence > fence
    claimed = await session.context.bus.get(subjects.kv_stream(subjects.TASKS), claim.fence)
    assert claimed is not None
    waited = seconds(claimed.time) - seconds(renewed.time)
    assert LEASE_S <= waited < LEASE_S + 1, f"the takeover came {waited:.3f} s after the last renewal"


async def test_who_waits_for_a_task_or_for_its_owner_hears_of_a_killed_holder_within_a_second(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    with Program("holder", nats.url, project, "alice", "T", LEASE_S) as holder:
        holder.hear("claimed")
        with (
            Program("waiter", nats.url, project, "watcher", "lost", "T", 30) as watcher,
            Program("waiter", nats.url, project, "heir", "claim", "T", 30) as heir,
        ):
            watcher.hear("waiting")
            heir.hear("waiting")
            holder.kill()
            lapses = seconds((await lease_of(session, "T")).time) + LEASE_S
            lost, claimed = watcher.hear("failed"), heir.hear("claimed")
    assert (lost["error"], lost["exit_code"], lost["owner"]) == ("OwnerLost", 6, "alice")
    assert 0 <= lost["at"] - lapses < 1
    assert 0 <= claimed["at"] - lapses < 1


async def test_waiting_for_a_claim_or_an_owner_asks_the_server_nothing_while_nothing_changes(
    own_nats: NatsServer, project: str
) -> None:
    async with (
        AsyncSession(server=own_nats.url, project=project, agent="owner") as owner,
        AsyncSession(server=own_nats.url, project=project, agent="heir") as heir,
        owner.claim("T", lease=600),
    ):
        waiting = asyncio.create_task(_claim(heir, "T", 60))
        with Program("waiter", own_nats.url, project, "watcher", "lost", "T", 60) as watcher:
            watcher.hear("waiting")
            await _quiet(own_nats)
            before = await _messages_in(own_nats)
            await asyncio.sleep(1.5)
            assert await _messages_in(own_nats) - before <= 3  # every agent renews its presence each 10 s
            assert watcher.heard() == []
        assert not waiting.done()
        waiting.cancel()


async def _quiet(nats: NatsServer) -> None:
    """Wait until nobody asks the server for anything: those who wait have begun to."""
    async with asyncio.timeout(10):
        before = -1
        while (now := await _messages_in(nats)) != before:
            before = now
            await asyncio.sleep(0.4)


async def _messages_in(nats: NatsServer) -> int:
    """How many messages clients have sent to the server so far."""

    def read() -> int:
        with urllib.request.urlopen(f"{nats.monitor_url}/varz") as answer:
            return int(json.load(answer)["in_msgs"])

    return await asyncio.to_thread(read)


async def _claim(session: AsyncSession, task: str, wait: float) -> None:
    async with session.claim(task, wait=wait):
        return


async def test_a_holder_that_slept_beyond_its_lease_cannot_complete_and_learns_who_has_the_task(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    with Program("holder", nats.url, project, "sleeper", "T", LEASE_S) as holder:
        holder.hear("claimed")
        holder.stop()
        async with session.claim("T", wait=LEASE_S + 5) as claim:
            holder.resume()
            refused = holder.ask("complete")
            assert (refused["error"], refused["exit_code"]) == ("ClaimLost", 4)
            assert (refused["owner"], refused["state"]) == ("observer", "claimed")
            holder.say("end")
            assert holder.hear("left")["owner"] == "observer"
            found = await session.tasks.show("T")
            assert found is not None
            assert (found.revision, found.record.owner) == (claim.fence, "observer")
    finished = await session.tasks.show("T")
    assert finished is not None
    assert (finished.record.state, finished.record.owner) == ("done", "observer")


async def test_a_holder_that_slept_while_nobody_wanted_the_task_learns_that_its_lease_lapsed(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    with Program("holder", nats.url, project, "sleeper", "T", 1) as holder:
        fence = holder.hear("claimed")["fence"]
        holder.stop()
        await marker_of(session, "T")
        holder.resume()
        async with asyncio.timeout(5):  # it wakes up and looks at its clock
            while "error" not in await asyncio.to_thread(holder.ask, "check"):
                pass
        refused = holder.ask("complete")
    assert (refused["error"], refused["owner"]) == ("ClaimLost", None)
    assert "anyone may claim it" in refused["text"]
    found = await session.tasks.show("T")
    assert found is not None
    assert found.revision == fence


async def test_a_claim_outlives_a_restart_of_the_server_that_is_shorter_than_its_lease(
    own_nats: NatsServer, project: str
) -> None:
    with Program("holder", own_nats.url, project, "alice", "T", 4) as holder:
        fence = holder.hear("claimed")["fence"]
        for _ in range(2):
            own_nats.kill()
            own_nats.start()
            await asyncio.sleep(2.5)  # longer than a third of the lease: a renewal falls into it
        assert "error" not in holder.ask("check")
        assert "error" not in holder.ask("complete")
    async with AsyncSession(server=own_nats.url, project=project, agent="observer") as session:
        found = await session.tasks.show("T")
    assert found is not None
    assert (found.record.state, found.record.owner, found.record.attempt) == ("done", "alice", 1)
    assert found.revision > fence


async def test_a_holder_that_cannot_reach_the_bus_fences_itself_when_its_lease_lapses(
    own_nats: NatsServer, project: str
) -> None:
    async with AsyncSession(server=own_nats.url, project=project, agent="alice") as session:
        ran_on: list[float] = []
        with pytest.raises(ClaimLost, match="T"):
            await _work_without_the_bus(session, own_nats, ran_on)
        assert len(ran_on) == 1
        assert 1.5 < ran_on[0] <= 3.2, f"the body ran on for {ran_on[0]:.2f} s"


async def _work_without_the_bus(session: AsyncSession, nats: NatsServer, ran_on: list[float]) -> None:
    async with session.claim("T", lease=3):
        started = time.monotonic()
        nats.pause()
        try:
            await asyncio.sleep(30)
        finally:
            ran_on.append(time.monotonic() - started)
            nats.resume()


async def test_a_lease_that_went_without_a_trace_while_nobody_could_watch_is_noticed(
    own_nats: NatsServer, project: str
) -> None:
    """A client that was cut off for minutes finds its watchers forgotten, and the marker of the lapse gone as well."""
    async with Bus(ServerOptions(servers=(own_nats.url,))) as bus:
        for definition in topology.definitions():  # the same, but for markers that are gone after a second
            marked = {"subject_delete_marker_ttl": 10**9} if definition["name"] == LEASES else {}
            await bus.api(f"STREAM.CREATE.{definition['name']}", definition | marked)
    async with AsyncSession(server=own_nats.url, project=project, agent="observer") as session:
        with Program("holder", own_nats.url, project, "alice", "T", 4) as holder:
            holder.hear("claimed")
            with Program("waiter", own_nats.url, project, "heir", "claim", "T", 60) as heir:
                heir.hear("waiting")
                names: list[str] = []
                async with asyncio.timeout(10):
                    while not names:
                        names = await _loaded_watchers(session, LEASES)
                holder.stop()
                await _quiet(own_nats)
                heir.stop()
                for name in names:
                    await session.context.bus.api(f"CONSUMER.DELETE.{LEASES}.{name}")
                holder.kill()
                await _nothing_left(session, "T")
                heir.resume()
                heir.hear("claimed", 10)


async def _nothing_left(session: AsyncSession, task: str) -> None:
    """Wait until neither a lease nor its marker is there."""
    async with asyncio.timeout(10):
        while True:
            if await session.context.bus.leader_get(*session.context.kv(subjects.LEASES, task)) is None:
                return
            await asyncio.sleep(0.05)


async def _loaded_watchers(session: AsyncSession, stream: str) -> list[str]:
    """The watchers of this project's leases that have heard the one there is."""
    found = await session.context.bus.api(f"CONSUMER.LIST.{stream}", {"offset": 0})
    mine = session.context.kv(subjects.LEASES, ">")[1]
    watchers = [consumer for consumer in found["consumers"] if consumer["config"].get("filter_subject") == mine]
    return [watcher["name"] for watcher in watchers if watcher["delivered"]["consumer_seq"]]


async def test_a_loss_is_told_though_the_thief_has_finished_by_the_time_the_watcher_hears_of_it(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    with (
        Program("holder", nats.url, project, "alice", "T", 1) as holder,
        Program("waiter", nats.url, project, "watcher", "lost", "T", 30) as watcher,
    ):
        holder.hear("claimed")
        watcher.hear("waiting")
        await asyncio.sleep(0.5)  # its board is loaded
        watcher.stop()
        holder.kill()
        async with session.claim("T", wait=LEASE_S + 5):
            pass
        watcher.resume()
        lost = watcher.hear("failed")
    assert (lost["error"], lost["owner"]) == ("OwnerLost", "alice")


async def test_a_task_that_was_taken_over_before_the_wait_began_is_no_loss(
    nats: NatsServer, project: str, session: AsyncSession
) -> None:
    with Program("holder", nats.url, project, "alice", "T", 1) as holder:
        holder.hear("claimed")
        holder.kill()
    async with session.claim("T", wait=LEASE_S + 5):
        waiting = asyncio.create_task(session.wait_for("T", fail_on_lost=True, timeout=20))
        await asyncio.sleep(0.5)
    assert (await waiting).reason == "done"


async def test_a_claim_that_a_later_command_revives_keeps_the_length_of_its_lease(session: AsyncSession) -> None:
    await claims.claim(session.context, "T", 1)
    await marker_of(session, "T")
    revived = await claims.hold(session.context, "T")
    await claims.renew(session.context, revived)
    found = bodies.decode(Lease, (await lease_of(session, "T")).data, "T")
    assert (revived.ttl, found.ttl) == (1, 1)
