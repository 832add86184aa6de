"""``init``, ``whoami`` and ``completion``: commands that ask no server."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.cli import CommandLine

    Run = Callable[..., subprocess.CompletedProcess[str]]

FILE = ".tracecraft.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    below = tmp_path / "my repo"
    below.mkdir()
    return below


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    """A command in a folder, with nothing in its environment and no server anywhere."""

    def run_(*args: str, cwd: Path = folder, **env: str) -> subprocess.CompletedProcess[str]:
        own = {"HOME": str(tmp_path), "TRACECRAFT_DATA": str(tmp_path / "data")}
        return subprocess.run(
            [sys.executable, "-m", "tracecraft_cli", *args],
            cwd=cwd,
            env={**os.environ, **own, **env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run_


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / FILE).read_text())


def mode(folder: Path) -> int:
    return stat.S_IMODE((folder / FILE).stat().st_mode)


def test_init_names_the_project_after_the_folder_and_whoami_finds_it_below(run: Run, folder: Path) -> None:
    done = run("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {folder / FILE}: project = my-repo\n"
    assert settings(folder) == {"project": "my-repo"}
    assert mode(folder) & 0o444 == 0o444
    below = folder / "src" / "deep"
    below.mkdir(parents=True)
    found = result(run("whoami", "--json", cwd=below))
    assert (found["project"], found["origin"]["project"]) == ("my-repo", str(folder / FILE))
    assert found["agent"].startswith("my-repo-")


def test_init_keeps_what_is_there_and_adds_what_is_new(run: Run, folder: Path) -> None:
    (folder / FILE).write_text('# ours\nproject = "kept"')
    assert run("init", "--agent", "ann").returncode == 0
    assert (folder / FILE).read_text() == '# ours\nproject = "kept"\nagent = "ann"\n'
    again = run("init")
    assert again.stdout == f"unchanged: {folder / FILE}: project = kept, agent = ann\n"


def test_init_replaces_only_with_force(run: Run, folder: Path) -> None:
    run("init", "-p", "one", "-a", "ann")
    refused = run("init", "-p", "two", "--json")
    assert refused.returncode == 2
    assert (
        'project = "one" already, nothing was written: --force replaces it'
        in json.loads(refused.stdout)["error"]["message"]
    )
    assert settings(folder) == {"project": "one", "agent": "ann"}
    assert result(run("init", "-p", "two", "--force", "--json"))["written"] == ["project"]
    assert settings(folder) == {"project": "two", "agent": "ann"}


def test_init_keeps_a_secret_to_its_owner_and_does_not_show_it(run: Run, folder: Path) -> None:
    run("init")
    done = run("init", "-s", "nats://s3cret@example.org:4222")
    assert settings(folder)["server"] == "nats://s3cret@example.org:4222"
    assert mode(folder) == 0o600
    assert "holds a secret" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    shown = run("whoami")
    assert "nats://example.org:4222" in shown.stdout
    assert "s3cret" not in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("-p", "a b"), "project 'a b': character ' ' at position 2"),
        (("-a", "a.b"), "agent 'a.b': character '.' at position 2"),
        (("-s", " "), "--server ' ' is empty"),
        (("-s", "http://host"), "'http://host' (--server): the scheme"),
    ],
)
def test_init_writes_nothing_that_is_wrong(run: Run, folder: Path, args: tuple[str, ...], message: str) -> None:
    done = run("init", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / FILE).exists()


def test_init_mends_a_broken_file_only_with_force(run: Run, folder: Path) -> None:
    (folder / FILE).write_text("project = ")
    refused = run("init")
    assert refused.returncode == 2
    assert "is not valid TOML" in refused.stderr
    assert run("init", "--force").returncode == 0
    assert settings(folder) == {"project": "my-repo"}


def test_init_refuses_a_file_whose_project_no_command_would_take(run: Run, folder: Path) -> None:
    (folder / FILE).write_text('project = "my repo"\n')
    refused = run("init")
    assert refused.returncode == 2
    assert f"{folder / FILE}: project 'my repo': character ' '" in refused.stderr
    assert run("init", "-p", "good", "--force").returncode == 0
    assert settings(folder) == {"project": "good"}


def test_the_flag_beats_the_environment_beats_the_file(run: Run) -> None:
    run("init", "-p", "file", "-a", "file")
    found = result(run("whoami", "--json", "-p", "flag", TRACECRAFT_PROJECT="env", TRACECRAFT_AGENT="env"))
    assert (found["project"], found["agent"]) == ("flag", "env")
    assert found["origin"]["agent"] == "environment variable TRACECRAFT_AGENT"
    before = result(run("--project", "outer", "whoami", "--json", TRACECRAFT_PROJECT="env"))
    assert (before["project"], before["agent"]) == ("outer", "file")


def test_whoami_remembers_the_session_of_an_agent_and_gives_another_agent_another(run: Run) -> None:
    one, again, other = (result(run("whoami", "--json", "-a", agent)) for agent in ("ann", "ann", "bob"))
    assert one["session"] == again["session"] != other["session"]
    assert run("whoami", "--session", "mine").stdout.splitlines()[4].split()[:2] == ["session", "mine"]


def test_whoami_says_what_is_missing_where_nothing_can_be_remembered(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = run("whoami", "--json", XDG_STATE_HOME=str(tmp_path / "file"))
    assert result(found)["session"] is None
    assert "set XDG_STATE_HOME to a folder that can be written" in found.stderr


def test_init_then_a_command_works_with_nothing_else_said(run: Run, cli: CommandLine) -> None:
    run("init", "-s", cli.server, "-a", "ann", "-p", cli.project)
    assert run("memory", "set", "k", "1").returncode == 0
    assert cli("memory", "get", "k").stdout == "1\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(run: Run, shell: str) -> None:
    script = run("completion", shell).stdout
    assert "_TRACECRAFT_COMPLETE" in script
    assert f"{shell}_complete" in script


def test_the_shell_is_offered_commands_and_options(run: Run) -> None:
    def offered(words: str) -> set[str]:
        place = str(len(words.split(" ")) - 1)
        done = run(_TRACECRAFT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=place)
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert offered("tracecraft m") == {"mcp", "memory", "messages"}
    assert offered("tracecraft memory h") == {"history"}
    assert "--if-absent" in offered("tracecraft memory set --if")
    assert offered("tracecraft inbox a") == {"ack"}


@pytest.mark.parametrize("server", ["", " ", ",", "nats://host:99999", "nats://[::1", "http://host:4222"])
def test_a_server_that_cannot_be_one_is_wrong_usage_at_once(run: Run, server: str) -> None:
    done = run("-s", server, "memory", "list", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["type"] == "UsageError"
    assert "for example nats://127.0.0.1:4222" in done.stderr


def test_every_option_has_an_environment_twin(cli: CommandLine) -> None:
    cli("memory", "set", "a.b", "1", agent="writer")
    cli("memory", "set", "c.d", "2", agent="writer")
    listed = cli("memory", "list", agent="writer", env={"TRACECRAFT_MEMORY_LIST_PREFIX": "c."})
    assert "c.d" in listed.stdout
    assert "a.b" not in listed.stdout
    overridden = cli("memory", "list", "--prefix", "a.", agent="writer", env={"TRACECRAFT_MEMORY_LIST_PREFIX": "c."})
    assert "a.b" in overridden.stdout
    assert "c.d" not in overridden.stdout
