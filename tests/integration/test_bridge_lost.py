"""``lost`` events: for every claim and every agent that was lost one, and never for one that was not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.bridge import until_health
from tracecraft_core import bodies, subjects, topology
from tracecraft_core.bodies import AgentEvent, Lease, Owner, Presence, TaskRecord

if TYPE_CHECKING:
    from tests.support.bridge import Rig
    from tracecraft_core.bodies import PresenceMode
    from tracecraft_core.bus import Bus

TTL_S = 1
LOST = "SELECT agent, body->>'task', (body->>'fence')::int FROM log_current WHERE event = 'lost' ORDER BY seq"


async def _claim(
    bus: Bus, task: str, owner: str, *, expected: int = 0, lease: int = 0, took_over_from: Owner | None = None
) -> int:
    """What a claim writes: the lease, then the record; returns the fence."""
    nonce = f"nonce-{owner}"
    await _lease(bus, task, owner, nonce, lease)
    record = TaskRecord(state="claimed", owner=owner, session="s1", nonce=nonce, took_over_from=took_over_from)
    return await bus.cas("KV_tc_tasks", f"$KV.tc_tasks.p.{task}", bodies.encode(record), expected)


async def _lease(bus: Bus, task: str, owner: str, nonce: str, expected: int) -> int:
    body = bodies.encode(Lease(owner=owner, session="s1", nonce=nonce, ttl=TTL_S))
    return await bus.cas("KV_tc_leases", f"$KV.tc_leases.p.{task}", body, expected, ttl=TTL_S)


async def _lapsed(bus: Bus, bucket: str, key: str) -> int:
    """Wait for the server's marker; returns its sequence."""
    while True:
        stored = await bus.leader_get(f"KV_{bucket}", f"$KV.{bucket}.p.{key}")
        if stored is not None and stored.lapsed:
            return stored.seq
        await asyncio.sleep(0.02)


async def test_a_lapsed_lease_of_a_claimed_task_is_told_once_whoever_restarts(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        first, second = rig.start(), rig.bridge()
        await asyncio.to_thread(second.start)
        fence = await _claim(bus, "S1.parse", "alice")
        await rig.wait_for_rows(1, LOST)
        first.kill()
        await until_health(second, 200, role="active")
        await asyncio.to_thread(first.start)
        second.kill()
        await until_health(first, 200, role="active")
        await _claim(bus, "S2", "bob")  # told last: by then the first has been looked at again
        found = await rig.wait_for_rows(2, LOST)
    assert found == [("alice", "S1.parse", fence), ("bob", "S2", fence + 1)]
    [(subject, body, msg_id)] = rig.query(
        "SELECT subject, body, headers->>'Nats-Msg-Id' FROM log WHERE event = 'lost' AND agent = 'alice'"
    )
    assert (subject, msg_id) == ("tc.p.agent.alice.lost", f"lost=p=S1.parse={fence}")
    assert body == {"session": "s1", "task": "S1.parse", "fence": fence, "reason": "the lease lapsed"}


async def test_an_event_older_than_the_duplicate_window_is_not_told_again(rig: Rig) -> None:
    """The window of two minutes is not waited for: the log is made to forget its ids by being purged."""
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await _claim(bus, "S1", "alice")
        await rig.wait_for_rows(1, LOST)
        bridge.stop()
        log = (await bus.api("STREAM.INFO.TC_LOG"))["config"]
        await bus.api("STREAM.UPDATE.TC_LOG", log | {"duplicate_window": 100_000_000})
        await asyncio.sleep(0.3)
        bridge.start()
        await _claim(bus, "S2", "bob")
        found = await rig.wait_for_rows(2, LOST)
    assert [agent for agent, _, _ in found] == ["alice", "bob"]


async def test_what_lapsed_while_no_bridge_ran_is_found_at_the_start(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        fence = await _claim(bus, "S1", "alice")
        await _lapsed(bus, "tc_leases", "S1")
        await bus.api("STREAM.PURGE.KV_tc_leases")  # as if the marker, too, had been gone for long
        rig.start()
        assert await rig.wait_for_rows(1, LOST) == [("alice", "S1", fence)]


async def test_every_owner_of_a_task_that_is_stolen_again_and_again_is_told_though_no_marker_lasts(rig: Rig) -> None:
    """The bridge stands still meanwhile: each thief has overwritten the marker before anybody has seen it."""
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        first = await _claim(bus, "S1", "alice")
        bridge.pause()
        second = await _claim(bus, "S1", "bob", expected=first, **await _theft(bus, "alice", first))
        await _claim(bus, "S1", "carol", expected=second, **await _theft(bus, "bob", second))
        bridge.resume()
        assert (await rig.wait_for_rows(2, LOST))[:2] == [("alice", "S1", first), ("bob", "S1", second)]


async def _theft(bus: Bus, owner: str, fence: int) -> dict[str, Any]:
    """What a thief claims with, as soon as the owner's lease has lapsed."""
    lease = await _lapsed(bus, "tc_leases", "S1")
    return {"lease": lease, "took_over_from": Owner(owner=owner, session="s1", fence=fence)}


async def test_a_task_that_was_stolen_at_once_is_told_of_its_former_owner_only(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        fence = await _claim(bus, "S1", "alice")
        marker = await _lapsed(bus, "tc_leases", "S1")
        former = Owner(owner="alice", session="s1", fence=fence)
        await _claim(bus, "S1", "bob", expected=fence, lease=marker, took_over_from=former)
        rig.start()
        lease = await bus.leader_get("KV_tc_leases", "$KV.tc_leases.p.S1")
        assert lease is not None
        seq = lease.seq
        for _ in range(4):
            seq = await _lease(bus, "S1", "bob", "nonce-bob", seq)
            await asyncio.sleep(0.3)
        assert rig.query(LOST) == [("alice", "S1", fence)]


async def test_a_released_task_and_a_renewed_lease_are_not_lost(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        rig.start()
        fence = await _claim(bus, "S1", "alice")
        done = TaskRecord(state="done", owner="alice", session="s1")
        await bus.cas("KV_tc_tasks", "$KV.tc_tasks.p.S1", bodies.encode(done), fence)
        tombstone = {"KV-Operation": "DEL"}
        await bus.publish("$KV.tc_leases.p.S1", b"", headers=tombstone, ttl=TTL_S)
        await _lapsed(bus, "tc_leases", "S1")
        await _claim(bus, "S2", "bob")
        assert [agent for agent, _, _ in await rig.wait_for_rows(1, LOST)] == ["bob"]
        assert "failed" not in rig.bridges[0].log.read_text()


async def test_a_record_that_nobody_can_read_does_not_hide_the_others(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        await bus.publish("$KV.tc_tasks.p.broken", b'"claimed"')
        await bus.publish("$KV.tc_tasks.p.worse", b'{"state":"claimed","owner":7}')
        fence = await _claim(bus, "S1", "alice")
        rig.start()
        assert await rig.wait_for_rows(1, LOST) == [("alice", "S1", fence + 0)]


async def _present(bus: Bus, agent: str, mode: PresenceMode = "live", *, join: bool = True) -> None:
    presence = Presence(session=f"s-{agent}", mode=mode, host="h", pid=1, ttl=TTL_S)
    await bus.publish(f"$KV.tc_agents.p.{agent}", bodies.encode(presence), ttl=TTL_S)
    if join:
        joined = AgentEvent(session=presence.session, mode=presence.mode)
        await bus.publish(subjects.agent_event("p", agent, "joined"), bodies.encode(joined))


async def test_an_agent_whose_presence_lapses_is_lost_unless_it_left_or_was_there_for_one_command(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        await _present(bus, "oneshot", "oneshot")
        await _present(bus, "leaver")
        await bus.publish(subjects.agent_event("p", "leaver", "left"), b"{}")
        await _present(bus, "silent", join=False)
        await _present(bus, "crashed")
        found = await rig.wait_for_rows(2, LOST)
        bridge.kill()  # the markers are still there for the next one
        await asyncio.to_thread(bridge.start)
        await _present(bus, "later")
        found = await rig.wait_for_rows(3, LOST)
    assert sorted(agent for agent, _, _ in found) == ["crashed", "later", "silent"]
    [(body,)] = rig.query("SELECT body FROM log WHERE event = 'lost' AND agent = 'crashed'")
    assert body == {"session": "s-crashed", "mode": "live", "reason": "its presence lapsed"}


async def test_an_agent_lost_while_no_bridge_ran_is_found_at_the_start(rig: Rig) -> None:
    async with rig.bus() as bus:
        await topology.ensure(bus)
        bridge = rig.start()
        joined = AgentEvent(session="s1", mode="live")
        await bus.publish(subjects.agent_event("p", "alice", "joined"), bodies.encode(joined))
        await bus.publish(subjects.agent_event("p", "young", "joined"), bodies.encode(joined))
        await rig.caught_up(bus)
        bridge.kill()
        rig.query("UPDATE log SET time = time - interval '2 minutes' WHERE agent = 'alice'")
        await asyncio.to_thread(bridge.start)
        found = await rig.wait_for_rows(1, LOST)
    assert [agent for agent, _, _ in found] == ["alice"]
