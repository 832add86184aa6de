"""The hook: what it makes of an event, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft_cli import hook
from tracecraft_cli.sidecar import event as events
from tracecraft_cli.sidecar.edits import edited, patched

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
    line = json.dumps(made(payload)).encode()
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
    event = events.decode(json.dumps(made(said("PreToolUse", tool_name=tool, tool_input=given_))).encode())
    assert event is not None
    assert edited(event) == files


@pytest.mark.parametrize("given_", [{"command": "rm -rf src"}, {"file_path": 3}, {}, None], ids=range(4))
def test_a_call_that_names_no_file_is_not_asked_about(given_: Any) -> None:
    for tool in ("Bash", "Read", "Write"):
        assert hook.event_of(said("PreToolUse", tool_name=tool, tool_input=given_), {}) is None


@given(st.text(max_size=400))
def test_no_patch_is_too_strange_to_be_read(patch: str) -> None:
    assert all(patched(patch))
