"""Transcripts of coding agents become runs: what becomes of a session, and what does not leave the machine."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.coding_sessions import CLAUDE, SUBAGENT, answer, append, assistant, text, tool, user
from tracecraft.transcripts import naming
from tracecraft.transcripts.mirror import Mirror
from tracecraft_core import settings
from tracecraft_core.errors import UsageError
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.desk import Desk

SECRET = "ghp_" + "e5F6" * 9


async def test_a_session_of_claude_code_is_a_run_with_its_tree(desk: Desk) -> None:
    mirror = await desk.mirror("claude")

    assert mirror.run == f"claude-{CLAUDE}"
    detail = await desk.session.runs.get(mirror.run)
    row = detail.row
    assert (row.status, row.agent, row.name) == ("finished", "widgets-claude", "claude widgets")
    assert (row.started, row.ended) == ("2026-11-22T22:58:41.646000Z", "2026-11-22T22:59:23.934000Z")
    assert row.tags == {"source": "claude", "session": CLAUDE}
    assert (row.params["cwd"], row.params["version"]) == ("/srv/widgets", "2.1.330")
    assert row.tokens == Tokens(input=728, cache_read=210, cache_write=35, output=168)
    assert row.cost == pytest.approx(0.00489825)

    steps = {step.step: step for step in await desk.steps(mirror.run)}
    (handoff,) = [step for step in steps.values() if step.kind == "handoff"]
    asked = steps[handoff.parent or ""]
    assert (asked.kind, asked.name) == ("llm", "claude-sonnet-4-5")
    turn = steps[asked.parent or ""]
    assert (turn.kind, turn.name, turn.input) == ("message", "user", "DELEGATE please, then say done")
    (inner,) = [step for step in steps.values() if step.input == "SUBAGENT: look"]
    assert (inner.parent, inner.agent) == (
        handoff.step,
        naming.subagent_name("widgets-claude", "general-purpose", SUBAGENT),
    )
    (failed,) = [step for step in steps.values() if step.status == "error"]
    assert (failed.name, failed.error) == (
        "Read",
        "ToolError: File does not exist. Note: your current working directory is /srv/widgets.",
    )
    assert {(agent.agent, agent.status, agent.role) for agent in detail.agents} == {
        ("widgets-claude", "ok", "claude"),
        (inner.agent, "ok", "general-purpose"),
    }
    await desk.assert_sound(mirror.run)


@pytest.mark.parametrize(
    ("source", "tokens", "cost", "kinds"),
    [
        pytest.param(
            *("codex", Tokens(input=276, cache_read=90, output=75, reasoning=6), None),
            {"message": 2, "llm": 3, "tool_call": 2},
            id="codex",
        ),
        pytest.param(
            *("hermes", Tokens(input=191, cache_read=60, output=50, reasoning=4), None),
            {"message": 1, "llm": 2, "tool_call": 2},
            id="hermes",
        ),
        pytest.param(
            *("openclaw", Tokens(input=197, cache_read=60, output=50, reasoning=4), 0.000311),
            {"message": 1, "llm": 2, "tool_call": 2},
            id="openclaw",
        ),
    ],
)
async def test_a_session_of_the_others_is_a_run(
    desk: Desk, source: str, tokens: Tokens, cost: float | None, kinds: dict[str, int]
) -> None:
    mirror = await desk.mirror(source)

    row = (await desk.session.runs.get(mirror.run)).row
    assert (row.status, row.tokens, row.errors) == ("finished", tokens, 1)
    assert row.cost == (None if cost is None else pytest.approx(cost))
    steps = await desk.steps(mirror.run)
    assert {kind: sum(step.kind == kind for step in steps) for kind in kinds} == kinds
    assert all(step.status in ("ok", "error") for step in steps)
    await desk.assert_sound(mirror.run)


async def test_secrets_in_a_transcript_do_not_leave_the_machine(desk: Desk, tmp_path: Path) -> None:
    secret = "sk-ant-api03-" + "k3y" * 30
    path = tmp_path / "s.jsonl"
    append(path, user(1, f"use {secret}"), *assistant(2, tool("t", command=f"curl -H 'x-api-key: {secret}'")))
    append(path, answer(300, "t", f"401 for {secret}", failed=True))
    mirror = await desk.mirror("claude", path, "s")

    events = [entry async for entry in _entries(desk, mirror.run)]
    assert events
    assert secret not in json.dumps(events)
    assert "redacted" in json.dumps(events).lower()


async def test_of_secrets_that_commands_and_files_show_nothing_leaves_the_machine(desk: Desk, tmp_path: Path) -> None:
    """The token of a bus in what ``tracecraft status`` says, headers, files of settings, objects of an environment."""
    hidden = "s3cretPw99x"
    shown = [
        json.dumps({"bus": {"url": f"nats://{hidden}@127.0.0.1:4222"}, "stack": {"otlp": {"token": f"{hidden}0123"}}}),
        f"export TRACECRAFT_SERVER=nats://{hidden}@127.0.0.1:4222; git clone https://{hidden}@example.org/x.git",
        f'DB_PASS: {hidden}\nGROQ=gsk_{hidden}abcdefghijklmnop\npassword = "open {hidden} 12345"\n',
        f"xai-{hidden}abcdefghijkl pplx-{hidden}abcdefghijkl r8_{hidden * 3} SG.{hidden}abcdefgh.{hidden}abcdefgh",
        f"ya29.{hidden}abcdefghijkl whsec_{hidden}abcdefghijkl xapp-1-{hidden} AccountKey={hidden}abcdefgh==;x",
        f"https://hooks.slack.com/services/T0/B0/{hidden}abcdefgh",
        f"curl -H 'Authorization: token {hidden}' -H 'Authorization: ApiKey {hidden}' https://example.org",
        f"env:\n- name: DB_PASSWORD\n  value: {hidden}\n",
    ]
    path = tmp_path / "s.jsonl"
    for at, said in enumerate(shown):
        append(path, user(10 * at + 1, said), *assistant(10 * at + 2, tool(f"t{at}", command=said)))
        append(path, answer(10 * at + 4, f"t{at}", said))
    argv: dict[str, Any] = {
        "env": [{"name": "DB_PASSWORD", "value": hidden}],
        "api_key": {"value": hidden},
        "argv": ["--token", f"-{hidden}"],
    }
    append(path, *assistant(200, tool("last", **argv)), answer(202, "last", json.dumps(argv)))
    mirror = await desk.mirror("claude", path, "s")

    told = json.dumps([entry async for entry in _entries(desk, mirror.run)])
    assert "url-token" in told
    assert [told[at - 60 : at + 20] for at in range(len(told)) if told.startswith(hidden, at)] == []


@pytest.mark.parametrize("filling", [200, 300, 400, 500, 2_000, 4_000, 4_096])
async def test_a_secret_that_lies_where_a_text_is_cut_is_redacted_before(
    desk: Desk, tmp_path: Path, filling: int
) -> None:
    path = tmp_path / "s.jsonl"
    for number, part in enumerate((6, 20, 38)):
        said = "z " * ((filling - part) // 2) + " " * (part % 2) + SECRET
        at, call = 10 * (number + 1), f"t{number}"
        used = {"type": "tool_use", "id": call, "name": said, "input": {"command": said}}
        append(path, user(at, said), user(at + 1, said) | {"isMeta": True}, *assistant(at + 2, used))
        append(path, answer(at + 3, call, said, failed=True), {"type": "ai-title", "aiTitle": said})
        refused = {"type": "system", "subtype": "api_error", "content": said, "error": {"message": said}}
        append(path, user(at + 4, "") | refused, *assistant(at + 5, text("done")))
    mirror = await desk.mirror("claude", path, "s")

    told = json.dumps([entry async for entry in _entries(desk, mirror.run)])
    assert "redacted" in told
    assert SECRET[:6] not in told


async def test_a_secret_in_any_name_is_redacted(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    said, *_ = assistant(2, text("done"), message=SECRET)
    said["message"]["model"] = SECRET
    append(path, user(1, "go") | {"version": SECRET, "cwd": f"/srv/{SECRET}", "gitBranch": SECRET}, said)
    inner = path.with_suffix("") / "subagents" / "agent-abc.jsonl"
    inner.parent.mkdir(parents=True)
    inner.with_suffix(".meta.json").write_text(json.dumps({"agentType": SECRET}))
    append(inner, user(3, "look"), said)
    mirror = await desk.mirror("claude", path, "s")

    told = json.dumps([entry async for entry in _entries(desk, mirror.run)])
    assert "agent.started" in told
    assert SECRET[:6] not in told
    assert {step.model for step in await desk.steps(mirror.run) if step.kind == "llm"} == {"[redacted:github-token]"}


@pytest.mark.parametrize("kind", ["pipe", "device"])
async def test_what_is_no_regular_file_is_not_opened(desk: Desk, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.jsonl"
    _special(path, kind)
    progress = await Mirror(desk.settings, "claude", path).end()
    assert "only regular files are read" in progress.waiting

    path.unlink()
    append(path, user(1, "go"))
    agents = path.with_suffix("") / "subagents"
    agents.mkdir(parents=True)
    _special(agents / "agent-a.jsonl", kind)
    _special(agents / "agent-b.meta.json", kind)
    append(agents / "agent-b.jsonl", user(2, "look"))
    os.utime(agents / "agent-b.jsonl", (1.0, 1.0))  # so long ago that nobody waits for what is said about it
    mirror = await desk.mirror("claude", path)
    assert len(await desk.steps(mirror.run)) == 2


async def test_an_agent_has_the_name_it_is_given_and_keeps_it(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"))
    await desk.mirror("claude", path, "s", agent="alice")
    append(path, *assistant(2, text("done")))
    mirror = await desk.mirror("claude", path, "s")
    assert {step.agent for step in await desk.steps(mirror.run)} == {"alice"}


async def test_steps_carry_the_task_that_the_agent_held(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"), *assistant(2, tool("t")), answer(300, "t", "ok"), user(400, "more"))
    began = 1_795_132_800.0  # 2026-11-20 00:00 UTC
    mirror = await desk.mirror("claude", path, "s", task=lambda at: "S1.parse" if at < began + 399 else None)
    assert {(step.name, step.task) for step in await desk.steps(mirror.run)} == {
        ("user", "S1.parse"),
        ("claude-sonnet-4-5", "S1.parse"),
        ("Bash", "S1.parse"),
        ("user", None),
    }


async def test_a_fork_of_a_session_pays_nothing_twice(desk: Desk, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    append(one, user(1, "go"), *assistant(2, text("done"), message="msg_01" + "a" * 22))
    shutil.copy(one, two)
    append(two, user(300, "more"), *assistant(4, text("again"), message="msg_01" + "b" * 22))
    for path in (one, two):
        await desk.mirror("claude", path)
    report = await desk.session.runs.costs("model")
    assert (report.total.calls, report.total.tokens) == (2, Tokens(input=6, output=4))


async def test_a_transcript_of_an_unknown_version_is_mirrored_and_told_of(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go") | {"version": "3.0.1"}, {"type": "hologram"})
    progress = await Mirror(desk.settings, "claude", path).end()
    assert progress.steps == 1
    assert progress.note.startswith("claude 3.0.1 wrote it, which nobody has tried")
    assert progress.note.endswith("1 of its lines are not known")


def test_wrong_arguments_are_refused() -> None:
    resolved = settings.load({"server": "nats://127.0.0.1:1", "project": "p"})
    from pathlib import Path

    with pytest.raises(UsageError, match="one of claude, codex, hermes, openclaw"):
        Mirror(resolved, "emacs", Path("x"))
    with pytest.raises(UsageError, match="say which one is meant"):
        Mirror(resolved, "hermes", Path("state.db"))


def _special(path: Path, kind: str) -> None:
    """Something that reading blocks on, or never comes to the end of."""
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


async def _entries(desk: Desk, run: str) -> AsyncIterator[dict[str, Any]]:
    import msgspec

    from tracecraft.queries import ask
    from tracecraft_core.queries import EntriesPage, EntriesQuestion

    page = await ask(desk.session.context, "log.entries", EntriesQuestion(run=run, only_run=True), EntriesPage)
    for entry in page.entries:
        yield msgspec.to_builtins(entry)
