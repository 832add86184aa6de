"""Requests to a relay that mean harm: links to what lies outside, what is no request, settings of the workspace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sandbox import AGENT, Sandbox
from tracecraft_cli.relay import papers

if TYPE_CHECKING:
    from pathlib import Path


def assert_untold(sandbox: Sandbox) -> None:
    """Nothing of the secret is in the workspace or on the bus."""
    for path in sandbox.workspace.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"SECRET" not in path.read_bytes(), path
    assert sandbox.outside("tasks").stdout == ""


@pytest.mark.parametrize("what", ["request.json", "attached", "stdin", "folder", "taken"])
def test_a_link_to_a_file_outside_is_refused(sandbox: Sandbox, secret: Path, what: str) -> None:
    sandbox.relay()
    id_ = papers.new_id()
    stdin = what == "stdin"
    fields = {"command": ["plan", "apply"], "arguments": ["-" if stdin else "plan.yaml"], "stdin": stdin}
    request = {"id": id_, "agent": AGENT, "wait": False, "time": 1.0, "attached": None if stdin else "plan.yaml"}
    new = sandbox.folder / papers.REQUESTS / f".{id_}"
    new.mkdir()
    (new / "request.json").write_text(json.dumps(request | fields), encoding="utf-8")
    if what in ("folder", "taken"):
        moved = new.rename(sandbox.workspace / "elsewhere")
        (moved / "attached").write_text("tasks: []", encoding="utf-8")
        if what == "folder":
            new.symlink_to(moved)
        else:
            (moved / "attached").unlink()
            (moved / "attached").symlink_to(secret.parent)
            moved.rename(new)
    else:
        (new / what).unlink(missing_ok=True)
        (new / what).symlink_to(secret)
    new.rename(new.with_name(id_))
    assert sandbox.answer(id_).state == "refused"
    assert secret.exists()
    assert_untold(sandbox)


def test_a_hard_link_to_a_file_outside_is_refused(sandbox: Sandbox, secret: Path) -> None:
    sandbox.relay()
    id_ = papers.new_id()
    fields = {"command": ["plan", "apply"], "arguments": ["x"], "attached": "x", "wait": False, "time": 1.0}
    place = sandbox.folder / papers.REQUESTS / f".{id_}"
    place.mkdir()
    (place / "attached").hardlink_to(secret)
    (place / "request.json").write_text(json.dumps({"id": id_, "agent": AGENT} | fields), encoding="utf-8")
    place.rename(place.with_name(id_))
    assert sandbox.answer(id_).message == "attached has another name elsewhere"
    assert_untold(sandbox)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"[]",
        b"[" * 100_000,
        b'{"id": 1}',
        b"\xff\xfe",
        bytes(papers.MAX_PAPER + 1),
        b'{"id": "%s", "agent": "a", "wait": false, "time": 1, "command": ["tasks"], "extra": 1}',
        b'{"id": "1795388917622703-d10551bf9e92", "agent": "a", "wait": false, "time": 1, "command": ["send"]}',
    ],
    ids=["empty", "not-json", "list", "deep", "fields", "utf-8", "huge", "unknown-field", "another-id"],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_served(sandbox: Sandbox, content: bytes) -> None:
    sandbox.relay()
    id_ = papers.new_id()
    sandbox.place(id_, content.replace(b"%s", id_.encode()))
    assert sandbox.answer(id_).state == "refused"
    assert sandbox("memory", "set", "k", "1").returncode == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["claim"], "options": [["--exec", None]], "arguments": ["T", "--", "touch", "OWNED"]},
        {"command": ["run", "exec"], "arguments": ["x", "--", "touch", "OWNED"]},
        {"command": ["complete"], "options": [["--verify", "touch OWNED"]], "arguments": ["T"]},
        {"command": ["serve"]},
        {"command": ["runs"], "arguments": ["export", "x"]},
        {"command": ["memory", "set"], "options": [["--server", "nats://elsewhere"]], "arguments": ["k", "1"]},
        {"command": ["memory", "set"], "arguments": ["k", "1"], "environment": {"LD_PRELOAD": "x.so"}},
        {"command": ["memory", "set"], "arguments": ["k", "1"], "project": "foreign"},
        {"command": ["memory", "set"], "arguments": ["k", "1"], "agent": "../x"},
        {"command": ["wait-for"], "arguments": ["T"]},
    ],
    ids=["exec", "run-exec", "verify", "serve", "sub-command", "server", "preload", "project", "agent", "nobody-waits"],
)
def test_what_a_relay_does_not_do_is_refused(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    sandbox.relay()
    answer = sandbox.answer(sandbox.forge(**fields))
    assert (answer.state, answer.exit_code) == ("refused", 1)
    assert not list(sandbox.workspace.parent.rglob("OWNED"))
    assert sandbox.value("k") is None


def test_names_that_are_no_requests_are_left_alone(sandbox: Sandbox) -> None:
    sandbox.relay()
    requests = sandbox.folder / papers.REQUESTS
    for name in ("..x", "x" * 200, "1795388917622703-d10551bf9e92 ", "a\nb"):
        (requests / name).mkdir()
    assert sandbox("memory", "set", "k", "1").returncode == 0
    assert len(sandbox.waiting()) == 4


def test_answers_go_where_the_folder_was_and_not_where_a_link_leads(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.relay()
    target = tmp_path / "target"
    target.mkdir()
    (sandbox.folder / papers.ANSWERS).rename(sandbox.folder / "moved")
    (sandbox.folder / papers.ANSWERS).symlink_to(target)
    id_ = sandbox.forge(command=["memory", "set"], arguments=["k", "1"])
    sandbox.until((sandbox.folder / "moved" / f"{id_}.json").exists)
    assert not list(target.iterdir())


def test_the_settings_of_the_workspace_have_no_say_in_what_a_relay_runs(sandbox: Sandbox) -> None:
    sandbox.relay()
    (sandbox.workspace / ".tracecraft.toml").write_text('server = "nats://127.0.0.1:9"', encoding="utf-8")
    (sandbox.workspace / "tracecraft_cli.py").write_text("raise SystemExit(9)", encoding="utf-8")
    assert sandbox.answer(sandbox.forge(command=["memory", "set"], arguments=["k", "1"])).exit_code == 0
