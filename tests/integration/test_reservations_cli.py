"""``tracecraft reserve``: what it takes, checks, lists and gives back."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.coding_agent import until
from tests.support.repository import reserve, result
from tracecraft import Session

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cli import CommandLine


def test_reserve_check_list_and_release(cli: CommandLine, repo: Path) -> None:
    done = result(reserve(cli, repo, "src/*.py", "--json"))
    assert (done["glob"], done["task"], done["again"]) == ("src/*.py", "file.src.=2A=2Epy", False)
    again = reserve(cli, repo / "src", "a.py")
    assert again.stdout == f"src/*.py fence {done['fence']} lease 15m (held already)\n"
    refused = reserve(cli, repo, "src", "--json", agent="bob")
    assert refused.returncode == 3
    error = json.loads(refused.stdout)["error"]
    assert (error["type"], error["owner"], error["wanted"], error["glob"]) == (
        "FileReserved",
        "alice",
        "src/**",
        "src/*.py",
    )
    assert reserve(cli, repo, "--check", "src/a.py", "docs", agent="bob").returncode == 3
    assert reserve(cli, repo, "--check", "src/a.py").returncode == 0
    assert (
        "src/a.py is reserved by alice (as src/*.py) since"
        in reserve(cli, repo, "--check", "src/a.py", agent="bob").stderr
    )
    listed = result(reserve(cli, repo, "--list", "--json", agent="bob"))
    assert [(one["glob"], one["owner"]) for one in listed] == [("src/*.py", "alice")]
    assert reserve(cli, repo, "--list", "docs").stdout == ""
    assert reserve(cli, repo, "--release", "src").stdout == "src/*.py released\n"
    assert reserve(cli, repo, "--release", "src").returncode == 1
    assert reserve(cli, repo, "--check", "src/a.py", agent="bob").returncode == 0
    assert cli("tasks", "file.>").stdout == ""


def test_a_check_says_what_is_free_and_what_is_yours(cli: CommandLine, repo: Path) -> None:
    reserve(cli, repo, "src/*.py")
    assert reserve(cli, repo, "--check", "src/a.py", "docs").stdout == "src/a.py is yours, by src/*.py\ndocs is free\n"
    assert result(reserve(cli, repo, "--check", "src/a.py", "docs", "--json"))["free"] == ["src/a.py", "docs"]


def test_a_glob_from_the_top_is_taken_as_it_is_listed(cli: CommandLine, repo: Path) -> None:
    (repo / "src" / "[id]").mkdir()
    (repo / "src" / "[id]" / "x").touch()
    reserve(cli, repo, "src/[id]/x")
    (listed,) = result(reserve(cli, repo, "--list", "--json"))
    assert listed["glob"] == "src/[[]id]/x"
    again = reserve(cli, repo / "src", "--from-top", listed["glob"])
    assert "held already" in again.stdout
    assert reserve(cli, repo / "src", "--check", "--from-top", "src/[[]id]/x", agent="bob").returncode == 3
    assert result(reserve(cli, repo / "src", "--from-top", "src", "--json"))["glob"] == "src"
    assert reserve(cli, repo / "src", "--from-top", "../x").returncode == 2
    assert reserve(cli, repo / "src", "--release", "--from-top", listed["glob"]).returncode == 0


def test_people_read_which_files_are_reserved_and_to_the_second_since_when(cli: CommandLine, repo: Path) -> None:
    reserve(cli, repo, "src/a.py")
    refused = reserve(cli, repo, "src", agent="bob")
    assert re.search(r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, the lease", refused.stderr), refused.stderr
    assert re.search(r"^alice .* the reservation of src/a\.py ", cli("agents").stdout, re.MULTILINE)
    assert "next command: the reservation of src/a.py\n" in cli("whoami", agent="alice").stdout
    story = cli("task", "show", "file.src.a=2Epy").stdout
    assert re.match(r"reserved src/a\.py by alice, lease \d+ s, revision \d+, [-\dT:]{19}Z\n", story), story
    assert "title" not in story
    reserve(cli, repo, "--release", "src/a.py")
    reserve(cli, repo, "src/a.py", agent="bob")
    reserve(cli, repo, "--release", "src/a.py", agent="bob")
    told: list[str] = []

    def all_is_told() -> bool:
        told[:] = [" ".join(line.split()[2:]) for line in cli("log", "--subject", "task.>").stdout.splitlines()]
        return len(told) >= 4

    until(all_is_told, "all of it is told")
    words = ("reserved src/a.py", "reservation of src/a.py ended")
    assert told == [f"{who} {what}" for who in ("alice", "bob") for what in words]


def test_the_lease_of_a_reservation_is_renewed_by_every_command(cli: CommandLine, repo: Path) -> None:
    reserve(cli, repo, "src", "--lease", "30s")
    before = result(reserve(cli, repo, "--list", "--json", agent="bob"))[0]["expires_in"]
    lease = json.loads(cli("whoami", "--json", agent="alice").stdout)["result"]["claims"]
    assert lease == ["file.src.=2A=2A"]
    cli("memory", "set", "k", "1", agent="alice")
    shown = json.loads(cli("tasks", "file.>", "--json").stdout)["result"]
    assert shown[0]["owner"] == "alice"
    assert result(reserve(cli, repo, "--list", "--json", agent="bob"))[0]["expires_in"] > before - 5


def test_a_program_runs_under_its_files_and_they_are_free_when_it_ends(cli: CommandLine, repo: Path) -> None:
    check = [sys.executable, "-m", "tracecraft_cli", "reserve", "--check", "src/a.py", "-a", "bob", "--session", "s"]
    assert reserve(cli, repo, "src", "--exec", "--", *check).returncode == 3
    assert reserve(cli, repo, "--check", "src/a.py", agent="bob").returncode == 0
    assert reserve(cli, repo, "src", "--exec", "--", "true", agent="bob").returncode == 0
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
    assert reserve(cli, repo, *args).returncode == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{src,docs}/a.py", "write 'src/a.py' 'docs/a.py'"),
        ("src/*.{py,md}", "write 'src/*.py' 'src/*.md'"),
        ("src/a.py/", "src/a.py is a file, nothing lies inside of it"),
        ("src/a.py/**", "src/a.py is a file, nothing lies inside of it"),
        ("src/a.py/x", "src/a.py is a file, nothing lies inside of it"),
    ],
)
def test_what_would_protect_nothing_is_refused_with_what_to_write(
    given: str, said: str, cli: CommandLine, repo: Path
) -> None:
    refused = reserve(cli, repo, given)
    assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert reserve(cli, repo, "--list").stdout == ""


def test_a_brace_in_a_name_is_one(cli: CommandLine, repo: Path) -> None:
    (repo / "{a,b}.py").touch()
    (repo / "{c,d}").mkdir()
    assert result(reserve(cli, repo, "{a,b}.py", "--json"))["glob"] == "{a,b}.py"
    assert result(reserve(cli, repo, "{c,d}/*.py", "--json"))["glob"] == "{c,d}/*.py"
    assert result(reserve(cli, repo, "src/[{]x,y}", "--json"))["glob"] == "src/[{]x,y}"
    assert result(reserve(cli, repo, "{x}", "--json"))["glob"] == "{x}"


def test_what_matches_no_file_yet_is_reserved_and_that_is_said(cli: CommandLine, repo: Path) -> None:
    (repo / "src/deep/er").mkdir(parents=True)
    (repo / "src/deep/er/x.c").touch()
    for there in ("src/a.py", "src", "**/*.py", "**/er/*", "src/*/*/x.[c]", "s*/"):
        assert reserve(cli, repo, there).stderr == "", there
    reserve(cli, repo, "--release", "--all")
    for missing in ("src/new.py", "docs/", "**/*.rs", "src/*/x.c", "*.py", "{x}"):
        done = reserve(cli, repo, missing)
        assert (done.returncode, done.stderr) == (0, f"tracecraft: {missing} matches no file now\n")
    assert reserve(cli, repo / "src", "./new.py", "a.py").stderr == "tracecraft: ./new.py matches no file now\n"


def test_a_file_behind_a_link_is_held_under_both_of_its_names(cli: CommandLine, repo: Path) -> None:
    (repo / "link").symlink_to("src")
    assert result(reserve(cli, repo, "link/a.py", "--json"))["glob"] == "src/a.py"
    assert reserve(cli, repo, "l*/b.py").returncode == 0
    with Session(server=cli.server, project=cli.project, agent="bob") as bob:
        for path, glob in {"link/a.py": "src/a.py", "src/a.py": "src/a.py", "link/b.py": "l*/b.py"}.items():
            held = bob.reservations.holder(path, folder=repo)
            assert held is not None
            assert held.glob == glob
        assert bob.reservations.holder("src/b.py", folder=repo) is None, "a pattern does not follow links"
        with bob.reservations.watch() as view:
            seen = view.holder("link/b.py", folder=repo)
            assert seen is not None
            assert seen.glob == "l*/b.py"
