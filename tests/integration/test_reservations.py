"""Reserving files by the SDK: who holds what, in all worktrees of a repository."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import git
from tracecraft import AsyncSession, FileReserved, NotFound, Session, UsageError, WaitTimeout, leases, reserving
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.reservations import Reserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tracecraft.context import Context
    from tracecraft_stack.nats_server import NatsServer

    Open = Callable[[str], AsyncSession]


@pytest.fixture
async def agents(nats: NatsServer, project: str) -> AsyncIterator[Open]:
    """Opens sessions by the name of their agent; they are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        opened = {}
        for name in ("alice", "bob", "carol"):
            session = AsyncSession(server=nats.url, project=project, agent=name)
            opened[name] = await stack.enter_async_context(session)
        yield opened.__getitem__


async def test_overlapping_globs_have_one_holder_and_the_other_is_told_who_and_where(agents: Open, repo: Path) -> None:
    (held,) = await agents("alice").reservations.reserve("src/*.py", folder=repo)
    assert (held.glob, held.owner, held.task) == ("src/*.py", "alice", "file.src.=2A=2Epy")
    with pytest.raises(FileReserved) as caught:
        await agents("bob").reservations.reserve("docs/x", "src/a*", folder=repo)
    assert (caught.value.owner, caught.value.glob, caught.value.wanted) == ("alice", "src/*.py", "src/a*")
    assert "ask alice" in str(caught.value)
    assert [one.glob for one in await agents("bob").reservations.list()] == ["src/*.py"]
    await agents("bob").reservations.reserve("src/*.md", folder=repo)


async def test_what_one_holds_or_a_part_of_it_is_reserved_again(agents: Open, repo: Path) -> None:
    alice = agents("alice").reservations
    (first,) = await alice.reserve("src/", folder=repo)
    again = await alice.reserve("src/a.py", "src/**/*.py", folder=repo)
    assert [(one.glob, one.fence) for one in again] == [("src/**", first.fence)]
    both = await alice.reserve("src/a.py", "docs/", folder=repo)
    assert {one.glob for one in both} == {"src/**", "docs/**"}


async def test_release_leaves_no_task_and_frees_the_file_for_others(agents: Open, repo: Path) -> None:
    alice, bob = agents("alice"), agents("bob")
    taken = await alice.reservations.reserve("src/a.py", "src/b.py", "docs/", folder=repo)
    assert len({one.rank for one in taken}) == 1  # that of the first: who came in between has a higher one
    assert [task.id for task in await alice.tasks.list()] == []
    assert len(await alice.tasks.list("file.>")) == 3
    released = await alice.reservations.release("src", folder=repo)
    assert {one.glob for one in released} == {"src/a.py", "src/b.py"}
    await bob.reservations.reserve("src/**", folder=repo)
    with pytest.raises(FileReserved):
        await bob.reservations.reserve("docs/x", folder=repo)
    with pytest.raises(NotFound):
        await alice.reservations.release("src", folder=repo)
    await alice.reservations.release(all_=True)
    await bob.reservations.release(all_=True)
    assert await alice.tasks.list("file.>") == []
    assert await alice.reservations.list() == []


async def test_a_file_can_be_reserved_and_released_again_and_again_and_its_attempts_are_counted(agents: Open) -> None:
    alice = agents("alice")
    for attempt in (1, 2, 3):
        (held,) = await alice.reservations.reserve("x")
        task = await alice.tasks.show(held.task)
        assert task is not None
        assert (task.record.attempt, task.record.took_over_from, task.record.created_by) == (attempt, None, "alice")
        await alice.reservations.release("x")


async def test_a_reservation_is_no_work(agents: Open) -> None:
    alice, bob = agents("alice"), agents("bob")
    (held,) = await alice.reservations.reserve("x")
    with pytest.raises(UsageError, match="tracecraft reserve x"):
        async with bob.claim(held.task):
            pass
    with pytest.raises(UsageError, match="tracecraft reserve x"):
        await bob.tasks.add(held.task)
    with pytest.raises(NotFound):
        async with bob.claim_next(">"):
            pass
    await alice.reservations.release("x")
    with pytest.raises(NotFound):
        async with bob.claim_next("file.>"):
            pass


async def test_two_worktrees_of_a_repository_mean_the_same_file(agents: Open, repo: Path) -> None:
    git(repo, "worktree", "add", "--quiet", str(repo / ".trees" / "other"))
    other = repo / ".trees" / "other"
    await agents("alice").reservations.reserve("a.py", folder=repo / "src")
    with pytest.raises(FileReserved):
        await agents("bob").reservations.reserve("src/a.py", folder=other)
    found = await agents("bob").reservations.holder(str(other / "src" / "a.py"))
    assert found is not None
    assert found.owner == "alice"
    assert await agents("alice").reservations.holder(str(other / "src" / "a.py")) is None
    assert await agents("bob").reservations.holder("src/b.py", folder=other) is None
    assert await agents("bob").reservations.holder("/") is None


async def test_waiting_ends_as_soon_as_all_is_free_together(agents: Open, repo: Path) -> None:
    await agents("alice").reservations.reserve("src/a.py", folder=repo)
    await agents("carol").reservations.reserve("src/b.py", folder=repo)
    waiting = asyncio.create_task(agents("bob").reservations.reserve("src/", wait=30, folder=repo))
    await agents("alice").reservations.release("src/a.py", folder=repo)
    await agents("carol").reservations.release("src/b.py", folder=repo)
    assert [one.owner for one in await waiting] == ["bob"]
    with pytest.raises(WaitTimeout, match="reserved by bob"):
        await agents("alice").reservations.reserve("src/a.py", wait=0.2, folder=repo)


async def test_what_is_reserved_together_is_decided_before_it_is_all_written(agents: Open) -> None:
    """Who comes between the first and the second record of a request must not get what the second is for."""
    alice, bob = agents("alice").context, agents("bob").context
    first = await reserving._claim(alice, Reserved("x", also=["y"]), 30)
    with pytest.raises(FileReserved) as caught:
        await reserving.take(bob, ["y"], 30)
    assert caught.value.owner == "alice"
    await reserving._claim(alice, Reserved("y", rank=first.fence), 30)
    await reserving._rewrite(alice, first, Reserved("x", rank=first.fence))
    found = await reserving.everything(bob)
    assert {(one.glob, one.rank, one.also) for one in found} == {("x", found[0].rank, ()), ("y", found[0].rank, ())}
    with pytest.raises(FileReserved):
        await reserving.take(bob, ["y"], 30)


async def test_a_request_that_is_completed_while_another_looks_is_seen(
    agents: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two reads of a look a request may get its second record and lose its first."""
    alice, bob = agents("alice").context, agents("bob").context
    first = await reserving._claim(alice, Reserved("x", also=["y"]), 30)
    later = await reserving._claim(bob, Reserved("y*"), 30)
    leased = reserving.leased

    async def complete_meanwhile(context: Context) -> set[str]:
        monkeypatch.setattr(reserving, "leased", leased)
        seen = await leased(context)
        await reserving._claim(alice, Reserved("y", rank=first.fence), 30)
        await reserving._rewrite(alice, first, Reserved("x", rank=first.fence))
        await reserving.give_back(alice, [first])
        return seen

    monkeypatch.setattr(reserving, "leased", complete_meanwhile)
    with pytest.raises(FileReserved) as caught:
        await reserving._check(bob, later, ["y*"])
    assert caught.value.glob == "y"


async def test_an_earlier_claim_that_has_not_looked_yet_beats_a_later_one_that_has(agents: Open) -> None:
    """The later one of two that overlap sees the earlier one, whoever looks first."""
    alice, bob = agents("alice").context, agents("bob").context
    earlier = await reserving._claim(alice, Reserved("src/**"), 30)
    later = await reserving._claim(bob, Reserved("**/a.py"), 30)
    with pytest.raises(FileReserved):
        await reserving._check(bob, later, ["**/a.py"])
    await reserving._check(alice, earlier, ["src/**"])


async def test_a_view_answers_without_asking_and_hears_of_every_change(agents: Open, repo: Path) -> None:
    alice, bob = agents("alice").reservations, agents("bob").reservations
    await alice.reserve("src/a.py", folder=repo)
    async with bob.watch() as view:
        found = view.holder("src/a.py", folder=repo)
        assert found is not None
        assert (found.owner, found.glob) == ("alice", "src/a.py")
        assert view.holder("src/b.py", folder=repo) is None
        assert view.silent_for < 5
        await alice.reserve("src/b.py", folder=repo)
        await until(lambda: view.holder("src/b.py", folder=repo) is not None)
        await alice.release(all_=True)
        await until(lambda: view.all() == [])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def test_the_blocking_face_does_the_same(nats: NatsServer, project: str, repo: Path) -> None:
    with (
        Session(server=nats.url, project=project, agent="alice") as alice,
        Session(server=nats.url, project=project, agent="bob") as bob,
    ):
        (held,) = alice.reservations.reserve("src", folder=repo)
        with bob.reservations.watch() as view:
            assert view.all()[0].fence == held.fence
            found = view.holder("src/a.py", folder=repo)
        assert found is not None
        assert [one.fence for one in bob.reservations.list("src/a.py", folder=repo)] == [found.fence]
        holder = bob.reservations.holder("src/a.py", folder=repo)
        assert holder is not None
        assert holder.owner == "alice"
        assert [one.glob for one in alice.reservations.release("src", folder=repo)] == ["src/**"]


async def test_a_record_whose_lease_is_long_gone_is_cleared_away(agents: Open) -> None:
    alice, bob = agents("alice"), agents("bob")
    stream, subject = alice.context.kv(subjects.TASKS, "file.gone")
    dead = TaskRecord(state="claimed", owner="alice", session="dead", nonce="n", data={"glob": "gone"})
    await alice.context.bus.cas(stream, subject, bodies.encode(dead), 0)
    await alice.reservations.reserve("kept")
    assert [one.glob for one in await bob.reservations.list()] == ["kept"]
    assert [task.id for task in await bob.tasks.list("file.>")] == ["file.kept"]
    (held,) = await bob.reservations.reserve("gone")
    assert held.owner == "bob"


async def test_a_reservation_that_lapses_is_told(agents: Open, nats: NatsServer, project: str) -> None:
    told: list[str] = []
    alice = agents("alice")
    (held,) = await alice.reservations.reserve("x", lease=3, on_lost=lambda loss: told.append(loss.task))
    lease = await leases.read(alice.context, held.task)
    assert await leases.drop(alice.context, held.task, lease.revision)
    await until(lambda: told == [held.task])
    assert await agents("bob").reservations.reserve("x")


# -- paths ---------------------------------------------------------------------------------------------------------


async def test_paths_are_normal_whatever_they_are_called(agents: Open, repo: Path) -> None:
    alice = agents("alice").reservations
    (repo / "app" / "[id]").mkdir(parents=True)
    (repo / "link").symlink_to(repo / "src")
    wanted = {
        "./src/../src/a.py": "src/a.py",
        "link/b.py": "src/b.py",
        "link/*.md": "src/*.md",
        "app/[id]/": "app/[[]id]/**",
        str(repo / "docs/x.md"): "docs/x.md",
        "new/": "new/**",
        "new2/**/": "new2/**/**",
    }
    for given, glob in wanted.items():
        (held,) = await alice.reserve(given, folder=repo)
        assert held.glob == glob
    assert [one.glob for one in await alice.reserve(".", folder=repo)] == ["**"]
    for wrong in ("../x", "/etc/passwd", "src\\a.py", "*/../x", ""):
        with pytest.raises(UsageError):
            await alice.reserve(wrong, folder=repo)
