"""The hook: what it makes of an event, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft_cli import hook
from tracecraft_cli.install import place
from tracecraft_cli.sidecar import event as events
from tracecraft_cli.sidecar.edits import Edit, edited, patched
from tracecraft_core import coding_session

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "click",
    "msgspec",
    "nats",
    "asyncio",
    "tracecraft",
    "typing",
    "pathlib",
    "dataclasses",
    "subprocess",
    "logging",
}


def said(event: str, **fields: Any) -> bytes:
    return json.dumps({"session_id": "s", "cwd": "/w", "hook_event_name": event, **fields}).encode()


def made(payload: bytes, **environ: str) -> dict[str, Any]:
    found = hook.event_of(payload, environ)
    assert found is not None
    return found


def test_a_hook_imports_nothing_that_it_can_do_without() -> None:
    code = "import sys; before = set(sys.modules); import tracecraft_cli.hook; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "tracecraft_cli.hook" in done.stdout
    assert not {name.partition(".")[0] for name in done.stdout.split()} & HEAVY


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b'"x"',
        b"{}",
        b'{"hook_event_name": 1, "session_id": 2}',
        b"[" * 99_999,
    ],
    ids=["empty", "binary", "list", "null", "torn", "text", "nothing", "numbers", "deep"],
)
def test_garbage_is_answered_with_nothing_and_success(payload: bytes, tmp_path: Any) -> None:
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tracecraft_cli.hook"], input=payload, capture_output=True, env=env, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")
    assert list(tmp_path.iterdir()) == []


def test_an_event_that_never_comes_to_its_end_is_answered_all_the_same(tmp_path: Any) -> None:
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "tracecraft_cli.hook"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"session_id": ')
        process.stdin.flush()
        assert process.stdout.read() == b"{}\n"
        assert process.wait() == 0


def test_what_a_tool_answered_never_goes_to_the_sidecar() -> None:
    small = said("PostToolUse", tool_name="Bash", tool_input={"command": "x"}, tool_response="secret words")
    large = said("PostToolUse", tool_name="Bash", tool_input={"command": "x"}, tool_response="secret words" * 100_000)
    for payload in (small, large):
        assert "secret" not in json.dumps(made(payload))
        assert made(payload)["tool"] == "Bash"


def test_a_large_event_whose_input_speaks_of_an_answer_is_still_understood() -> None:
    inside = said(
        "PreToolUse", tool_name="Write", tool_input={"file_path": "a", "content": ',"tool_response":' * 50_000}
    )
    assert made(inside)["paths"] == ["a"]


@given(st.text(max_size=50), st.text(max_size=50))
def test_what_goes_to_the_sidecar_is_bounded_and_understood_there(id_: str, cwd: str) -> None:
    payload = said("PostToolUse", session_id="x" + id_, cwd=cwd + "c" * 10_000, tool_name="T" * 10_000)
    line = hook.line_of(made(payload))
    assert len(line) < events.MAX_BYTES
    assert events.decode(line) is not None


@pytest.mark.parametrize(
    ("kind", "payload", "environ"),
    [
        ("claude", said("SessionStart", source="startup"), {"CLAUDE_CODE_SESSION_ID": "s"}),
        ("claude", said("SessionStart", source="startup"), {}),
        ("codex", said("SessionStart", model="gpt-5", transcript_path="/x/rollout-1.jsonl"), {}),
        ("codex", said("UserPromptSubmit", turn_id="t"), {"CLAUDE_CODE_SESSION_ID": "of the agent around it"}),
    ],
    ids=["claude", "claude-old", "codex", "codex-in-claude"],
)
def test_the_hook_knows_which_coding_agent_asks(kind: str, payload: bytes, environ: dict[str, str]) -> None:
    assert made(payload, **environ)["kind"] == kind


@pytest.mark.parametrize(
    ("tool", "given_", "files"),
    [
        ("Write", {"file_path": "a.py", "content": "x"}, ["a.py"]),
        ("Edit", {"file_path": "/w/a b.py", "old_string": "x"}, ["/w/a b.py"]),
        ("NotebookEdit", {"notebook_path": "n.ipynb"}, ["n.ipynb"]),
        ("apply_patch", {"command": "*** Begin Patch\n*** Add File: a\n+*** Add File: no\n*** End Patch"}, ["a"]),
        ("apply_patch", {"input": "*** Begin Patch\n*** Update File: a\n*** Move to: b\n*** End Patch"}, ["a", "b"]),
        ("Bash", {"command": "apply_patch <<'E'\n*** Begin Patch\n*** Delete File: c\n*** End Patch\nE"}, ["c"]),
    ],
    ids=["write", "edit", "notebook", "patch", "move", "shell"],
)
def test_the_files_of_an_edit_are_those_that_the_tool_names(
    tool: str, given_: dict[str, str], files: list[str]
) -> None:
    event = events.decode(hook.line_of(made(said("PreToolUse", tool_name=tool, tool_input=given_))))
    assert event is not None
    assert [edit.path for edit in edited(event)] == files


@pytest.mark.parametrize(
    ("tool", "before", "name", "edit"),
    [
        ("apply_patch", "", "b/c", Edit("b/c")),
        ("Bash", "", "b/c", Edit("b/c", tail="b/c")),
        ("Bash", "", "./../b/../c", Edit("./../b/../c", tail="c")),
        ("Bash", "", "/b/c", Edit("/b/c")),
        ("Bash", "cd a && ", "b", Edit("a/b", tail="a/b")),
        ("Bash", "cd ../a && ", "b", Edit("../a/b", tail="a/b")),
        ("Bash", "cd a; ", "b", Edit("a/b", tail="b")),
        ("Bash", "cd $A && ", "b", Edit("b", tail="b")),
        ("Bash", "cd /w/a && ", "b", Edit("/w/a/b")),
        ("Bash", "cd /w/a && ", "/b", Edit("/b")),
        ("Bash", ["bash", "-lc", "cd /w/a && "], "b", Edit("/w/a/b")),
    ],
)
def test_the_folder_of_a_patch_in_the_shell_is_told_as_far_as_it_is_known(
    tool: str, before: str | list[str], name: str, edit: Edit
) -> None:
    patch = f"apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {name}\n+x\n*** End Patch\nEOF\n"
    command = before + patch if isinstance(before, str) else [*before[:-1], before[-1] + patch]
    event = events.decode(hook.line_of(made(said("PreToolUse", tool_name=tool, tool_input={"command": command}))))
    assert event is not None
    assert edited(event) == [edit]


def test_of_the_rest_of_a_command_nothing_goes_to_the_sidecar() -> None:
    command = (
        "export KEY=secret; cd src && apply_patch <<E\n*** Begin Patch\n*** Add File: a\n+secret\n*** End Patch\nE"
    )
    assert "secret" not in json.dumps(made(said("PreToolUse", tool_name="Bash", tool_input={"command": command})))


@pytest.mark.parametrize("given_", [{"command": "rm -rf src"}, {"file_path": 3}, {}, None], ids=range(4))
def test_a_call_that_names_no_file_is_not_asked_about(given_: Any) -> None:
    for tool in ("Bash", "Read", "Write"):
        assert hook.event_of(said("PreToolUse", tool_name=tool, tool_input=given_), {}) is None


@pytest.mark.parametrize(
    ("headline", "file"),
    [
        ("  *** Update File: a", "a"),
        ("\t*** Delete File: a  ", "a"),
        ("\u00a0*** Add File: a\r", "a"),
        ("*** Add File:  a", " a"),
        ("*** Add File:  a ", " a"),
        ("*** Move to: a ", "a "),
        ("*** Add File: a\u2028b", "a\u2028b"),
    ],
    ids=["blanks", "tab", "no-break", "blank-name", "blank-name-trimmed", "blank-at-the-end", "separator"],
)
def test_a_headline_is_read_as_codex_reads_it(headline: str, file: str) -> None:
    patch = f"*** Begin Patch\n{headline}\n+*** Add File: no\n*** End Patch"
    event = events.decode(
        hook.line_of(made(said("PreToolUse", tool_name="apply_patch", tool_input={"command": patch})))
    )
    assert event is not None
    assert file in [edit.path for edit in edited(event)]
    assert "no" not in [edit.path for edit in edited(event)]
    assert not event.more


def test_the_files_of_a_call_that_is_a_patch_and_names_a_path_are_both() -> None:
    both = {"file_path": "a", "command": "*** Begin Patch\n*** Add File: b\n+x\n*** End Patch"}
    event = events.decode(hook.line_of(made(said("PreToolUse", tool_name="Write", tool_input=both))))
    assert event is not None
    assert [edit.path for edit in edited(event)] == ["a", "b"]


@pytest.mark.parametrize("sign", ["f", "\U0001f600", "\x01", "\ud800"], ids=["ascii", "emoji", "control", "half"])
@pytest.mark.parametrize("names", [160, 5_000], ids=["many", "very-many"])
def test_of_a_patch_with_more_headlines_than_are_passed_on_the_sidecar_knows_that_there_are_more(
    sign: str, names: int
) -> None:
    patch = "*** Begin Patch\n" + "".join(f"*** Add File: {sign * 300}{number}\n+x\n" for number in range(names))
    given_ = {"command": patch, "path": sign * hook.MAX_WORDS}
    wide = {"cwd": sign * 9_000, "transcript_path": sign * 9_000, "source": sign * 9_000, "reason": sign * 9_000}
    line = hook.line_of(made(said("PreToolUse", tool_name="apply_patch", tool_input=given_, **wide)))
    assert len(line) < events.MAX_BYTES
    event = events.decode(line)
    assert event is not None
    assert event.more


def test_a_path_that_is_too_long_to_be_passed_on_is_said_to_be_cut() -> None:
    path = "/w/" + "./" * 4_000 + "held.py"  # the tool makes a short one of it
    assert made(said("PreToolUse", tool_name="Write", tool_input={"file_path": path}))["more"] is True


@pytest.mark.parametrize(
    "payload",
    [
        said(
            "PreToolUse",
            tool_name="apply_patch",
            tool_input={"command": "*** Begin Patch\n*** Add File: \ud800\n*** Add File: a"},
        ),
        said(
            "PreToolUse",
            tool_name="apply_patch",
            tool_input={"command": "*** Begin Patch\n*** Add File: ?\n*** Add File: a"},
        ).replace(b"?", b"\xff"),
        said("PreToolUse", cwd="\udfff", tool_name="Write", tool_input={"file_path": "a"}),
    ],
    ids=["half-a-character", "no-utf-8", "in-the-folder"],
)
def test_an_edit_is_asked_about_also_when_something_in_the_event_is_no_text(payload: bytes) -> None:
    event = events.decode(hook.line_of(made(payload)))
    assert event is not None
    assert "a" in [edit.path for edit in edited(event)]


_INTERRUPTS = """
import _signal, os, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name in {"enum", "json", "select", "tracecraft_core.coding_session", "socket"}:
            os.kill(os.getpid(), _signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
"""
"""Of a ``sitecustomize``: Ctrl-C at several moments of a program's start."""


@pytest.mark.parametrize("program", ["module", "script"])
def test_an_interrupt_while_a_hook_starts_is_not_noticed(program: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTS)
    script = tmp_path / "tracecraft-hook"  # as installers write it
    script.write_text("from tracecraft_cli.hook import main\nmain()\n")
    argv = [str(script)] if program == "script" else ["-m", "tracecraft_cli.hook"]
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *argv], input=b"{}", capture_output=True, env=env, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")


def test_to_import_the_hook_leaves_interrupts_as_they_are() -> None:
    code = "import signal, tracecraft_cli.hook; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


def test_an_interrupt_while_python_starts_is_kept_away_by_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    program = tmp_path / "tracecraft-hook"
    program.write_text("#!/bin/sh\nkill -INT $$\necho '{}'\n")
    program.chmod(0o755)
    launcher = tmp_path / "launcher"
    launcher.write_text(place.launcher_text("tracecraft-hook"))
    done = subprocess.run(["/bin/sh", str(launcher)], input=b"{}", capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")


@pytest.mark.parametrize(
    "variables",
    [{"TRACECRAFT_JSON": "foo"}, {"TRACECRAFT_PROJECT": "not a name"}, {"TRACECRAFT_SERVER": "\x01"}],
    ids=["json", "project", "server"],
)
@pytest.mark.parametrize("words", [["hook"], ["hook", "--json"]], ids=["plain", "json"])
def test_the_command_answers_whatever_the_environment_says(
    words: list[str], variables: dict[str, str], tmp_path: Path
) -> None:
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), **variables}
    argv = [sys.executable, "-m", "tracecraft_cli", *words]
    done = subprocess.run(argv, input=b"{}", capture_output=True, env=env, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")


_WHO = "from tracecraft_core import coding_session; print(coding_session.coding_agent().pid)"


@pytest.mark.parametrize(
    "wrapper",
    [
        ["timeout", "60"],
        ["nice"],
        ["sh", "-c", '"$@"; true', "sh"],
        [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"],
        ["sh", "-c", '"$@" </dev/null; true', "sh", "timeout", "60"],
    ],
    ids=["timeout", "nice", "shell", "a-program", "another-input"],
)
def test_what_only_hands_the_event_on_is_not_taken_for_the_coding_agent(wrapper: list[str]) -> None:
    argv = [*wrapper, sys.executable, "-c", _WHO]
    done = subprocess.run(argv, input="{}", capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == os.getpid()


def _state(**fields: Any) -> bytes:
    return json.dumps({"kind": "claude", "id": "1", **fields}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000,
        b"[]",
        b"7",
        b"\xff",
        _state(socket=7),
        _state(sidecar="1;"),
        _state(held=[1]),
        _state(kind=5),
        _state(agent=None),
        _state(agent="a" * 300_000),
    ],
    ids=["deep", "list", "number", "binary", "socket", "sidecar", "held", "kind", "agent", "too-long"],
)
def test_a_state_file_that_makes_no_sense_is_none(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "claude-1.json"
    path.write_bytes(_state())
    assert coding_session.read(str(path)) is not None
    path.write_bytes(text)
    assert coding_session.read(str(path)) is None


def test_what_is_no_file_of_this_user_is_no_state_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "claude-1.json"
    real.write_bytes(_state())
    link, pipe, folder = tmp_path / "link.json", tmp_path / "pipe.json", tmp_path / "folder.json"
    link.symlink_to(real)
    os.mkfifo(pipe)
    folder.mkdir()
    code = "import sys; from tracecraft_core import coding_session as c; print([c.read(one) for one in sys.argv[1:]])"
    argv = [sys.executable, "-c", code, *map(str, (link, pipe, folder))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[None, None, None]\n"
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    assert coding_session.read(str(real)) is None


@given(st.text(max_size=400))
def test_no_patch_is_too_strange_to_be_read(patch: str) -> None:
    assert all(patched(patch))
