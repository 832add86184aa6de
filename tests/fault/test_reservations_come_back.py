"""Who comes back after its lease lapsed has again what nobody overlaps, and is told what is lost: never two holders."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.coding_agent import until
from tests.support.repository import git, reserve, result
from tests.support.reservation_history import listening
from tracecraft import AsyncSession, FileReserved, NotFound, claims, lapsed, leases, reserving
from tracecraft_core import subjects
from tracecraft_core.bodies import Handoff
from tracecraft_core.errors import ClaimLost
from tracecraft_core.reservations import Reserved, task_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.cli import CommandLine
    from tests.support.coding_agent import CodingAgent, CodingAgents
    from tests.support.reservation_history import History

LEASE = "3s"
WAIT_S = 20
ROUNDS = 20


@pytest.fixture
async def observer(cli: CommandLine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=cli.server, project=cli.project, agent="observer") as session:
        yield session


@pytest.fixture
async def history(observer: AsyncSession) -> AsyncIterator[History]:
    async with listening(observer) as heard:
        yield heard


@pytest.fixture
def worktrees(repo: Path) -> tuple[Path, Path]:
    """The repository, and another worktree of it."""
    other = repo.with_name("other")
    assert git(repo, "worktree", "add", "--quiet", str(other), "-b", "other").returncode == 0
    return repo, other


@pytest.fixture
def session_in(coding_agents: CodingAgents) -> Callable[[str, Path], CodingAgent]:
    """Begins the session of a coding agent in a worktree."""

    def begin(name: str, folder: Path) -> CodingAgent:
        agent = coding_agents(env={"TRACECRAFT_AGENT": name})
        agent.work = folder
        agent.start()
        return agent

    return begin


async def blocking(work: Callable[..., Any], *args: Any, **named: Any) -> Any:
    return await asyncio.to_thread(work, *args, **named)


def reserved(agent: CodingAgent, path: str, *more: str, glob: str) -> None:
    done = agent.cli("reserve", path, *more)
    assert done["code"] == 0, done
    until(lambda: glob in agent.stop(), "the reservation is known")


def told_of_loss(agent: CodingAgent) -> str:
    said = agent.tool()
    return said if "is lost" in said else ""


async def free(observer: AsyncSession) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if not await reserving.everything(observer.context):
                return
            await asyncio.sleep(0.05)


def halt(agent: CodingAgent, how: signal.Signals) -> Callable[[], None]:
    """Kill or stop the sidecar of a session; what is called has it back, as far as that is not for its next event."""
    pid = agent.sidecar
    os.kill(pid, how)
    return lambda: os.kill(pid, signal.SIGCONT) if how is signal.SIGSTOP else None


HOW = pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])


# -- the sidecar of a coding agent --------------------------------------------------------------------------------


@HOW
async def test_files_that_another_reserved_while_nobody_kept_them_are_lost_and_told(
    how: signal.Signals,
    session_in: Callable[[str, Path], CodingAgent],
    worktrees: tuple[Path, Path],
    observer: AsyncSession,
    history: History,
) -> None:
    alice = await blocking(session_in, "alice", worktrees[0])
    await blocking(reserved, alice, "src", "--lease", LEASE, glob="src/**")
    come_back = halt(alice, how)
    await observer.reservations.reserve("src/a.py", wait=WAIT_S, folder=worktrees[1])
    come_back()
    told = await blocking(until, lambda: told_of_loss(alice), "the loss is told")
    assert "Your reservation of src/** is lost: it lapsed, and observer has reserved files of it." in told
    assert "You have reserved" not in told
    assert "src/**" not in await blocking(alice.stop)
    assert "You have reserved" not in await blocking(alice.context, "SessionStart", source="compact")
    assert "observer" in await blocking(alice.edit, str(worktrees[0] / "src/a.py"))
    assert await blocking(told_of_loss, alice) == ""  # once
    assert [(one.glob, one.owner) for one in await observer.reservations.list()] == [("src/a.py", "observer")]
    await history.check()


@HOW
async def test_files_that_nobody_reserved_meanwhile_are_had_again_without_a_word(
    how: signal.Signals,
    session_in: Callable[[str, Path], CodingAgent],
    repo: Path,
    observer: AsyncSession,
    history: History,
) -> None:
    alice = await blocking(session_in, "alice", repo)
    await blocking(reserved, alice, "src", "--lease", LEASE, glob="src/**")
    come_back = halt(alice, how)
    await free(observer)
    come_back()
    assert await blocking(told_of_loss, alice) == ""
    await blocking(until, lambda: "src/**" in alice.stop(), "it is held again")
    with pytest.raises(FileReserved):
        await observer.reservations.reserve("src/a.py", folder=repo)
    await history.check()


async def test_of_two_sessions_that_come_back_at_once_one_has_its_files_and_the_other_is_told(
    session_in: Callable[[str, Path], CodingAgent],
    worktrees: tuple[Path, Path],
    observer: AsyncSession,
    history: History,
) -> None:
    alice, bob = [await blocking(session_in, *who) for who in zip(("alice", "bob"), worktrees, strict=True)]
    await blocking(reserved, alice, "src", "--lease", LEASE, glob="src/**")
    back = [halt(alice, signal.SIGSTOP)]
    await blocking(reserved, bob, "src/a.py", "--lease", LEASE, "--wait", f"{WAIT_S}s", glob="src/a.py")
    back.append(halt(bob, signal.SIGSTOP))
    await free(observer)
    for come_back in back:
        come_back()
    agents = {"alice": alice, "bob": bob}
    loser = await blocking(until, lambda: [name for name in agents if told_of_loss(agents[name])], "one is told")
    [held] = await observer.reservations.list()
    assert [held.owner] == [name for name in agents if [name] != loser]
    assert "reserve" not in await blocking(agents[loser[0]].stop)
    await history.check()


async def test_a_reservation_that_was_swept_away_while_its_session_was_stopped_is_not_lost_without_a_word(
    session_in: Callable[[str, Path], CodingAgent], repo: Path, observer: AsyncSession, history: History
) -> None:
    alice = await blocking(session_in, "alice", repo)
    await blocking(reserved, alice, "src", "--lease", LEASE, glob="src/**")
    come_back = halt(alice, signal.SIGSTOP)
    await free(observer)
    await sweep(observer, "src/**")
    await observer.reservations.reserve("src/a.py", folder=repo)
    come_back()
    assert "observer has" in await blocking(until, lambda: told_of_loss(alice), "the loss is told")
    await history.check()


async def test_what_the_agent_releases_itself_is_neither_had_again_nor_told_as_lost(
    session_in: Callable[[str, Path], CodingAgent], repo: Path, observer: AsyncSession
) -> None:
    alice = await blocking(session_in, "alice", repo)
    await blocking(reserved, alice, "src", glob="src/**")
    os.kill(alice.sidecar, signal.SIGKILL)
    assert (await blocking(alice.cli, "reserve", "--release", "--all"))["code"] == 0
    assert await blocking(until, lambda: alice.tool(), "there is another sidecar")
    assert await blocking(alice.stop) == ""
    await blocking(reserved, alice, "docs/x", glob="docs/x")
    assert (await blocking(alice.cli, "reserve", "--release", "--all"))["code"] == 0
    await blocking(until, lambda: alice.stop() == "", "the release is known")
    assert await blocking(told_of_loss, alice) == ""
    assert await observer.reservations.list() == []


async def test_what_a_killed_command_had_claimed_and_not_looked_at_is_not_kept(
    session_in: Callable[[str, Path], CodingAgent], repo: Path, cli: CommandLine, observer: AsyncSession
) -> None:
    alice = await blocking(session_in, "alice", repo)
    await observer.reservations.reserve("src/a.py", folder=repo)
    name = f"claude-{alice.id}"
    async with AsyncSession(server=cli.server, project=cli.project, agent="alice", session=name) as command:
        claim = await reserving._claim(command.context, Reserved("src/**"), 60)
        half = await reserving._claim(command.context, Reserved("x", also=["y"]), 60)
        await blocking(reserved, alice, "docs", glob="docs")
        assert "src/**" not in await blocking(alice.stop)
        for held in (claim, half):
            now = await leases.read(observer.context, held.task)
            assert (now.revision, now.lease and now.lease.ttl) == (held.lease_revision, 60)
        with pytest.raises(FileReserved):  # nor is it a reservation that one has already
            await reserving.take(command.context, ["src/**"], 60)


# -- commands, and everybody else ---------------------------------------------------------------------------------


async def test_a_command_has_again_what_lapsed_only_where_nobody_overlaps(
    cli: CommandLine, repo: Path, observer: AsyncSession, history: History
) -> None:
    await blocking(reserve, cli, repo, "src", "docs/x", "--lease", "1s")
    await free(observer)
    await observer.reservations.reserve("src/a.py", folder=repo)
    done = await blocking(cli, "memory", "set", "k", "1", agent="alice")
    assert done.returncode == 0
    assert "you no longer hold the reservation of src/**: observer has it now (as src/a.py)" in done.stderr
    held = await blocking(reserve, cli, repo, "--list", "--json", agent="bob")
    assert [(one["glob"], one["owner"]) for one in result(held)] == [("src/a.py", "observer"), ("docs/x", "alice")]
    await history.check()


async def test_the_owner_of_a_lapsed_reservation_is_not_revived_by_a_renewal(
    cli: CommandLine, repo: Path, observer: AsyncSession, history: History
) -> None:
    await blocking(reserve, cli, repo, "src", "--lease", "1s")
    await free(observer)
    await observer.reservations.reserve("src/a.py", folder=repo)
    assert (await blocking(cli, "renew", agent="alice")).returncode == 4
    assert (await blocking(cli, "renew", agent="alice")).stderr.startswith("nothing to renew")
    await history.check()


async def test_of_two_that_come_back_in_one_moment_exactly_one_has_it(
    cli: CommandLine, observer: AsyncSession, history: History
) -> None:
    globs = {"alice": "src/**", "bob": "**/a.py"}
    async with (
        AsyncSession(server=cli.server, project=cli.project, agent="alice") as alice,
        AsyncSession(server=cli.server, project=cli.project, agent="bob") as bob,
    ):
        for _ in range(ROUNDS):
            for session in (alice, bob):
                [held] = await reserving.take(session.context, [globs[session.agent]], 60)
                assert await leases.drop(session.context, held.task, held.lease_revision)  # as when it lapses
            both = (lapsed.take_again(one.context, task_of(globs[one.agent]), 60) for one in (alice, bob))
            found = await asyncio.gather(*both, return_exceptions=True)
            [won] = [one for one in found if not isinstance(one, BaseException)]
            [lost] = [one for one in found if isinstance(one, BaseException)]
            assert isinstance(lost, ClaimLost), lost
            winner = alice if won.record.owner == "alice" else bob
            assert lost.owner == winner.agent
            await claims.release(winner.context, won)
    await history.check()


async def test_how_a_reservation_ended_tells_whether_it_may_be_had_again(
    cli: CommandLine, observer: AsyncSession
) -> None:
    async with AsyncSession(server=cli.server, project=cli.project, agent="alice") as alice:
        task = task_of("src/**")

        async def lapse() -> None:
            [held] = await reserving.take(alice.context, ["src/**"], 60)
            assert await leases.drop(alice.context, held.task, held.lease_revision)

        await lapse()
        await sweep(observer, "src/**")
        held = await lapsed.take_again(alice.context, task, 60)
        await claims.release(alice.context, held)
        with pytest.raises(NotFound, match="alice has released it"):
            await lapsed.take_again(alice.context, task, 60)
        await lapse()
        await observer.reservations.reserve("src/**")
        with pytest.raises(ClaimLost) as lost:
            await lapsed.take_again(alice.context, task, 60)
        assert lost.value.owner == "observer"
        await observer.reservations.release(all_=True)
        await claims.release(alice.context, await lapsed.take_again(alice.context, task, 60))
        await lapse()
        await claims.force(observer.context, task, "blocked", Handoff(), "the plan has changed")
        with pytest.raises(ClaimLost) as lost:
            await lapsed.take_again(alice.context, task, 60)
        assert (lost.value.owner, lost.value.state) == ("observer", "blocked")
        with pytest.raises(ClaimLost, match="gone"):
            await lapsed.take_again(alice.context, task_of("never/had"), 60)


async def sweep(session: AsyncSession, glob: str) -> None:
    """What a list does a minute after the lease has lapsed."""
    context = session.context
    stored = await context.bus.leader_get(*context.kv(subjects.TASKS, task_of(glob)))
    assert stored is not None
    assert await lapsed._sweep(context, stored) == 1


# -- the lease ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--lease", "1h")], ids=["default", "asked-for"])
async def test_a_reservation_of_a_session_that_is_killed_at_once_has_a_short_lease(
    more: tuple[str, ...], session_in: Callable[[str, Path], CodingAgent], repo: Path, observer: AsyncSession
) -> None:
    alice = await blocking(session_in, "alice", repo)
    sidecar = alice.sidecar
    done = await blocking(alice.cli, "reserve", "src", "docs/x", *more)
    os.kill(sidecar, signal.SIGKILL)
    alice.kill()
    assert "src/** fence" in done["stdout"]
    assert "lease 30s (renewed as long as this session lives)" in done["stdout"]
    found = [await leases.read(observer.context, task_of(glob)) for glob in ("src/**", "docs/x")]
    assert [one.lease and one.lease.ttl for one in found] == [leases.LIVE_TTL_S] * 2


async def test_where_no_sidecar_keeps_it_a_reservation_has_the_lease_of_a_command_and_says_so(
    session_in: Callable[[str, Path], CodingAgent], repo: Path, observer: AsyncSession
) -> None:
    alice = await blocking(session_in, "alice", repo)
    os.kill(alice.sidecar, signal.SIGKILL)
    done = await blocking(alice.cli, "reserve", "src")
    assert "lease 15m" in done["stdout"]
    assert "nothing renews it just now" in done["stderr"]
    await blocking(until, lambda: alice.tool() and "src/**" in alice.stop(), "the next sidecar keeps it")
    now = (await leases.read(observer.context, task_of("src/**"))).lease
    assert now is not None
    assert now.ttl == leases.LIVE_TTL_S


async def test_a_lease_that_a_command_made_longer_is_made_short_again(
    session_in: Callable[[str, Path], CodingAgent], repo: Path, observer: AsyncSession
) -> None:
    alice = await blocking(session_in, "alice", repo)
    await blocking(reserved, alice, "src", glob="src/**")
    assert (await blocking(alice.cli, "renew", "--lease", "1h"))["code"] == 0
    async with asyncio.timeout(5):
        while True:
            now = (await leases.read(observer.context, task_of("src/**"))).lease
            if now is not None and now.ttl <= leases.LIVE_TTL_S:
                return
            await asyncio.sleep(0.05)
