"""Many processes want the same files at once, and holders that die or sleep: a file never has two holders."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fault.programs.handle import Program
from tracecraft import AsyncSession, FileReserved, reserving
from tracecraft_core import globs, subjects
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tracecraft_stack.nats_server import NatsServer

LEASE_S = 3
ROUNDS = 15
COUNT = 24

WISHES: dict[str, list[list[str]]] = {
    "two globs that meet": [["src/*.py"], ["src/a*"]],
    "a ring of globs, each meets the next": [["a/*"], ["*/b"], ["[ab]/b", "c/*"], ["*/c"]],
    "several at once, in orders that could deadlock": [["x", "y", "z"], ["z", "x"], ["y", "z", "x"], ["**"]],
    "first and last meet": [["one", "shared/*"], ["two", "shared/a"], ["shared/a", "three"], ["four", "**/a"]],
    "the very same": [["src/a.py"]],
}


@pytest.fixture(scope="module")
def racers(nats: NatsServer) -> Iterator[Program]:
    with Program("racers", nats.url, "files-race", "unused", "files", COUNT) as program:
        for _ in range(COUNT):
            program.hear("ready", 60)
        yield program


@pytest.fixture
async def observer(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="observer") as session:
        yield session


def meet(one: list[str], other: list[str]) -> bool:
    return any(globs.meeting(globs.parse(a), globs.parse(b)) for a in one for b in other)


@pytest.mark.parametrize("wishes", WISHES.values(), ids=WISHES.keys())
def test_of_processes_that_reserve_overlapping_globs_at_once_no_two_get_them_and_somebody_does(
    racers: Program, wishes: list[list[str]]
) -> None:
    for _ in range(ROUNDS):
        racers.say(f"{COUNT} {json.dumps(wishes, separators=(',', ':'))}")
        answers: list[dict[str, Any]] = [answer for _ in range(COUNT) if (answer := racers.next()) is not None]
        won = [answer for answer in answers if answer["event"] == "won"]
        assert won, answers
        for one, other in itertools.combinations(won, 2):
            assert not meet(one["globs"], other["globs"]), (one, other)
        for answer in answers:
            if answer["event"] != "won":
                assert (answer["error"], answer["exit_code"]) == ("FileReserved", 3)
        racers.say(f"{COUNT} go-on")
        for _ in range(COUNT):
            racers.hear("through")


async def test_nothing_is_left_of_a_race(racers: Program, nats: NatsServer) -> None:
    racers.say(f"{COUNT} {json.dumps(WISHES['first and last meet'], separators=(',', ':'))}")
    for _ in range(COUNT):
        racers.next()
    racers.say(f"{COUNT} go-on")
    for _ in range(COUNT):
        racers.hear("through")
    async with AsyncSession(server=nats.url, project="files-race", agent="observer") as session:
        assert await session.reservations.list() == []
        assert await session.tasks.list("file.>") == []


async def test_the_files_of_a_killed_holder_are_free_when_the_lease_lapses_and_not_before(
    nats: NatsServer, project: str, observer: AsyncSession
) -> None:
    with Program("reserver", nats.url, project, "alice", LEASE_S, "src/**", "docs/**") as holder:
        holder.hear("reserved")
        with pytest.raises(FileReserved):
            await observer.reservations.reserve("src/a.py")
        async with observer.reservations.watch() as view:
            holder.kill()
            found = view.holder("src/a.py")
            assert found is not None
            assert found.owner == "alice"
            held = await observer.reservations.reserve("src/a.py", "docs/x", wait=LEASE_S + 5)
            assert {one.owner for one in held} == {"observer"}
            await until(lambda: view.holder("docs/y") is None)


async def test_a_holder_that_was_paused_past_its_lease_is_told_and_a_sleeper_in_the_middle_gets_nothing(
    nats: NatsServer, project: str, observer: AsyncSession
) -> None:
    with Program("reserver", nats.url, project, "alice", 2, "src/**") as holder:
        holder.hear("reserved")
        holder.stop()
        await observer.reservations.reserve("src/a.py", wait=20)
        holder.resume()
        lost = holder.hear("lost")
        assert lost["error"] == "ClaimLost"
        assert [one.owner for one in await observer.reservations.list()] == ["observer"]


async def test_who_slept_between_its_claim_and_its_look_past_its_lease_does_not_win(
    nats: NatsServer, project: str, observer: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is the earlier one, but it lapsed, and somebody looked past it."""
    async with AsyncSession(server=nats.url, project=project, agent="sleeper") as sleeper:
        slept, woken = asyncio.Event(), asyncio.Event()
        looking = reserving._check

        async def sleep_first(*arguments: Any) -> None:
            slept.set()
            await woken.wait()
            await looking(*arguments)

        monkeypatch.setattr(reserving, "_check", sleep_first)
        taking = asyncio.create_task(reserving.take(sleeper.context, ["src/**"], 1))
        await slept.wait()
        monkeypatch.setattr(reserving, "_check", looking)
        await observer.reservations.reserve("src/a.py", wait=20)
        woken.set()
        with pytest.raises(Exception, match="you no longer hold"):
            await taking
        assert [one.owner for one in await observer.reservations.list()] == ["observer"]


async def test_a_view_hears_again_when_the_server_was_away(own_nats: NatsServer, project: str) -> None:
    async with (
        AsyncSession(server=own_nats.url, project=project, agent="alice") as alice,
        AsyncSession(server=own_nats.url, project=project, agent="bob") as bob,
        bob.reservations.watch() as view,
    ):
        own_nats.pause()
        await until(lambda: view.silent_for > 4)
        own_nats.resume()
        await alice.reservations.reserve("src/a.py")
        await until(lambda: view.holder("src/a.py") is not None)
        assert view.silent_for < 4


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while True:
            if holds():
                return
            await asyncio.sleep(0.05)


async def test_every_change_of_a_reservation_is_in_the_log(observer: AsyncSession, project: str) -> None:
    await observer.reservations.reserve("a", "b")
    await observer.reservations.release("a")
    bus, seen = observer.context.bus, []
    async with Puller(bus, subjects.LOG, watcher_config([subjects.task_change(project, ">")], "all")) as puller:
        async for delivery in puller.backlog():
            stored = delivery.stored
            seen.append((stored.subject.rpartition(".")[2], stored.headers.get(subjects.KV_OPERATION)))
    assert seen == [("a", None), ("b", None), ("a", None), ("a", "DEL")]
