"""A mirror that dies at any moment: no step is lost, and none is there twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.bridge import until_health
from tests.support.cli import CommandLine
from tests.support.coding_sessions import answer, append, assistant, text, tool, user
from tracecraft import AsyncSession
from tracecraft.transcripts import checkpoint
from tracecraft.transcripts.mirror import Mirror
from tracecraft_core import settings, subjects
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.bridge import Rig
    from tests.support.coding_sessions import Home
    from tracecraft_core.settings import Settings
    from tracecraft_stack import Stack
    from tracecraft_stack.nats_server import NatsServer

TURNS = 400
"""Of the long session: about 4 MB, so that it is mirrored in several portions."""


@pytest.fixture
async def session(
    stack: Stack, project: str, coding_home: Home, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncSession]:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    resolved = settings.load({"server": stack.state.nats_url, "project": project, "agent": "tester"})
    async with AsyncSession(resolved=resolved, mode="oneshot") as opened:
        yield opened


@pytest.fixture
def command(session: AsyncSession) -> Iterator[CommandLine]:
    line = CommandLine(session.settings.values["server"], session.project)
    yield line
    line.close()


@pytest.fixture
def long_session(tmp_path: Path) -> Path:
    path = tmp_path / "long.jsonl"
    for turn in range(TURNS):
        at = turn * 40
        append(
            path,
            user(at, f"turn {turn}"),
            *assistant(at + 1, text("I look"), tool(f"t{turn}", command="x" * 4_000), message=f"msg_01{at:022d}"),
            answer(at + 2, f"t{turn}", "y" * 4_000, failed=turn % 10 == 0),
            *assistant(at + 3, text("done"), message=f"msg_02{at:022d}"),
        )
    old = time.time() - 3_600
    os.utime(path, (old, old))  # nobody writes to it any more: its run is ended
    return path


async def _recorded(session: AsyncSession, run: str) -> int:
    """Events of a run that the log has."""
    found = await session.context.bus.list_subjects(subjects.LOG, f"tc.{session.project}.run.{run}.>")
    return sum(found.values())


async def _kill_after(session: AsyncSession, process: subprocess.Popen[str], run: str, events: int) -> None:
    """SIGKILL as soon as the log has so many events of the run."""
    while await _recorded(session, run) < events:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.wait()


async def _assert_whole(session: AsyncSession, run: str) -> None:
    steps = [step async for step in session.runs.steps(run)]
    assert len({step.step for step in steps}) == len(steps) == 4 * TURNS
    assert {step.status for step in steps} == {"ok", "error"}
    assert sum(step.status == "error" for step in steps) == TURNS / 10
    assert sorted(step.input or "" for step in steps if step.kind == "message") == sorted(
        f"turn {turn}" for turn in range(TURNS)
    )
    detail = await session.runs.get(run)
    assert (detail.row.steps, detail.row.errors, detail.row.status) == (4 * TURNS, TURNS / 10, "finished")
    assert detail.row.tokens == Tokens(input=3 * 2 * TURNS, output=2 * 2 * TURNS)
    verified = await session.runs.verify(run)
    assert verified.problems == []
    assert [writer.missing for writer in verified.writers if writer.missing] == []


async def test_a_mirror_that_is_killed_again_and_again_loses_and_doubles_nothing(
    session: AsyncSession, command: CommandLine, long_session: Path
) -> None:
    for events in (1, 300, 1_500, 3_000, 5_000):
        process = command.popen("session", "mirror", str(long_session))
        await _kill_after(session, process, "claude-long", events)
    done = command("session", "mirror", str(long_session), timeout=120)
    assert done.returncode == 0, done.stderr
    await _assert_whole(session, "claude-long")


def rewriter(path: Path) -> Callable[[float], None]:
    """Write the beginning of what is in a file now, as large a part of it as is said, without touching its time."""
    whole, changed = path.read_bytes(), path.stat().st_mtime

    def write(part: float) -> None:
        path.write_bytes(whole[: int(len(whole) * part)])
        os.utime(path, (changed, changed))

    return write


async def test_killed_while_its_transcript_shrinks_and_grows_again_it_doubles_nothing(
    session: AsyncSession, command: CommandLine, long_session: Path
) -> None:
    write = rewriter(long_session)
    process = command.popen("session", "mirror", str(long_session))
    await _kill_after(session, process, "claude-long", 3_000)
    for part in (0.1, 1.0):
        write(part)
        done = command("session", "mirror", str(long_session), timeout=120)
        assert done.returncode == 0, done.stderr
    await _assert_whole(session, "claude-long")


async def test_killed_and_without_its_checkpoint_it_loses_and_doubles_nothing(
    session: AsyncSession, command: CommandLine, long_session: Path
) -> None:
    process = command.popen("session", "mirror", str(long_session))
    await _kill_after(session, process, "claude-long", 3_000)
    shutil.rmtree(checkpoint.folder(session.project))
    done = command("session", "mirror", str(long_session), timeout=120)
    assert done.returncode == 0, done.stderr
    await _assert_whole(session, "claude-long")


async def test_the_lock_of_a_dead_process_is_taken_over(
    session: AsyncSession, command: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "live.jsonl"
    append(path, user(1, "go"))
    holder = command.popen("session", "watch", str(path))
    await _until_recorded(session, "claude-live")
    refused = command("session", "mirror", str(path))
    assert (refused.returncode, f"process {holder.pid} mirrors it" in refused.stderr) == (1, True), refused.stderr
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    append(path, user(2, "more"))
    done = command("session", "mirror", str(path))
    assert done.returncode == 0, done.stderr
    assert [step.input async for step in session.runs.steps("claude-live")] == ["go", "more"]


async def _until_recorded(session: AsyncSession, run: str) -> None:
    while not await _recorded(session, run):  # noqa: ASYNC110  # it is another process that writes
        await asyncio.sleep(0.05)


# -- the bus and the bridge --------------------------------------------------------------------------------------


@pytest.fixture
def far(rig: Rig, project: str, coding_home: Home, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in coding_home.environment().items():
        monkeypatch.setenv(name, value)
    return settings.load({"server": rig.nats.url, "project": project, "agent": "tester"})


async def _steps(far: Settings, run: str) -> list[str]:
    async with AsyncSession(resolved=far, mode="oneshot") as session:
        assert (await session.runs.verify(run)).problems == []
        return [step.input or "" async for step in session.runs.steps(run)]


async def _until_calm(mirror: Mirror) -> None:
    while (progress := await mirror.advance()).waiting or progress.more:  # noqa: ASYNC110  # it is its own clock
        await asyncio.sleep(0.2)


async def test_while_the_bus_is_away_the_transcript_is_the_queue(rig: Rig, far: Settings, tmp_path: Path) -> None:
    bridge = rig.start()
    path = tmp_path / "s.jsonl"
    append(path, user(1, "one"))
    mirror = Mirror(far, "claude", path)
    await _until_calm(mirror)

    rig.nats.stop()
    append(path, user(2, "two"))
    assert "wait for the bus" in (await mirror.advance()).waiting
    rig.nats.start()
    append(path, user(3, "three"))
    await _until_calm(mirror)
    await mirror.end()
    await until_health(bridge, 200)
    assert await _steps(far, mirror.run) == ["one", "two", "three"]


async def test_a_first_mirror_waits_for_a_bus_that_is_not_there(rig: Rig, far: Settings, tmp_path: Path) -> None:
    bridge = rig.start()
    path = tmp_path / "s.jsonl"
    append(path, user(1, "one"))
    rig.nats.stop()
    mirror = Mirror(far, "claude", path)
    assert (await mirror.advance()).waiting
    rig.nats.start()
    await _until_calm(mirror)
    await mirror.end()
    await until_health(bridge, 200)
    assert await _steps(far, mirror.run) == ["one"]


async def test_what_was_recorded_is_not_guessed_while_the_bridge_is_away(
    rig: Rig, far: Settings, tmp_path: Path
) -> None:
    bridge = rig.start()
    path = tmp_path / "s.jsonl"
    append(path, user(1, "one"))
    mirror = Mirror(far, "claude", path)
    await _until_calm(mirror)
    await mirror.leave()
    shutil.rmtree(checkpoint.folder(far.project))

    bridge.stop()
    append(path, user(2, "two"))
    mirror = Mirror(far, "claude", path)
    assert "only the bridge knows what was recorded before" in (await mirror.advance()).waiting
    rig.start()
    await _until_calm(mirror)
    await mirror.end()
    assert await _steps(far, mirror.run) == ["one", "two"]


async def test_killed_while_the_bus_is_away_it_loses_and_doubles_nothing(
    rig: Rig, far: Settings, project: str, tmp_path: Path
) -> None:
    rig.start()
    path = tmp_path / "live.jsonl"
    append(path, user(1, "one"))
    command = CommandLine(rig.nats.url, project)
    try:
        process = command.popen("session", "watch", str(path))
        async with AsyncSession(resolved=far, mode="oneshot") as session:
            await _until_recorded(session, "claude-live")
        nats: NatsServer = rig.nats
        nats.stop()
        append(path, user(2, "two"))
        assert process.stderr is not None
        while "wait for the bus" not in (line := process.stderr.readline()):
            assert line, "it ended"
        process.send_signal(signal.SIGKILL)
        process.wait()
        nats.start()
        append(path, user(3, "three"))
        done = command("session", "mirror", str(path), timeout=90)
        assert done.returncode == 0, done.stderr
    finally:
        command.close()
    assert await _steps(far, "claude-live") == ["one", "two", "three"]
