"""Where settings come from, and which place wins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tracecraft_core import local, settings, trust
from tracecraft_core.errors import InvalidName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder two levels below one that can hold a file, and nothing configured."""
    for name in ("TRACECRAFT_SERVER", "TRACECRAFT_PROJECT", "TRACECRAFT_AGENT", "TRACECRAFT_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TRACECRAFT_DATA", str(tmp_path / "data"))
    below = tmp_path / "work" / "repo" / "src"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return below


def write_user_config(text: str) -> None:
    path = settings.user_config()
    path.parent.mkdir(parents=True)
    path.write_text(text)


def write_context(name: str, *, select: bool = False, **fields: str) -> None:
    base = Path(os.environ["XDG_CONFIG_HOME"]) / "nats"
    (base / "context").mkdir(parents=True, exist_ok=True)
    (base / "context" / f"{name}.json").write_text(json.dumps(fields))
    if select:
        (base / "context.txt").write_text(name + "\n")


def write_stack(url: str, pid: int) -> None:
    state = local.StackState(pid=pid, pid_started=0.0, data="d", nats_url=url, nats_monitor_url="")
    local.data_dir().mkdir(parents=True)
    (local.data_dir() / local.STATE_FILE).write_bytes(msgspec.json.encode(state))


def write_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Every place names a server; returns how to take them away, the strongest first."""
    write_context("picked", select=True, url="nats://context:1")
    write_stack("nats://stack:1", os.getpid())
    write_user_config('server = "nats://user:1"')
    far, near = folder.parent.parent / settings.FILE, folder.parent / settings.FILE
    far.write_text('server = "nats://far:1"')
    near.write_text('server = "nats://near:1"')
    trust.approve("nats://near:1,nats://far:1", settings.approved_servers())
    monkeypatch.setenv("TRACECRAFT_SERVER", "nats://env:1")
    return [
        lambda: monkeypatch.delenv("TRACECRAFT_SERVER"),
        near.unlink,
        far.unlink,
        settings.user_config().unlink,
        (local.data_dir() / local.STATE_FILE).unlink,
        (Path(os.environ["XDG_CONFIG_HOME"]) / "nats" / "context.txt").unlink,
    ]


def test_flag_beats_environment_beats_files_upwards_beats_user_beats_stack_beats_context(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away = write_all(folder, monkeypatch)
    assert settings.load({"server": "nats://flag:1"}).server == "nats://flag:1"
    found = [settings.load().server]
    for remove in take_away:
        remove()
        found.append(settings.load().server)
    places = ["env", "near", "far", "user", "stack", "context"]
    assert found == [f"nats://{place}:1" for place in places] + [settings.DEFAULT_SERVER]


def test_a_flag_that_was_not_given_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACECRAFT_PROJECT", "env")
    assert settings.load({"project": None}).project == "env"


def test_each_setting_is_decided_on_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / settings.FILE).write_text('project = "file"\nagent = "file"')
    monkeypatch.setenv("TRACECRAFT_AGENT", "env")
    found = settings.load()
    assert (found.project, found.agent) == ("file", "env")
    assert found.origin["project"] == str(folder / settings.FILE)
    assert found.origin["agent"] == "environment variable TRACECRAFT_AGENT"


def test_a_file_in_a_folder_below_is_not_found(folder: Path) -> None:
    (folder / settings.FILE).write_text('project = "below"')
    assert settings.load(folder=folder.parent).project == settings.DEFAULT_PROJECT


def test_a_stack_whose_supervisor_is_gone_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    write_stack("nats://gone:1", child)
    assert settings.load().server == settings.DEFAULT_SERVER


def test_a_context_that_was_named_beats_a_stack_that_runs() -> None:
    write_stack("nats://stack:1", os.getpid())
    write_context("named", url="nats://named:1", user="u", password="secret", ca="")
    found = settings.load({"context": "named"})
    assert found.server == "nats://named:1"
    assert found.values["user"] == "u"
    assert "secret" not in repr(found)


def test_a_context_that_does_not_exist_is_said_to_be_missing() -> None:
    with pytest.raises(UsageError, match="NATS context 'nowhere': no file"):
        settings.load({"context": "nowhere"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("project = ", "not valid TOML"),
        ("projekt = 'x'", "unknown setting 'projekt'; known are server, project"),
        ("project = 3", 'project must be a string, for example project = "..."'),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(folder: Path, text: str, message: str) -> None:
    (folder / settings.FILE).write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        settings.load()
    assert str(folder / settings.FILE) in str(caught.value)


def test_a_bad_project_name_is_refused_wherever_it_comes_from(folder: Path) -> None:
    (folder / settings.FILE).write_text('project = "my project"')
    with pytest.raises(InvalidName, match="character ' ' at position 3"):
        settings.load()


def test_secrets_in_the_url_are_not_shown() -> None:
    found = settings.load({"server": "nats://token@one:4222,nats://user:word@two:4222"})
    assert found.server == "nats://one:4222,nats://two:4222"


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("", "is empty: name one"),
        (" ", "is empty: name one"),
        (",", "is empty: name one"),
        ("nats://host:99999", "'nats://host:99999' .*the port is not a number from 1 to 65535"),
        ("nats://host:0", "port"),
        ("host:port", "port"),
        ("nats://[::1", "an IPv6 address stands in brackets"),
        ("http://host:4222", "'http://host:4222' .*the scheme is none of nats, tls, ws, wss"),
        ("nats://", "there is no host"),
        ("nats://ok:4222,nats://my host:4222", "'nats://my host:4222' .*space"),
    ],
)
def test_a_server_that_cannot_be_one_is_refused_by_name_with_an_example(server: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        settings.load({"server": server})
    assert "(given by the caller)" in str(caught.value)
    assert "for example nats://127.0.0.1:4222" in str(caught.value)


@pytest.mark.parametrize("server", ["nats://u:s3cret@host:99999", "http://s3cret@host", "nats://u:s3/cret@host"])
def test_a_refused_server_does_not_show_its_secrets(server: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.load({"server": server})
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("server", ["host", "host:1", "[::1]:4222", "TLS://host", "ws://host:80/path", "nats://t@h,b"])
def test_a_server_as_people_write_it_is_accepted(server: str) -> None:
    assert settings.load({"server": server}).values["server"] == server


def test_two_worktrees_have_two_agents(folder: Path) -> None:
    assert settings.load(folder=folder).agent != settings.load(folder=folder.parent).agent


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("parser", "parser-box"),
        ("My_app-2", "My_app-2-box"),
        ("Süd Wörter!", "Sud-Worter-box"),
        ("项目", "agent-79f326be-box"),
    ],
    ids=["plain", "legal", "accents", "no-latin"],
)
def test_an_agent_that_was_not_named_has_the_name_that_its_folder_has_everywhere(
    folder: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "box.example")
    assert settings.default_agent(Path("/work") / folder) == name
