"""What a commit hears of reserved files, in a repository and in its submodules."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import git, reserve, result

if TYPE_CHECKING:
    import subprocess

    from tests.support.cli import CommandLine


def commit(
    cli: CommandLine, folder: Path, *args: str, agent: str = "bob", **env: str
) -> subprocess.CompletedProcess[str]:
    return git(folder, "commit", "--message", "Change", *args, env=cli.environment(agent, None, env))


def test_a_commit_of_a_held_file_is_refused_by_name_and_no_other(cli: CommandLine, repo: Path) -> None:
    assert "installed" in reserve(cli, repo, "--install-git-hook").stdout
    reserve(cli, repo, "src/a.py")
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
    reserve(cli, repo, "--install-git-hook")
    reserve(cli, repo, "src/a.py", "new.py")
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
    reserve(cli, tmp_path / "other", "--install-git-hook")
    reserve(cli, repo, "src/a.py")
    (tmp_path / "other/src/a.py").write_text("a")
    assert commit(cli, tmp_path / "other", "--all").returncode == 1
    fresh = tmp_path / "fresh"
    git(tmp_path, "init", "--quiet", str(fresh))
    (fresh / "src").mkdir()
    (fresh / "src/a.py").write_text("a")
    reserve(cli, fresh, "--install-git-hook")
    git(fresh, "add", ".")
    assert commit(cli, fresh).returncode == 1
    assert commit(cli, fresh, agent="alice").returncode == 0


def test_without_a_bus_a_commit_goes_through_and_says_so_unless_strict(cli: CommandLine, repo: Path) -> None:
    reserve(cli, repo, "--install-git-hook")
    (repo / "src/a.py").write_text("a")
    nowhere = {"TRACECRAFT_SERVER": "nats://127.0.0.1:1"}
    refused = commit(cli, repo, "--all", TRACECRAFT_RESERVE_STRICT="1", **nowhere)
    assert refused.returncode == 1
    assert "no NATS server answers" in refused.stderr
    done = commit(cli, repo, "--all", **nowhere)
    assert done.returncode == 0
    assert "nobody was asked" in done.stderr


@pytest.mark.parametrize(
    ("content", "says"), [("project = ", "is not valid TOML"), ('server = "nowhere:x"', "nowhere")], ids=["toml", "url"]
)
def test_with_broken_settings_a_commit_goes_through_and_says_so_unless_strict(
    cli: CommandLine, repo: Path, content: str, says: str
) -> None:
    reserve(cli, repo, "--install-git-hook")
    (repo / ".tracecraft.toml").write_text(content)
    git(repo, "add", ".")
    own = {"TRACECRAFT_PROJECT": "", "TRACECRAFT_SERVER": ""}
    refused = commit(cli, repo, TRACECRAFT_RESERVE_STRICT="1", **own)
    assert (refused.returncode, says in refused.stderr) == (1, True), refused.stderr
    assert "'git commit --no-verify' commits all the same" in refused.stderr
    done = commit(cli, repo, **own)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert "nobody was asked" in line
    assert says in line


def test_a_hook_whose_tracecraft_is_broken_lets_a_commit_through_and_says_so(cli: CommandLine, repo: Path) -> None:
    reserve(cli, repo, "--install-git-hook")
    hook = repo / ".git/hooks/pre-commit"
    hook.write_text(hook.read_text().replace("-m tracecraft_cli", "-m tracecraft_gone"))
    (repo / "src/a.py").write_text("a")
    assert commit(cli, repo, "--all", TRACECRAFT_RESERVE_STRICT="1").returncode == 1
    done = commit(cli, repo, "--all")
    assert (done.returncode, "nobody was asked" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize("scope", ["--global", "--local"])
def test_hooks_outside_of_the_repository_are_left_alone_and_the_line_is_told(
    cli: CommandLine, repo: Path, tmp_path: Path, scope: str
) -> None:
    hooks = tmp_path / "all hooks"
    hooks.mkdir()
    settings = tmp_path / "gitconfig"
    env = {"GIT_CONFIG_GLOBAL": str(settings)}
    assert git(repo, "config", scope, "core.hooksPath", str(hooks), env=env).returncode == 0
    refused = reserve(cli, repo, "--install-git-hook", **env)
    assert (refused.returncode, list(hooks.iterdir())) == (2, [])
    assert str(hooks / "pre-commit") in refused.stderr
    line = refused.stderr.rstrip().rpartition(": ")[2]
    hook = hooks / "pre-commit"
    hook.write_text(f"#!/bin/sh\n{line}\n")
    hook.chmod(0o755)
    reserve(cli, repo, "src/a.py")
    (repo / "src/a.py").write_text("a")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    refused = commit(cli, repo, "--all", PATH=path, **env)
    assert (refused.returncode, "reserved by alice" in refused.stderr) == (1, True), refused.stderr


def test_a_hook_that_was_there_runs_first_and_comes_back(cli: CommandLine, repo: Path) -> None:
    hooks = repo / "my hooks"
    git(repo, "config", "core.hooksPath", str(hooks))
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\necho theirs >&2\n[ ! -e refuse ]\n")
    (hooks / "pre-commit").chmod(0o755)
    first = reserve(cli, repo, "--install-git-hook", "--json")
    assert result(first)["outcome"] == "installed"
    assert result(reserve(cli, repo / "src", "--install-git-hook", "--json"))["outcome"] == "unchanged"
    (repo / "src/a.py").write_text("a")
    (repo / "refuse").touch()
    assert commit(cli, repo, "--all").returncode == 1
    (repo / "refuse").unlink()
    done = commit(cli, repo, "--all")
    assert done.returncode == 0
    assert "theirs" in done.stderr
    assert result(reserve(cli, repo, "--uninstall-git-hook", "--json"))["outcome"] == "removed"
    assert (hooks / "pre-commit").read_text().endswith("[ ! -e refuse ]\n")
    assert [path.name for path in hooks.iterdir()] == ["pre-commit"]
    assert result(reserve(cli, repo, "--uninstall-git-hook", "--json"))["outcome"] == "absent"


def test_there_is_no_hook_outside_of_a_repository(cli: CommandLine, tmp_path: Path) -> None:
    for form in (["--install-git-hook"], ["--uninstall-git-hook"], ["--check", "--staged"]):
        done = reserve(cli, tmp_path, *form)
        assert done.returncode == 2
        assert done.stderr == f"tracecraft: {tmp_path} is no git repository: go into one\n", form


# -- submodules ----------------------------------------------------------------------------------------------------


@pytest.fixture
def parent(repo: Path, tmp_path: Path) -> Path:
    """A repository with ``repo`` as its submodule vendor/lib; it has a src/a.py, too."""
    folder = tmp_path / "parent"
    git(tmp_path, "init", "--quiet", str(folder))
    (folder / "src").mkdir()
    (folder / "src/a.py").write_text("a")
    add = git(folder, "-c", "protocol.file.allow=always", "submodule", "add", str(repo), "vendor/lib")
    assert add.returncode == 0, add.stderr
    git(folder, "add", ".")
    assert git(folder, "commit", "--quiet", "--message", "Begin").returncode == 0
    return folder


@pytest.mark.parametrize("given", ["vendor/lib", "vendor/lib/", "vendor/lib/**", "./vendor/lib/."])
def test_a_submodule_is_the_folder_that_it_is_in_its_parent(cli: CommandLine, parent: Path, given: str) -> None:
    assert result(reserve(cli, parent, given, "--json"))["glob"] == "vendor/lib/**"
    assert reserve(cli, parent, "src", agent="bob").returncode == 0, "the rest of the parent is free"


def test_a_file_of_a_submodule_has_one_name_inside_of_it_and_in_its_parent(cli: CommandLine, parent: Path) -> None:
    lib = parent / "vendor/lib"
    assert result(reserve(cli, lib, "src/a.py", "--json"))["glob"] == "vendor/lib/src/a.py"
    assert reserve(cli, parent, "src/a.py", agent="bob").returncode == 0, "that is another file"
    refused = reserve(cli, parent, "vendor/lib/src", agent="bob")
    assert (refused.returncode, "reserved by alice" in refused.stderr) == (3, True)
    assert result(reserve(cli, lib, ".", "--json"))["glob"] == "vendor/lib/**"


def test_a_submodule_with_settings_of_its_own_is_a_repository_of_its_own_inside(cli: CommandLine, parent: Path) -> None:
    lib = parent / "vendor/lib"
    (lib / ".tracecraft.toml").touch()
    assert result(reserve(cli, lib, "src/a.py", "--json"))["glob"] == "src/a.py"
    assert result(reserve(cli, parent, "vendor/lib", "--json"))["glob"] == "vendor/lib/**"


def test_a_clone_in_a_folder_is_no_submodule(cli: CommandLine, parent: Path) -> None:
    git(parent, "clone", "--quiet", str(parent / "vendor/lib"), "vendor/other")
    assert result(reserve(cli, parent, "vendor/other/src/a.py", "--json"))["glob"] == "src/a.py"


def test_commits_in_a_submodule_and_of_it_are_checked(cli: CommandLine, parent: Path) -> None:
    lib = parent / "vendor/lib"
    reserve(cli, lib, "--install-git-hook")
    reserve(cli, parent, "--install-git-hook")
    reserve(cli, parent, "src/a.py")
    (lib / "src/a.py").write_text("a")
    done = commit(cli, lib, "--all")
    assert done.returncode == 0, done.stderr
    reserve(cli, parent, "vendor/lib")
    (lib / "src/a.py").write_text("b")
    refused = commit(cli, lib, "--all")
    assert (refused.returncode, "vendor/lib/src/a.py is reserved by alice" in refused.stderr) == (1, True)
    refused = commit(cli, parent, "--all")
    assert (refused.returncode, "vendor/lib/.git is reserved by alice" in refused.stderr) == (1, True), refused.stderr
    assert commit(cli, parent, "--all", agent="alice").returncode == 0
