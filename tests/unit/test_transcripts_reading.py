"""Files of transcripts, read from a place on; checkpoints; and what people see of a conversation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support.coding_sessions import answer, append, assistant, read, text, tool, user
from tracecraft.transcripts import checkpoint, finder, folders, naming, passages
from tracecraft.transcripts.checkpoint import Checkpoint, Lock
from tracecraft.transcripts.lines import LONGEST_LINE, Lines, Place, Rewritten
from tracecraft_core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.coding_sessions import Home


def _lines(path: Path, place: Place, budget: int = 1 << 20) -> list[bytes]:
    lines = Lines(path, place)
    found = [line for _, line in lines.read(budget)]
    lines.finish()
    return found


def test_a_place_goes_on_behind_the_last_whole_line(tmp_path: Path) -> None:
    path, place = tmp_path / "f", Place()
    path.write_bytes(b"one\ntwo\nthr")
    assert _lines(path, place) == [b"one\n", b"two\n"]
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert _lines(path, place) == [b"three\n"]
    assert (_lines(path, place), place.offset) == ([], 14)


def test_reading_that_is_broken_off_goes_on_at_the_line_that_was_not_wanted(tmp_path: Path) -> None:
    path, place = tmp_path / "f", Place()
    path.write_bytes(b"one\ntwo\nthree\n")
    lines = Lines(path, place)
    for _, line in lines.read(1 << 20):
        if line == b"two\n":
            break
    lines.finish()
    assert _lines(path, place) == [b"two\n", b"three\n"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"one\n", id="shorter"),
        pytest.param(b"eins\nzwei\ndrei\n", id="another"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_file_that_is_not_what_was_read_is_noticed(tmp_path: Path, content: bytes) -> None:
    path, place = tmp_path / "f", Place()
    path.write_bytes(b"one\ntwo\n")
    _lines(path, place)
    path.write_bytes(content)
    with pytest.raises(Rewritten):
        _lines(path, place)


def test_a_line_that_is_far_too_long_is_passed_over_and_counted(tmp_path: Path) -> None:
    path, place = tmp_path / "f", Place()
    with path.open("wb") as file:
        file.write(b"one\n" + b"x" * (LONGEST_LINE + 1_000_000) + b"\ntwo\n")
    assert _lines(path, place, 1 << 40) == [b"one\n", b"two\n"]
    assert place.thread.unknown == {"too long": 1}


def test_a_line_that_is_far_too_long_and_not_whole_yet_is_read_once(tmp_path: Path) -> None:
    path, place = tmp_path / "f", Place()
    with path.open("wb") as file:
        file.write(b"one\n" + b"x" * (LONGEST_LINE + 1_000_000))
    assert _lines(path, place, 1 << 40) == [b"one\n"]
    place = msgspec.json.decode(msgspec.json.encode(place), type=Place)
    assert place.offset == path.stat().st_size
    with path.open("ab") as file:
        file.write(b"y" * 1_000)
    assert _lines(path, place) == []
    with path.open("ab") as file:
        file.write(b"z\ntwo\n")
    assert _lines(path, place) == [b"two\n"]
    assert place.thread.unknown == {"too long": 1}


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.zst"])
def test_a_pipe_is_not_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"f.{suffix}"
    os.mkfifo(path)
    with pytest.raises(OSError, match="only regular files are read"):
        _lines(path, Place())


def test_what_is_no_file_is_no_session(coding_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    before = finder.find()
    os.mkfifo(coding_home.claude.with_name("pipe.jsonl"))
    coding_home.claude.with_name("zero.jsonl").symlink_to("/dev/zero")
    coding_home.claude.with_name("folder.jsonl").mkdir()
    os.mkfifo(coding_home.codex.with_name("rollout-pipe.jsonl"))
    assert finder.find() == before


def test_a_session_that_lies_twice_is_told_apart_by_its_files(
    coding_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    other = coding_home.folder / "claude" / "projects" / "-other" / coding_home.claude.name
    append(coding_home.claude.with_name("two.jsonl"), user(1, "go"))
    other.parent.mkdir()
    append(other.with_name("two.jsonl"), user(1, "go"))
    with pytest.raises(UsageError, match="name its file") as refused:
        finder.named("two")
    assert str(other.with_name("two.jsonl")) in str(refused.value)
    assert str(coding_home.claude.with_name("two.jsonl")) in str(refused.value)


def test_a_compressed_file_has_the_places_of_its_content(tmp_path: Path) -> None:
    import zstandard

    plain, packed, place = tmp_path / "f.jsonl", tmp_path / "f.jsonl.zst", Place()
    plain.write_bytes(b"one\ntwo\n")
    _lines(plain, place)
    packed.write_bytes(zstandard.ZstdCompressor().compress(b"one\ntwo\nthree\n"))
    assert _lines(packed, place) == [b"three\n"]
    packed.write_bytes(zstandard.ZstdCompressor().compress(b"uno\ndos\ntres\n"))
    with pytest.raises(Rewritten):
        _lines(packed, place)


# -- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def _checkpoint() -> Checkpoint:
    return Checkpoint(source="claude", session="s", path="/p", project="p", server="nats://x")


@pytest.mark.usefixtures("state")
def test_a_checkpoint_has_all_that_a_parser_must_remember(coding_home: Home) -> None:
    mark = _checkpoint()
    whole = read("claude", coding_home.claude, places=mark.places)
    checkpoint.save("p", "claude-s", checkpoint.encode(mark))
    again = checkpoint.read("p", "claude-s")
    assert again is not None
    assert len(whole) > 20
    assert again.places == mark.places
    assert read("claude", coding_home.claude, places=again.places) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"format":99}', b"[]"])
def test_a_checkpoint_that_cannot_be_read_is_none(state: Path, content: bytes) -> None:
    checkpoint.save("p", "claude-s", content)
    assert checkpoint.read("p", "claude-s") is None
    assert checkpoint.every("p") == {}
    assert state.exists()


def test_only_its_user_can_read_a_checkpoint(state: Path) -> None:
    checkpoint.save("p", "claude-s", checkpoint.encode(_checkpoint()))
    path = checkpoint.folder("p") / "claude-s.json"
    assert (path.stat().st_mode & 0o77, path.parent.stat().st_mode & 0o77) == (0, 0)
    assert path.is_relative_to(state)


def test_a_lock_says_who_has_it_and_ends_with_its_process(state: Path) -> None:
    program = (
        "import sys, tracecraft.transcripts.checkpoint as c; l = c.Lock('p', 'r'); print(l.take(), flush=True); "
        "sys.stdin.read()"
    )
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, text=True, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "None\n"
        lock = Lock("p", "r")
        assert (lock.take(), lock.held) == (holder.pid, False)
        holder.kill()
        holder.wait()
        assert (lock.take(), lock.held) == (None, True)
        lock.release()


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cwd", "name"),
    [
        pytest.param("/srv/widgets", "widgets-claude", id="plain"),
        pytest.param("/srv/my app (2)/", "my-app-2-claude", id="odd"),
        pytest.param("", "claude", id="unknown"),
        pytest.param("/srv/" + "x" * 200, "x" * 40 + "-claude", id="long"),
    ],
)
def test_an_agent_is_named_after_its_folder(cwd: str, name: str) -> None:
    assert naming.agent_name("claude", cwd) == name


def test_a_run_is_named_after_its_session() -> None:
    assert naming.run_id("hermes", "2026 11/22") == "hermes-2026-11-22"
    assert len(naming.run_id("openclaw", "x" * 200)) == 64


def test_a_session_is_found_by_a_part_of_its_id(coding_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    (one,) = finder.named("4a8ba")
    assert (one.source, one.path) == ("claude", coding_home.claude)
    assert finder.named("claude-4a8ba476-e796-4966-9e73-0a81040cf1b1") == [one]
    assert finder.named(str(coding_home.hermes))[0].source == "hermes"
    with pytest.raises(UsageError, match="say more of it"):
        finder.named("01a2057")
    with pytest.raises(NotFound):
        finder.named("zzz")


def test_a_session_is_inside_of_the_folder_it_worked_in(coding_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    (one,) = finder.named("4a8ba")
    assert [folders.inside(one, Path(folder)) for folder in ("/srv/widgets", "/srv", "/srv/wid", "/srv/gadgets")] == [
        *(True, True, False, False)
    ]


# -- what people see -------------------------------------------------------------------------------------------------


def _shown(path: Path, *, whole: bool = False) -> str:
    return "\n".join(passage.text(whole=whole) for passage in [*passages.of_records(read("claude", path), "alice")])


def test_a_tool_stands_where_it_was_used_with_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"), *assistant(2, tool("t1"), tool("t2", "Read", path="x")))
    append(
        path, answer(300, "t2", "no such file", failed=True), answer(301, "t1", "built"), *assistant(4, text("done"))
    )
    shown = _shown(path).splitlines()
    heads = [line[21:] for line in shown if not line.startswith("  >")]
    assert heads == [
        "user -> alice",
        "alice (claude-sonnet-4-5) · 200.0 s · 5 tokens",
        "alice uses Bash · 101.0 s",
        "alice uses Read · 99.0 s · failed: no such file",
        "alice (claude-sonnet-4-5) · 99.0 s · 5 tokens",
    ]
    assert "  > built" in shown


def test_a_long_answer_is_cut_unless_all_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    long = "\n".join(f"line {number}" for number in range(400))
    append(path, user(1, "go"), *assistant(2, tool("t1")), answer(300, "t1", long))
    assert "line 399" not in _shown(path)
    assert "characters more: --full" in _shown(path)
    assert "line 399" in _shown(path, whole=True)


def test_what_others_said_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "a\nb\x1b]0;title\x07"), *assistant(2, text("\u200bx")))
    lines = _shown(path).splitlines()
    assert "  > b\\x1b]0;title\\x07" in lines
    assert "  > \\u200bx" in lines


def test_a_passage_is_json_too(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"))
    (passage,) = passages.of_records(read("claude", path), "alice")
    assert json.loads(json.dumps(passage.as_json()))["words"] == "go"
