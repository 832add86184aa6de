"""Transcripts of coding agents become runs: each step once, with its own time, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.coding_sessions import CLAUDE, CODEX, HERMES, SUBAGENT, answer, append, assistant, text, tool, user
from tracecraft import AsyncSession
from tracecraft.transcripts import checkpoint, naming
from tracecraft.transcripts.mirror import Mirror
from tracecraft_core import settings
from tracecraft_core.errors import UsageError
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.coding_sessions import Home
    from tracecraft_core.queries import StepRow
    from tracecraft_core.settings import Settings
    from tracecraft_stack import Stack


SECRET = "ghp_" + "e5F6" * 9


class Desk:
    """A project, a home with transcripts, and questions about what became of them."""

    def __init__(self, session: AsyncSession, home: Home) -> None:
        self.session, self.home = session, home

    @property
    def settings(self) -> Settings:
        return self.session.settings

    async def mirror(self, source: str, path: Path | None = None, session: str | None = None, **more: Any) -> Mirror:
        """Mirror a session to its end."""
        if path is None:
            path, session = self.home.path(source)
        mirror = Mirror(self.settings, source, path, session=session, **more)
        progress = await mirror.end()
        assert progress.waiting == ""
        return mirror

    async def steps(self, run: str) -> list[StepRow]:
        return [step async for step in self.session.runs.steps(run)]

    async def assert_sound(self, run: str) -> None:
        """Nothing is missing, and nothing was said twice."""
        verified = await self.session.runs.verify(run)
        assert (verified.problems, [writer.missing for writer in verified.writers if writer.missing]) == ([], [])
        ids = [step.step for step in await self.steps(run)]
        assert len(ids) == len(set(ids))


@pytest.fixture
async def desk(stack: Stack, project: str, coding_home: Home, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    resolved = settings.load({"server": stack.state.nats_url, "project": project, "agent": "tester"})
    async with AsyncSession(resolved=resolved, mode="oneshot") as session:
        yield Desk(session, coding_home)


# -- what becomes of a session -------------------------------------------------------------------------------------


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


# -- again, and again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["claude", "codex", "hermes", "openclaw"])
async def test_mirrored_again_nothing_is_new(desk: Desk, source: str) -> None:
    mirror = await desk.mirror(source)
    before = await desk.session.runs.get(mirror.run)
    again = Mirror(desk.settings, source, mirror.path, session=mirror.session)
    assert (await again.end()).steps == 0
    after = await desk.session.runs.get(mirror.run)
    assert (after.events, after.row) == (before.events, before.row)


@pytest.mark.parametrize("source", ["claude", "codex", "hermes", "openclaw"])
async def test_without_its_checkpoint_nothing_is_doubled(desk: Desk, source: str) -> None:
    mirror = await desk.mirror(source)
    before, steps = await desk.session.runs.get(mirror.run), await desk.steps(mirror.run)
    shutil.rmtree(checkpoint.folder(desk.session.project))

    await desk.mirror(source)
    after = await desk.session.runs.get(mirror.run)
    assert await desk.steps(mirror.run) == steps
    assert (after.row.tokens, after.row.cost, after.row.errors) == (
        before.row.tokens,
        before.row.cost,
        before.row.errors,
    )
    assert (await desk.session.runs.costs("run", run=mirror.run)).total.not_counted == 0
    await desk.assert_sound(mirror.run)


async def test_a_session_that_is_resumed_goes_on_in_its_run(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"), *assistant(2, text("done")))
    run = (await desk.mirror("claude", path, "s")).run
    assert (await desk.session.runs.get(run)).row.status == "finished"

    append(path, user(600, "go on"))
    mirror = Mirror(desk.settings, "claude", path, session="s")
    assert (await mirror.advance()).steps == 1
    row = (await desk.session.runs.get(run)).row
    assert (row.status, row.ended, row.steps) == ("running", None, 3)
    await mirror.end("failed", error="it was too hard")
    row = (await desk.session.runs.get(run)).row
    assert (row.status, row.reason) == ("failed", "it was too hard")
    assert row.ended == "2026-11-20T00:10:00.000000Z"
    await desk.assert_sound(run)


async def test_a_tool_that_answers_after_its_session_was_ended_is_not_lost(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"), *assistant(2, tool("t")))
    run = (await desk.mirror("claude", path, "s")).run
    assert {step.name: step.status for step in await desk.steps(run)}["Bash"] == "lost"

    append(path, answer(900, "t", "built"))
    await desk.mirror("claude", path, "s")
    (built,) = [step for step in await desk.steps(run) if step.name == "Bash"]
    assert (built.status, built.output, built.seconds) == ("ok", "built", 700.0)
    await desk.assert_sound(run)


async def test_a_tool_that_is_at_work_is_seen_before_it_answers(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"), *assistant(2, tool("t")))
    mirror = Mirror(desk.settings, "claude", path, session="s")
    deadline = time.monotonic() + 30
    while (await mirror.advance()).records or "Bash" not in [step.name for step in await desk.steps(mirror.run)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    (waiting,) = [step for step in await desk.steps(mirror.run) if step.name == "Bash"]
    assert waiting.status == "open"
    await mirror.leave()
    assert (await desk.session.runs.get(mirror.run)).row.status == "running"


async def test_a_line_that_is_half_written_waits(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "go"))
    line = json.dumps(user(2, "the second")) + "\n"
    with path.open("a") as file:
        file.write(line[:40])
    mirror = Mirror(desk.settings, "claude", path, session="s")
    assert (await mirror.advance()).steps == 1
    with path.open("a") as file:
        file.write(line[40:])
    assert (await mirror.advance()).steps == 1
    await mirror.end()
    assert [step.input for step in await desk.steps(mirror.run)] == ["go", "the second"]


@pytest.mark.parametrize("how", ["truncated", "another"])
async def test_a_transcript_that_is_written_anew_is_noticed(desk: Desk, tmp_path: Path, how: str) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "one"), user(2, "two"), user(3, "three"))
    mirror = Mirror(desk.settings, "claude", path, session="s")
    assert (await mirror.advance()).steps == 3

    path.unlink()
    append(path, user(1, "one"), user(4, "four"))
    if how == "another":
        append(path, *(user(number, f"more {number}") for number in range(5, 9)))
    progress = await mirror.advance()
    assert "read again from its beginning" in progress.note
    await mirror.end()
    said = [step.input for step in await desk.steps(mirror.run)]
    assert said[:4] == ["one", "two", "three", "four"]
    assert len(said) == (8 if how == "another" else 4)
    await desk.assert_sound(mirror.run)


@pytest.mark.parametrize("lines", [2, 5, 7])
async def test_a_transcript_that_shrinks_and_grows_again_says_nothing_twice(
    desk: Desk, tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "one"), *assistant(2, text("I look"), tool("t")), answer(300, "t", "ok"), user(400, "two"))
    append(path, *assistant(5, tool("u")), answer(600, "u", "ok"), user(700, "three"))
    whole = path.read_bytes()
    mirror = await desk.mirror("claude", path, "s")
    before = [_said(step) for step in await desk.steps(mirror.run)]

    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]))
    await desk.mirror("claude", path, "s")
    path.write_bytes(whole)
    again = Mirror(desk.settings, "claude", path, session="s")
    assert (await again.end()).steps == 0
    assert [_said(step) for step in await desk.steps(mirror.run)] == before
    await desk.assert_sound(mirror.run)

    append(path, user(800, "four"))
    await desk.mirror("claude", path, "s")
    assert len(await desk.steps(mirror.run)) == len(before) + 1
    await desk.assert_sound(mirror.run)


async def test_a_session_that_lies_in_two_folders_is_recorded_once(desk: Desk, tmp_path: Path) -> None:
    short, whole = tmp_path / "x" / "s.jsonl", tmp_path / "y" / "s.jsonl"
    for path in (short, whole):
        path.parent.mkdir()
        append(path, *(user(number, f"say {number}") for number in range(1, 5)))
    append(whole, user(5, "say 5"), user(6, "say 6"))
    for path in (short, whole) * 2:
        mirror = await desk.mirror("claude", path, "s")
    assert len(await desk.steps(mirror.run)) == 6
    await desk.assert_sound(mirror.run)


async def test_a_step_that_a_client_records_twice_is_listed_once_and_told_of(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    append(path, user(1, "one"), user(2, "two"), *assistant(3, tool("t")), answer(400, "t", "no", failed=True))
    mirror = await desk.mirror("claude", path, "s")
    before = [_said(step) for step in await desk.steps(mirror.run)]

    forgotten = checkpoint.read(desk.session.project, mirror.run)
    assert forgotten is not None
    forgotten.places = {}
    checkpoint.save(desk.session.project, mirror.run, checkpoint.encode(forgotten))
    await desk.mirror("claude", path, "s")
    assert [_said(step) for step in await desk.steps(mirror.run)] == before
    assert len([step async for step in desk.session.runs.steps(mirror.run, errors=True)]) == 1
    verified = await desk.session.runs.verify(mirror.run)
    assert not verified.complete
    assert sorted(problem for _, _, problem in verified.problems) == sorted(
        f"step {step} has ended before" for step, *_ in before
    )


@pytest.mark.parametrize("source", ["claude", "codex", "hermes", "openclaw"])
async def test_what_the_transcript_has_not_any_more_is_remembered_only_until_it_is_there_again(
    desk: Desk, source: str
) -> None:
    mirror = await desk.mirror(source)
    shutil.rmtree(checkpoint.folder(desk.session.project))
    again = await desk.mirror(source)
    assert again.mirrored is not None
    assert (again.mirrored.ahead, again.mirrored.dirty) == ({}, False)
    assert mirror.run == again.run


async def test_a_rollout_that_codex_compresses_meanwhile_goes_on(desk: Desk) -> None:
    import zstandard

    path, (head, tail) = desk.home.codex, _halves(desk.home.codex.read_bytes())
    path.write_bytes(head)
    mirror = Mirror(desk.settings, "codex", path)
    await mirror.advance()
    await mirror.leave()
    packed = path.with_name(path.name + ".zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(head + tail))
    path.unlink()

    await desk.mirror("codex", path, CODEX)
    row = (await desk.session.runs.get(mirror.run)).row
    assert (row.steps, row.tokens) == (7, Tokens(input=276, cache_read=90, output=75, reasoning=6))
    await desk.assert_sound(mirror.run)


async def test_a_database_that_somebody_writes_to_is_read_meanwhile(desk: Desk) -> None:
    writer = sqlite3.connect(desk.home.hermes)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("BEGIN IMMEDIATE")
    row = (HERMES, "user", "one more", 1_795_388_500.0)
    writer.execute("INSERT INTO messages (session_id, role, content, timestamp) VALUES (?, ?, ?, ?)", row)
    mirror = Mirror(desk.settings, "hermes", desk.home.hermes, session=HERMES)
    assert (await mirror.advance()).steps == 5
    writer.commit()
    writer.close()
    assert (await mirror.advance()).steps == 1
    await mirror.end()


async def test_a_second_mirror_of_a_session_waits_for_the_first(desk: Desk) -> None:
    first = Mirror(desk.settings, "claude", desk.home.claude)
    await first.advance()
    second = Mirror(desk.settings, "claude", desk.home.claude)
    assert (await second.advance()).waiting == f"process {os.getpid()} mirrors it"
    await first.end()
    assert (await second.end()).waiting == ""


async def test_a_transcript_that_is_not_there_yet_is_no_error(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "later.jsonl"
    mirror = Mirror(desk.settings, "claude", path)
    assert await mirror.advance() == await mirror.advance()
    append(path, user(1, "go"))
    assert (await mirror.advance()).steps == 1
    await mirror.end()


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


def _said(step: StepRow) -> tuple[object, ...]:
    """Of a step what its place in the log does not change."""
    return step.step, step.status, step.input, step.output, step.started, step.ended, step.tokens


def _special(path: Path, kind: str) -> None:
    """Something that reading blocks on, or never comes to the end of."""
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


def _halves(content: bytes) -> tuple[bytes, bytes]:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:16]), b"".join(lines[16:])


async def _entries(desk: Desk, run: str) -> AsyncIterator[dict[str, Any]]:
    import msgspec

    from tracecraft.queries import ask
    from tracecraft_core.queries import EntriesPage, EntriesQuestion

    page = await ask(desk.session.context, "log.entries", EntriesQuestion(run=run, only_run=True), EntriesPage)
    for entry in page.entries:
        yield msgspec.to_builtins(entry)
