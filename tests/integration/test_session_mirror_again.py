"""Transcripts are mirrored again and again: each step once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.coding_sessions import CODEX, HERMES, answer, append, assistant, text, tool, user
from tracecraft.transcripts import checkpoint
from tracecraft.transcripts.mirror import Mirror
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.desk import Desk
    from tracecraft_core.queries import StepRow


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


def _said(step: StepRow) -> tuple[object, ...]:
    """Of a step what its place in the log does not change."""
    return step.step, step.status, step.input, step.output, step.started, step.ended, step.tokens


def _halves(content: bytes) -> tuple[bytes, bytes]:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:16]), b"".join(lines[16:])
