"""What a session promises: claims as blocks, threads, forks, and ends that nobody announced."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import tracecraft
from tests.fault.programs.handle import Program
from tests.support.proxy import Proxy
from tracecraft import (
    AsyncSession,
    BusUnreachable,
    ClaimLost,
    NotFound,
    OwnerLost,
    Refused,
    TaskFailed,
    TaskHeld,
    TaskNotReady,
    TaskSettled,
    UsageError,
    WaitTimeout,
)
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.errors import BodyTooLarge
from tracecraft_core.plans import PlannedTask
from tracecraft_stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft.claims import Task
    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture
async def session(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="alice") as session:
        yield session


@pytest.fixture
async def other(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="bob") as session:
        yield session


async def shown(session: AsyncSession, task: str) -> Task:
    found = await session.tasks.show(task)
    assert found is not None
    return found


# -- claims as blocks -----------------------------------------------------------------------------------------------


async def test_a_block_that_ends_completes_its_task_with_what_it_hands_off(session: AsyncSession) -> None:
    async with session.claim("T") as claim:
        claim.hand_off("look at it", to="bob", next_action="review", result={"n": 1})
        assert (await shown(session, "T")).record.state == "claimed"
    record = (await shown(session, "T")).record
    assert record.state == "done"
    assert record.handoff is not None
    assert (record.handoff.note, record.handoff.to, record.handoff.next_action) == ("look at it", "bob", "review")
    assert record.handoff.result == {"n": 1}
    with pytest.raises(TaskSettled):
        await _enter(session, "T")


async def test_a_block_that_raises_fails_its_task_with_the_summary_of_the_traceback(session: AsyncSession) -> None:
    with pytest.raises(ZeroDivisionError):
        await _divide_by_zero(session)
    record = (await shown(session, "T")).record
    assert record.state == "failed"
    assert record.handoff is not None
    assert str(record.handoff.note).startswith("ZeroDivisionError: integer division or modulo by zero (at ")
    assert "test_session.py" in str(record.handoff.note)
    async with session.claim("T") as claim:  # by name it may be tried again
        assert claim.record.attempt == 2


async def _divide_by_zero(session: AsyncSession) -> None:
    async with session.claim("T"):
        _ = 1 // 0


async def test_a_block_that_is_cancelled_releases_its_task(session: AsyncSession, other: AsyncSession) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with session.claim("T"):
            entered.set()
            await asyncio.sleep(30)

    working = asyncio.create_task(work())
    await entered.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    record = (await shown(session, "T")).record
    assert (record.state, record.owner) == ("open", None)
    assert record.handoff is not None
    assert "interrupted" in str(record.handoff.note)
    async with other.claim("T"):
        pass


async def test_a_block_that_is_stopped_by_a_timeout_releases_its_task(session: AsyncSession) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await _hold(session, "T")
    assert (await shown(session, "T")).record.state == "open"


async def test_a_task_settled_inside_the_block_stays_as_it_was_settled(session: AsyncSession) -> None:
    async with session.claim("T") as claim:
        await claim.complete("needs eyes", state="needs_review")
    assert (await shown(session, "T")).record.state == "needs_review"
    async with session.claim("U") as claim:
        await claim.release("not mine to do")
    assert (await shown(session, "U")).record.state == "open"
    with pytest.raises(RuntimeError):
        await _complete_and_raise(session)
    assert (await shown(session, "V")).record.state == "done"


async def _complete_and_raise(session: AsyncSession) -> None:
    async with session.claim("V") as claim:
        await claim.complete()
        raise RuntimeError("after the task was done")


async def test_a_block_whose_task_is_taken_away_is_interrupted_and_learns_by_whom(
    session: AsyncSession, other: AsyncSession
) -> None:
    with pytest.raises(ClaimLost) as lost:
        await _be_forced_out(session, other)
    assert (lost.value.task, lost.value.owner, lost.value.state) == ("T", "bob", "done")
    assert lost.value.exit_code == 4
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    record = (await shown(session, "T")).record
    assert record.forced is not None
    assert (record.forced.by, record.forced.reason) == ("bob", "it hangs")


async def _be_forced_out(session: AsyncSession, other: AsyncSession) -> None:
    from tracecraft import claims
    from tracecraft_core.bodies import Handoff

    async with session.claim("T", lease=1):
        await claims.force(other.context, "T", "done", Handoff(), "it hangs")
        await asyncio.sleep(30)


async def test_a_block_that_swallows_the_interruption_still_ends_with_the_loss(
    session: AsyncSession, other: AsyncSession
) -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await _be_forced_out(session, other)
        raise AssertionError("not reached: the loss comes through")

    async def swallowing() -> None:
        from tracecraft import claims
        from tracecraft_core.bodies import Handoff

        async with session.claim("U", lease=1):
            await claims.force(other.context, "U", "done", Handoff(), "it hangs")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)

    for work in (stubborn, swallowing):
        with pytest.raises(ClaimLost):
            await work()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0


async def test_a_claim_is_renewed_while_its_block_runs_longer_than_its_lease(
    session: AsyncSession, other: AsyncSession
) -> None:
    async with session.claim("T", lease=1) as claim:
        for _ in range(5):
            with pytest.raises(TaskHeld, match="alice"):
                await _enter(other, "T")
            await asyncio.sleep(0.5)
        claim.check()
    assert (await shown(session, "T")).record.attempt == 1


async def test_the_same_agent_in_the_same_session_claims_again_what_it_holds(nats: NatsServer, project: str) -> None:
    first = AsyncSession(server=nats.url, project=project, agent="alice", session="s1")
    second = AsyncSession(server=nats.url, project=project, agent="alice", session="s1")
    stranger = AsyncSession(server=nats.url, project=project, agent="alice", session="s2")
    async with first, second, stranger, first.claim("T") as claim:
        again = second.claim("T")
        await again.acquire()
        assert again.fence == claim.fence
        with pytest.raises(TaskHeld, match="alice"):
            await _enter(stranger, "T")


async def _enter(session: AsyncSession, task: str, wait: float | None = None) -> None:
    async with session.claim(task, wait=wait):
        return


async def _hold(session: AsyncSession, task: str) -> None:
    async with session.claim(task):
        await asyncio.sleep(30)


# -- the next task, and waiting -------------------------------------------------------------------------------------


async def test_claim_next_takes_what_is_ready_in_the_order_it_was_added_and_says_when_nothing_is_left(
    session: AsyncSession, other: AsyncSession
) -> None:
    await session.tasks.add("S1.b")
    await session.tasks.add("S1.a")
    await session.tasks.add("S1.last", after=["S1.a", "S1.b"])
    await session.tasks.add("S2.x")
    taken = []
    async with other.claim("S1.b"), session.claim_next("S1.*") as claim:
        taken.append(claim.task)
        with pytest.raises(Refused, match=r"S1\.b is held by bob") as refused:
            await _enter_next(session, "S1.*")
        assert "S1.last waits for S1.a, S1.b" in str(refused.value)
    async with session.claim_next("S1.*") as claim:
        taken.append(claim.task)
    assert taken == ["S1.a", "S1.last"]
    with pytest.raises(NotFound, match="all 3 that match are settled"):
        await _enter_next(session, "S1.*")
    with pytest.raises(NotFound, match="none matches"):
        await _enter_next(session, "S3.*")


async def _enter_next(session: AsyncSession, pattern: str) -> None:
    async with session.claim_next(pattern):
        return


async def test_claim_next_sees_what_this_agent_has_just_written(session: AsyncSession) -> None:
    for number in range(50):
        await session.tasks.add(f"job.{number}")
        async with session.claim_next("job.*") as claim:
            assert claim.task == f"job.{number}"


async def test_claim_next_sees_what_another_agent_has_just_written_over_a_slow_connection(
    nats: NatsServer, other: AsyncSession
) -> None:
    async with (
        Proxy(nats.url) as proxy,
        AsyncSession(server=proxy.url, project=other.project, agent="slow", mode="oneshot") as slow,
    ):
        for number in range(3):
            await other.tasks.add(f"job.{number}")
            async with slow.claim_next("job.*") as claim:
                assert claim.task == f"job.{number}"
            proxy.delay = 0.1


async def test_claim_next_waits_for_a_task_that_is_added_later(session: AsyncSession, other: AsyncSession) -> None:
    async def take() -> str:
        async with session.claim_next("job.*", wait=20) as claim:
            return claim.task

    taking = asyncio.create_task(take())
    await asyncio.sleep(0.3)
    await other.tasks.add("job.1")
    async with asyncio.timeout(5):
        assert await taking == "job.1"


async def test_two_waits_in_one_session_are_both_woken(session: AsyncSession, other: AsyncSession) -> None:
    async with other.claim("A"), other.claim("B"):
        waits = [asyncio.create_task(_enter(session, task, wait=20)) for task in ("A", "B")]
        await asyncio.sleep(0.3)
        assert not any(wait.done() for wait in waits)
    async with asyncio.timeout(5):
        done = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(result) for result in done] == [TaskSettled, TaskSettled]


async def test_waiting_for_a_claim_ends_in_time_with_what_stood_in_the_way(
    session: AsyncSession, other: AsyncSession
) -> None:
    async with other.claim("T"):
        with pytest.raises(WaitTimeout, match="T is held by bob") as ended:
            await _enter(session, "T", wait=0.5)
    assert ended.value.exit_code == 124


async def test_a_claim_waits_for_its_dependencies(session: AsyncSession, other: AsyncSession) -> None:
    await session.tasks.add("last", after=["first"])
    with pytest.raises(TaskNotReady, match="first"):
        await _enter(session, "last")
    waiting = asyncio.create_task(_enter(session, "last", wait=20))
    async with other.claim("first"):
        pass
    async with asyncio.timeout(5):
        await waiting
    assert (await shown(session, "last")).record.state == "done"


async def test_wait_for_tells_failures_losses_and_time(session: AsyncSession, other: AsyncSession) -> None:
    with pytest.raises(WaitTimeout, match=r"T \(unknown\)"):
        await session.wait_for("T", timeout=0.2)
    waiting = asyncio.create_task(session.wait_for("T", "U", timeout=20))
    async with other.claim("T") as claim:
        claim.hand_off("read this")
    with pytest.raises(RuntimeError):
        await _raise_in(other, "U")
    with pytest.raises(TaskFailed, match="U is failed: RuntimeError: bad luck"):
        await waiting
    result = await session.wait_for("T", "U", any_=True, timeout=5)
    assert list(result.tasks) == ["T"]
    assert result.tasks["T"].record.handoff is not None
    assert result.tasks["T"].record.handoff.note == "read this"


async def _raise_in(session: AsyncSession, task: str) -> None:
    async with session.claim(task):
        raise RuntimeError("bad luck")


async def test_wait_for_an_owner_that_was_lost_before_the_wait_began(session: AsyncSession, nats: NatsServer) -> None:
    with Program("holder", nats.url, session.project, "carol", "T", 1) as holder:
        holder.hear("claimed")
        holder.kill()
    with pytest.raises(OwnerLost, match="carol lost T"):
        await session.wait_for("T", fail_on_lost=True, timeout=10)
    with pytest.raises(OwnerLost, match="carol lost T"):
        await session.wait_for("T", fail_on_lost=True, timeout=10)


async def test_waiting_for_nothing_is_a_wrong_call(session: AsyncSession) -> None:
    with pytest.raises(UsageError, match="nothing to wait for"):
        await session.wait_for()


# -- ends and beginnings --------------------------------------------------------------------------------------------


async def test_a_session_that_cannot_be_opened_leaves_no_connection_and_can_be_opened_later(
    nats: NatsServer, project: str
) -> None:
    session = AsyncSession(server=f"nats://127.0.0.1:{free_port()}", project=project, agent="alice")
    with pytest.raises(BusUnreachable):
        async with session:
            raise AssertionError("opened without a server")
    blocking = tracecraft.Session(server=nats.url, project=project, agent="alice")
    with blocking:
        assert blocking.memory.incr("n") == 1
    with blocking:
        assert blocking.memory.incr("n") == 2


async def test_an_agent_is_online_while_its_session_is_open(session: AsyncSession, other: AsyncSession) -> None:
    async with session.claim("T"):
        agents = {agent.name: agent for agent in await other.agents()}
        assert set(agents) == {"alice", "bob"}
        assert (agents["alice"].online, agents["alice"].mode, agents["alice"].tasks) == (True, "live", ("T",))
    writer = subjects.kv_subject(subjects.AGENTS, other.project, subjects.run_presence("r1", "writer"))
    await other.context.bus.publish(writer, b'{"v": 1, "session": "w", "mode": "live", "ttl": 30}', ttl=30)
    assert {agent.name for agent in await other.agents()} == {"alice", "bob"}, "a process that writes a run is no agent"
    await session.close()
    assert [agent.name for agent in await other.agents()] == ["bob"]
    gone = {agent.name: agent for agent in await other.agents(all_=True)}["alice"]
    assert (gone.online, gone.last_event) == (False, "left")


@pytest.mark.parametrize("kind", ["forget", "forget-async"])
async def test_a_session_that_is_never_closed_loses_nothing_and_ends_quietly(
    nats: NatsServer, session: AsyncSession, kind: str
) -> None:
    with Program("careless", nats.url, session.project, "carol", kind) as program:
        program.hear("ending")
        assert program.next() is None
        assert program.ending() == "exit code 0: "
    assert await session.memory.get("key") == "acknowledged"
    async with session.claim("T", wait=5) as claim:  # its lease lapses
        assert claim.record.took_over_from is not None


def test_a_forked_child_is_told_to_open_its_own_session(nats: NatsServer, project: str) -> None:
    with Program("careless", nats.url, project, "carol", "fork") as program:
        *child, own, parent = program.rest()
    assert [(line["error"], line["exit_code"]) for line in child] == [("UsageError", 2)] * 3
    assert "tracecraft.connect()" in child[0]["text"]
    assert (own["value"], parent["value"]) == (2, 3)


def test_sixteen_threads_share_one_blocking_session(nats: NatsServer, project: str) -> None:
    with Program("careless", nats.url, project, "carol", "threads") as program:
        sums, worked, mail = program.rest()
    assert sums["values"] == list(range(1, 101))
    assert worked["all"]
    assert mail["count"] == 32


def test_init_sets_the_defaults_of_connect(nats: NatsServer, project: str) -> None:
    session = tracecraft.init(server=nats.url, project=project, agent="alice")
    with session, tracecraft.connect(agent="bob") as other:
        assert (other.project, other.agent) == (project, "bob")
        other.send("alice", "hello")
        for message in session.messages():
            assert message.text == "hello"
            break
        other.memory.set("key", 1)
        assert next(iter(session.memory.watch(">", initial=True))).value == 1
        with session.claim("T") as claim:
            claim.check()
        assert session.wait_for("T").tasks["T"].record.owner == "alice"


# -- what does not fit ----------------------------------------------------------------------------------------------


async def test_a_definition_without_room_for_a_claim_is_refused_before_anything_is_written(
    session: AsyncSession,
) -> None:
    big = "x" * (subjects.MAX_BODY_BYTES - 100)
    with pytest.raises(BodyTooLarge, match="the definition of big"):
        await session.tasks.add("big", data=big)
    with pytest.raises(BodyTooLarge, match="the definition of big"):
        await session.tasks.apply([PlannedTask(id="small"), PlannedTask(id="big", data=big)])
    assert await session.tasks.list() == []


async def test_claim_next_passes_over_a_task_that_cannot_be_claimed(session: AsyncSession) -> None:
    stream, subject = session.context.kv(subjects.TASKS, "big")
    record = TaskRecord(data="x" * (subjects.MAX_BODY_BYTES - 50))  # as a foreign client may write it
    await session.context.bus.cas(stream, subject, bodies.encode(record), 0)
    await session.tasks.add("small")
    async with session.claim_next() as claim:
        assert claim.task == "small"
    with pytest.raises(Refused, match="big cannot be claimed"):
        await session.claim_next().acquire()
    with pytest.raises(WaitTimeout, match="big cannot be claimed"):
        await session.claim_next(wait=0.5).acquire()


async def test_a_note_that_does_not_fit_is_refused_where_it_is_given(session: AsyncSession) -> None:
    async with session.claim("T") as claim:
        with pytest.raises(BodyTooLarge, match=r"the handoff of T \(mostly its note\)"):
            claim.hand_off("x" * subjects.MAX_BODY_BYTES)
        claim.hand_off("short")
    assert (await shown(session, "T")).record.state == "done"


@pytest.mark.parametrize("text", [None, "", 5, b"x"])
async def test_a_message_without_text_is_refused(session: AsyncSession, text: Any) -> None:
    with pytest.raises(UsageError, match="the text of the message"):
        await session.send("bob", text)
    with pytest.raises(UsageError, match="the text of the message"):
        await session.broadcast(text)


async def test_applying_a_plan_names_the_dependencies_that_exist_nowhere(session: AsyncSession) -> None:
    await session.tasks.add("there")
    plan = [PlannedTask(id="a"), PlannedTask(id="b", after=("a", "there", "p.typo"))]
    assert (await session.tasks.apply(plan)).unknown == ["p.typo"]
    with pytest.raises(Refused, match=r"b waits for others: a is not done yet.*p\.typo is unknown"):
        await session.claim_next("b").acquire()
