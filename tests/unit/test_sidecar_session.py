"""The coding session that a process is in: found by its ancestors, believed only where nobody else could write it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tracecraft_cli.sidecar.door import MAX_PATH_BYTES
from tracecraft_cli.sidecar.folder import KEPT_S, lock, socket_path, sweep
from tracecraft_cli.sidecar.identity import candidates
from tracecraft_cli.sidecar.lifeline import is_cut_off
from tracecraft_core import coding_session, names, settings
from tracecraft_core.coding_session import CodingSession, Process


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*coding_session.VARIABLES.values(), "TRACECRAFT_AGENT", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parent() -> Process:
    return next(coding_session.ancestors())


def written(id_: str = "s1", **fields: Any) -> CodingSession:
    """A session of the process around this one."""
    facts = {"kind": "claude", "agent": "alice", "session": f"claude-{id_}", "run": f"claude-{id_}", "project": "p"}
    around = {"pid": parent().pid, "pid_started": parent().started}
    session = CodingSession(**{**facts, "id": id_, **around, **fields})
    folder = coding_session.own_folder()
    assert folder is not None
    coding_session.write(folder, session)
    return session


def test_a_process_finds_the_session_of_its_nearest_ancestor() -> None:
    above = list(coding_session.ancestors())
    written("far", pid=above[1].pid, pid_started=above[1].started)
    written("near")
    found = coding_session.find()
    assert found is not None
    assert found.id == "near"


def test_a_process_that_came_by_an_old_pid_is_not_taken_for_it() -> None:
    written(pid_started="1")
    assert coding_session.find() is None


def test_of_several_sessions_of_one_process_the_environment_names_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    written("one", started=1.0)
    written("two", started=2.0)
    assert getattr(coding_session.find(), "id", None) == "two"
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "one")
    assert getattr(coding_session.find(), "id", None) == "one"


def test_the_session_decides_after_the_environment_and_before_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / settings.FILE).write_text('agent = "file"\nproject = "file"')
    written(inherited={"agent": "wished"})
    found = settings.load()
    assert (found.agent, found.project, found.session) == ("alice", "p", "claude-s1")
    assert found.origin["agent"] == "the Claude Code session s1"
    monkeypatch.setenv("TRACECRAFT_AGENT", "said")
    assert settings.load().agent == "said"
    monkeypatch.setenv("TRACECRAFT_AGENT", "wished")  # what the coding agent was started with: the sidecar knows it
    assert settings.load().agent == "alice"
    assert settings.load({"agent": "flag"}).agent == "flag"
    assert settings.load(coding=False).agent == "wished"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kind": "claude"}', b'{"x": 1}', b"\xff"], ids=range(6))
def test_a_state_file_that_makes_no_sense_is_nobodys(content: bytes) -> None:
    folder = coding_session.own_folder()
    assert folder is not None
    Path(coding_session.state_file(folder, "claude-x")).write_bytes(content)
    assert coding_session.find() is None
    assert settings.load().origin["agent"] == "derived"


def test_a_folder_that_others_can_write_to_is_not_believed(home: Path) -> None:
    written()
    folder = coding_session.own_folder()
    assert folder is not None
    os.chmod(folder, 0o770)
    assert coding_session.find() is None
    other = coding_session.own_folder()  # the next one is taken
    assert other is not None
    assert other != folder
    os.symlink(home, home / "link")
    assert not coding_session.is_private(str(home / "link"))


def test_where_nothing_can_be_written_there_is_no_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/proc/no-such-place")
    assert coding_session.own_folder() is None
    assert coding_session.find() is None


def test_the_state_of_a_session_is_read_as_it_was_written() -> None:
    session = written(held={"T": 3}, announced=12, settings={"token": "s"}, between=True)
    found = coding_session.named(session.name)
    assert found is not None
    assert found.dump() == session.dump()
    folder = coding_session.own_folder()
    assert folder is not None
    assert stat.S_IMODE(os.stat(coding_session.state_file(folder, session.name)).st_mode) == 0o600


@pytest.mark.parametrize("id_", ["a/b..c", "ä ö", "x" * 200, "01a2057c-a254-7772-826c-30a80e19cba9"], ids=range(4))
def test_every_session_has_a_name_that_a_run_may_have(id_: str) -> None:
    assert names.run(coding_session.name("codex", id_))


def test_the_name_of_a_session_is_that_of_the_run_of_its_transcript() -> None:
    from tracecraft.transcripts import naming

    for id_ in ("2f0f75f7-37e2-45e3-bca2-a79094804b26", "a/b..c", "ä ö", "x" * 200):
        assert coding_session.name("claude", id_) == naming.run_id("claude", id_)


def test_a_path_too_long_for_a_socket_gets_a_short_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path("/tmp") / f"tc-{os.getpid()}"
    monkeypatch.setenv("TMPDIR", str(short))
    short.mkdir()
    try:
        path = socket_path(str(home / ("d" * 200)), "claude-s1")
        assert len(path) <= MAX_PATH_BYTES
        assert Path(path).is_relative_to(short)
        assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
        Path(path).parent.chmod(0o777)
        with pytest.raises(OSError, match="not this user's alone"):
            socket_path(str(home / ("d" * 200)), "claude-s1")
    finally:
        Path(path).parent.rmdir()
        short.rmdir()


def test_only_one_sidecar_serves_a_session(home: Path) -> None:
    first = lock(str(home), "claude-s1")
    assert first is not None
    assert lock(str(home), "claude-s1") is None
    os.close(first)
    again = lock(str(home), "claude-s1")
    assert again is not None
    os.close(again)


def test_what_old_sessions_left_is_swept_and_what_lives_is_not(home: Path) -> None:
    alive = lock(str(home), "claude-alive")
    assert alive is not None
    for name in ("claude-old.log", "claude-old.json", "claude-alive.json", "claude-new.log"):
        (home / name).touch()
    for path in home.iterdir():
        if path.is_file() and "new" not in path.name:
            os.utime(path, (0, path.stat().st_mtime - KEPT_S - 60))
    sweep(str(home))
    assert sorted(path.name for path in home.iterdir() if path.is_file()) == [
        "claude-alive.json",
        "claude-alive.lock",
        "claude-new.log",
    ]
    os.close(alive)


def test_a_process_that_was_kept_from_the_environment_looks_in_the_usual_places_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_STATE_HOME")
    written()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert getattr(coding_session.find(), "id", None) == "s1"
    assert all(place in coding_session.folders() for place in coding_session.places())


@pytest.mark.parametrize(
    ("policy", "cut_off"),
    [
        ({"type": "workspace-write", "network_access": False}, True),
        ({"type": "workspace-write", "network_access": True}, False),
        ({"type": "read-only"}, False),
        ({"type": "danger-full-access"}, False),
        (None, False),
        ("odd", False),
    ],
    ids=["no-network", "network", "read-only", "no-sandbox", "none", "odd"],
)
def test_a_relay_is_for_a_sandbox_that_can_write_and_has_no_network(policy: Any, cut_off: bool) -> None:
    line = json.dumps({"type": "turn_context", "payload": {"sandbox_policy": policy}}).encode()
    assert is_cut_off(line) is cut_off
    assert not is_cut_off(line[:-5])


def test_names_that_are_taken_get_a_number_and_stay_names() -> None:
    for wish in ("alice", "x" * names.MAX_TOKEN):
        tried = [name for name, _ in zip(candidates(wish), range(12), strict=False)]
        assert tried[0] == wish
        assert len(set(tried)) == len(tried)
        assert all(names.agent(name) for name in tried)
