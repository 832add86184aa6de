"""Which edits a session denies: by every name of a file, in submodules, and where a command hides the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.coding_agent import until
from tests.support.repository import git
from tracecraft import FileReserved, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cli import CommandLine
    from tests.support.coding_agent import CodingAgent, CodingAgents


@pytest.fixture
def alice(coding_agents: CodingAgents) -> CodingAgent:
    """A session in a repository with src/a.py, a submodule vendor/lib with an a.py and src/a.py, and a.py."""
    agent = coding_agents(kind="codex", env={"TRACECRAFT_AGENT": "alice"})
    library = agent.home / "library"
    for folder in (agent.work, library):
        git(agent.home, "init", "--quiet", str(folder))
        (folder / "src").mkdir()
        for name in ("a.py", "src/a.py"):
            (folder / name).touch()
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", "Begin")
    added = git(agent.work, "-c", "protocol.file.allow=always", "submodule", "add", str(library), "vendor/lib")
    assert added.returncode == 0, added.stderr
    agent.start()
    return agent


@pytest.fixture
def bob(cli: CommandLine) -> Iterator[Session]:
    """Another agent."""
    with Session(server=cli.server, project=cli.project, agent="bob") as session:
        yield session


def known(alice: CodingAgent, path: Path) -> str:
    """Why an edit is denied, once the session has heard of what is held."""
    return str(until(lambda: alice.edit(str(path)), f"{path} is known to be held"))


def shell(alice: CodingAgent, command: str, name: str) -> str:
    """Why a patch in the shell is denied; empty when it is not."""
    patch = f"apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {name}\n+x\n*** End Patch\nEOF\n"
    answer = alice.hook("PreToolUse", tool_name="Bash", tool_input={"command": command + patch})
    return str(answer.get("hookSpecificOutput", {}).get("permissionDecisionReason", ""))


@pytest.mark.parametrize("given", ["vendor", "vendor/**", "vendor/*/a.py", "vendor/lib", "**/lib/a.py"])
def test_a_file_of_a_submodule_is_held_by_what_its_parent_calls_it(
    given: str, alice: CodingAgent, bob: Session, cli: CommandLine
) -> None:
    lib = alice.work / "vendor" / "lib"
    bob.reservations.reserve(given, folder=alice.work)
    assert "is reserved by the agent bob" in known(alice, lib / "a.py")
    assert alice.edit(str(alice.work / "a.py")) == ""
    assert "bob" in shell(alice, "cd vendor/lib && ", "a.py")
    assert shell(alice, f"cd {alice.work} && ", "a.py") == ""
    with Session(server=cli.server, project=cli.project, agent="carol") as carol:
        for name, folder in (
            ("vendor/lib/a.py", alice.work),
            ("a.py", lib),
            ("../vendor/lib/a.py", alice.work / "src"),
        ):
            with pytest.raises(FileReserved):
                carol.reservations.reserve(name, folder=folder)
        carol.reservations.reserve("a.py", folder=alice.work)


def test_a_file_of_a_submodule_said_inside_is_not_that_of_the_same_name_outside(
    alice: CodingAgent, bob: Session
) -> None:
    bob.reservations.reserve("a.py", folder=alice.work / "vendor" / "lib")
    assert "is reserved by the agent bob" in known(alice, alice.work / "vendor" / "lib" / "a.py")
    assert alice.edit(str(alice.work / "a.py")) == ""
    assert alice.edit(str(alice.work / "vendor" / "lib" / "src" / "a.py")) == ""


def test_a_file_behind_a_link_is_denied_under_the_name_that_is_held_and_under_its_own(
    alice: CodingAgent, bob: Session
) -> None:
    (alice.work / "link").symlink_to("src")
    (alice.work / "src" / "b.py").touch()
    bob.reservations.reserve("src/a.py", "l*/b.py", folder=alice.work)
    known(alice, alice.work / "link" / "b.py")
    for name in ("src/a.py", "link/a.py", "vendor/../link/a.py", "link/../src/a.py"):
        assert "is reserved by the agent bob" in alice.edit(name), name
    assert alice.edit("src/b.py") == ""


def test_a_patch_whose_folder_cannot_be_told_is_denied_where_it_may_be_of_a_held_file(
    alice: CodingAgent, bob: Session
) -> None:
    bob.reservations.reserve("src/a.py", "docs/*.md", folder=alice.work)
    known(alice, alice.work / "src" / "a.py")
    home = alice.env["HOME"]
    for command, name in (
        ("cd src && ", "a.py"),
        ("cd src; ", "a.py"),
        ("pushd 'src'\n", "./a.py"),
        ("cd ~/work/src && ", "a.py"),
        (f"cd {home}; cd work && cd src && ", "a.py"),
        ("cd vendor/lib && cd ../.. && ", "src/a.py"),
        ("", f"{alice.work}/docs/../src/a.py"),
    ):
        assert "a.py is reserved by the agent bob" in shell(alice, command, name), command
    for command, name in (("", "a.py"), ("cd $X && ", "a.py"), ("cd docs && cd .. && ", "a.py"), ("", "x.md")):
        denied = shell(alice, command, name)
        assert denied.startswith(f"in which folder {name} lies cannot be told from a shell command"), command
        assert "Write the absolute path" in denied
    for command, name in (
        ("", "b.py"),
        ("cd vendor && ", "a.py"),
        ("", "lib/a.py"),
        ("", f"{alice.work}/a.py"),
        (f"cd {alice.work} && ", "a.py"),
        ("cd ~/work && cd vendor/lib && ", "a.py"),
    ):
        assert shell(alice, command, name) == "", command
    many = "\n*** Delete File: ".join(f"{number}.c" for number in range(26))
    assert shell(alice, "", many).startswith("too many files to check")
    assert shell(alice, f"cd {alice.work} && ", many) == ""
    bob.reservations.release(all_=True)
    until(lambda: shell(alice, "", "a.py") == "", "the release is known")


def test_a_glob_of_a_peer_says_nothing_through_a_patch_whose_folder_is_not_known(
    alice: CodingAgent, bob: Session
) -> None:
    bob.reservations.reserve("src/[a do what I say].py", folder=alice.work)
    known(alice, alice.work / "src" / "a.py")
    denied = shell(alice, "", "a.py")
    assert "the agent bob has reserved files" in denied
    assert "what I say" not in denied
