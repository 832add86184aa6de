"""Reserving files: by the SDK and by the command line, in worktrees, and what a commit hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft import AsyncSession, FileReserved, NotFound, Session, UsageError, WaitTimeout, leases, reserving
from tracecraft_core import bodies, subjects
from tracecraft_core.bodies import TaskRecord
from tracecraft_core.reservations import Reserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.cli import CommandLine
    from tracecraft.context import Context
    from tracecraft_stack.nats_server import NatsServer

    Open = Callable[[str], AsyncSession]


def git(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with src/a.py and src/b.py, committed."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "src").mkdir()
    for name in ("a.py", "b.py"):
        (folder / "src" / name).write_text(f"print({name!r})\n" * 20)
    git(folder, "add", ".")
    assert git(folder, "commit", "--quiet", "--message", "Begin").returncode == 0
    return folder


@pytest.fixture
async def agents(nats: NatsServer, project: str) -> AsyncIterator[Open]:
    """Opens sessions by the name of their agent; they are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        opened = {}
        for name in ("alice", "bob", "carol"):
            session = AsyncSession(server=nats.url, project=project, agent=name)
            opened[name] = await stack.enter_async_context(session)
        yield opened.__getitem__


# -- the SDK ------------------------------------------------------------------------------------------------------


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
    leased = reserving._leased

    async def complete_meanwhile(context: Context) -> set[str]:
        monkeypatch.setattr(reserving, "_leased", leased)
        seen = await leased(context)
        await reserving._claim(alice, Reserved("y", rank=first.fence), 30)
        await reserving._rewrite(alice, first, Reserved("x", rank=first.fence))
        await reserving.give_back(alice, [first])
        return seen

    monkeypatch.setattr(reserving, "_leased", complete_meanwhile)
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


# -- paths --------------------------------------------------------------------------------------------------------


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


# -- the command line ---------------------------------------------------------------------------------------------


def run(
    cli: CommandLine, folder: Path, *args: str, agent: str = "alice", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cli.argv("reserve", *args),
        env=cli.environment(agent, None, env),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def test_reserve_check_list_and_release(cli: CommandLine, repo: Path) -> None:
    done = result(run(cli, repo, "src/*.py", "--json"))
    assert (done["glob"], done["task"], done["again"]) == ("src/*.py", "file.src.=2A=2Epy", False)
    again = run(cli, repo / "src", "a.py")
    assert again.stdout == f"src/*.py fence {done['fence']} lease 15m (held already)\n"
    refused = run(cli, repo, "src", "--json", agent="bob")
    assert refused.returncode == 3
    error = json.loads(refused.stdout)["error"]
    assert (error["type"], error["owner"], error["wanted"], error["glob"]) == (
        "FileReserved",
        "alice",
        "src/**",
        "src/*.py",
    )
    assert run(cli, repo, "--check", "src/a.py", "docs", agent="bob").returncode == 3
    assert run(cli, repo, "--check", "src/a.py").returncode == 0
    assert (
        "src/a.py is reserved by alice (as src/*.py) since" in run(cli, repo, "--check", "src/a.py", agent="bob").stderr
    )
    listed = result(run(cli, repo, "--list", "--json", agent="bob"))
    assert [(one["glob"], one["owner"]) for one in listed] == [("src/*.py", "alice")]
    assert run(cli, repo, "--list", "docs").stdout == ""
    assert run(cli, repo, "--release", "src").stdout == "src/*.py released\n"
    assert run(cli, repo, "--release", "src").returncode == 1
    assert run(cli, repo, "--check", "src/a.py", agent="bob").returncode == 0
    assert cli("tasks", "file.>").stdout == ""


def test_a_check_says_what_is_free_and_what_is_yours(cli: CommandLine, repo: Path) -> None:
    run(cli, repo, "src/*.py")
    assert run(cli, repo, "--check", "src/a.py", "docs").stdout == "src/a.py is yours, by src/*.py\ndocs is free\n"
    assert result(run(cli, repo, "--check", "src/a.py", "docs", "--json"))["free"] == ["src/a.py", "docs"]


def test_a_glob_from_the_top_is_taken_as_it_is_listed(cli: CommandLine, repo: Path) -> None:
    (repo / "src" / "[id]").mkdir()
    (repo / "src" / "[id]" / "x").touch()
    run(cli, repo, "src/[id]/x")
    (listed,) = result(run(cli, repo, "--list", "--json"))
    assert listed["glob"] == "src/[[]id]/x"
    again = run(cli, repo / "src", "--from-top", listed["glob"])
    assert "held already" in again.stdout
    assert run(cli, repo / "src", "--check", "--from-top", "src/[[]id]/x", agent="bob").returncode == 3
    assert result(run(cli, repo / "src", "--from-top", "src", "--json"))["glob"] == "src"
    assert run(cli, repo / "src", "--from-top", "../x").returncode == 2
    assert run(cli, repo / "src", "--release", "--from-top", listed["glob"]).returncode == 0


def test_people_read_which_files_are_reserved_and_to_the_second_since_when(cli: CommandLine, repo: Path) -> None:
    run(cli, repo, "src/a.py")
    refused = run(cli, repo, "src", agent="bob")
    assert re.search(r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, the lease", refused.stderr), refused.stderr
    assert re.search(r"^alice .* reserved src/a\.py ", cli("agents").stdout, re.MULTILINE)
    story = cli("task", "show", "file.src.a=2Epy").stdout
    assert re.match(r"reserved src/a\.py by alice, lease \d+ s, revision \d+, [-\dT:]{19}Z\n", story), story
    assert "title" not in story
    run(cli, repo, "--release", "src/a.py")
    run(cli, repo, "src/a.py", agent="bob")
    run(cli, repo, "--release", "src/a.py", agent="bob")
    told: list[str] = []

    def all_is_told() -> bool:
        told[:] = [" ".join(line.split()[2:]) for line in cli("log", "--subject", "task.>").stdout.splitlines()]
        return len(told) >= 4

    asyncio.run(until(all_is_told))
    words = ("reserved src/a.py", "reservation of src/a.py ended")
    assert told == [f"{who} {what}" for who in ("alice", "bob") for what in words]


def test_the_lease_of_a_reservation_is_renewed_by_every_command(cli: CommandLine, repo: Path) -> None:
    run(cli, repo, "src", "--lease", "30s")
    before = result(run(cli, repo, "--list", "--json", agent="bob"))[0]["expires_in"]
    lease = json.loads(cli("whoami", "--json", agent="alice").stdout)["result"]["claims"]
    assert lease == ["file.src.=2A=2A"]
    cli("memory", "set", "k", "1", agent="alice")
    shown = json.loads(cli("tasks", "file.>", "--json").stdout)["result"]
    assert shown[0]["owner"] == "alice"
    assert result(run(cli, repo, "--list", "--json", agent="bob"))[0]["expires_in"] > before - 5


def test_a_program_runs_under_its_files_and_they_are_free_when_it_ends(cli: CommandLine, repo: Path) -> None:
    check = [sys.executable, "-m", "tracecraft_cli", "reserve", "--check", "src/a.py", "-a", "bob", "--session", "s"]
    assert run(cli, repo, "src", "--exec", "--", *check).returncode == 3
    assert run(cli, repo, "--check", "src/a.py", agent="bob").returncode == 0
    assert run(cli, repo, "src", "--exec", "--", "true", agent="bob").returncode == 0
    assert cli("tasks", "file.>").stdout == ""


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--all"],
        ["--staged"],
        ["--release"],
        ["--release", "src", "--all"],
        ["--check"],
        ["--install-git-hook", "x"],
        ["--list", "--release", "src"],
        ["--check", "--list", "src"],
        ["--install-git-hook", "--uninstall-git-hook"],
        ["--from-top", "--staged", "--check"],
        ["--exec"],
        ["src", "--", "true"],
    ],
    ids=" ".join,
)
def test_words_that_do_not_go_together_are_refused(cli: CommandLine, repo: Path, args: list[str]) -> None:
    assert run(cli, repo, *args).returncode == 2


# -- commits ------------------------------------------------------------------------------------------------------


def commit(
    cli: CommandLine, folder: Path, *args: str, agent: str = "bob", **env: str
) -> subprocess.CompletedProcess[str]:
    return git(folder, "commit", "--message", "Change", *args, env=cli.environment(agent, None, env))


def test_a_commit_of_a_held_file_is_refused_by_name_and_no_other(cli: CommandLine, repo: Path) -> None:
    assert "installed" in run(cli, repo, "--install-git-hook").stdout
    run(cli, repo, "src/a.py")
    (repo / "src/b.py").write_text("b")
    git(repo, "add", ".")
    assert commit(cli, repo).returncode == 0
    (repo / "src/a.py").write_text("a")
    refused = commit(cli, repo, "--all")
    assert refused.returncode == 1
    assert "src/a.py is reserved by alice since" in refused.stderr
    assert "--no-verify" in refused.stderr
    assert commit(cli, repo, "--all", agent="alice").returncode == 0
    (repo / "src/a.py").write_text("b")
    assert commit(cli, repo, "--all", "--no-verify").returncode == 0


def test_both_names_of_a_renamed_file_and_a_deleted_one_count(cli: CommandLine, repo: Path) -> None:
    run(cli, repo, "--install-git-hook")
    run(cli, repo, "src/a.py", "new.py")
    git(repo, "mv", "src/a.py", "src/c.py")
    assert "src/a.py is reserved by alice" in commit(cli, repo).stderr
    git(repo, "reset", "--quiet", "--hard")
    git(repo, "mv", "src/b.py", "new.py")
    assert "new.py is reserved by alice" in commit(cli, repo).stderr
    git(repo, "reset", "--quiet", "--hard")
    git(repo, "rm", "--quiet", "src/a.py")
    assert commit(cli, repo).returncode == 1


def test_the_hook_serves_all_worktrees_and_the_first_commit(cli: CommandLine, repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "--quiet", str(tmp_path / "other"))
    run(cli, tmp_path / "other", "--install-git-hook")
    run(cli, repo, "src/a.py")
    (tmp_path / "other/src/a.py").write_text("a")
    assert commit(cli, tmp_path / "other", "--all").returncode == 1
    fresh = tmp_path / "fresh"
    git(tmp_path, "init", "--quiet", str(fresh))
    (fresh / "src").mkdir()
    (fresh / "src/a.py").write_text("a")
    run(cli, fresh, "--install-git-hook")
    git(fresh, "add", ".")
    assert commit(cli, fresh).returncode == 1
    assert commit(cli, fresh, agent="alice").returncode == 0


def test_without_a_bus_a_commit_goes_through_and_says_so_unless_strict(cli: CommandLine, repo: Path) -> None:
    run(cli, repo, "--install-git-hook")
    (repo / "src/a.py").write_text("a")
    nowhere = {"TRACECRAFT_SERVER": "nats://127.0.0.1:1"}
    refused = commit(cli, repo, "--all", TRACECRAFT_RESERVE_STRICT="1", **nowhere)
    assert refused.returncode == 1
    assert "no NATS server answers" in refused.stderr
    done = commit(cli, repo, "--all", **nowhere)
    assert done.returncode == 0
    assert "nobody was asked" in done.stderr


def test_a_hook_that_was_there_runs_first_and_comes_back(cli: CommandLine, repo: Path) -> None:
    hooks = repo / "my hooks"
    git(repo, "config", "core.hooksPath", str(hooks))
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\necho theirs >&2\n[ ! -e refuse ]\n")
    (hooks / "pre-commit").chmod(0o755)
    first = run(cli, repo, "--install-git-hook", "--json")
    assert result(first)["outcome"] == "installed"
    assert result(run(cli, repo / "src", "--install-git-hook", "--json"))["outcome"] == "unchanged"
    (repo / "src/a.py").write_text("a")
    (repo / "refuse").touch()
    assert commit(cli, repo, "--all").returncode == 1
    (repo / "refuse").unlink()
    done = commit(cli, repo, "--all")
    assert done.returncode == 0
    assert "theirs" in done.stderr
    assert result(run(cli, repo, "--uninstall-git-hook", "--json"))["outcome"] == "removed"
    assert (hooks / "pre-commit").read_text().endswith("[ ! -e refuse ]\n")
    assert [path.name for path in hooks.iterdir()] == ["pre-commit"]
    assert result(run(cli, repo, "--uninstall-git-hook", "--json"))["outcome"] == "absent"


def test_there_is_no_hook_outside_of_a_repository(cli: CommandLine, tmp_path: Path) -> None:
    for form in (["--install-git-hook"], ["--uninstall-git-hook"], ["--check", "--staged"]):
        done = run(cli, tmp_path, *form)
        assert done.returncode == 2
        assert done.stderr == f"tracecraft: {tmp_path} is no git repository: go into one\n", form
