"""Toolboxes at the end of their program: those that nobody has closed are, unless the program is killed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fault.programs.handle import Program
from tests.support.said import log_of
from tracecraft import AsyncSession
from tracecraft.recording import spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spool.VARIABLE, str(tmp_path / "spool"))


@pytest.fixture
async def reader(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    """Looks at what became of them."""
    async with AsyncSession(server=nats.url, project=project, agent="reader", mode="oneshot") as session:
        yield session


@pytest.fixture
def unclosed(nats: NatsServer, project: str) -> Callable[[str], Program]:
    """``unclosed(HOW)``: the program, in the project of this test."""
    return lambda how: Program("unclosed", nats.url, project, "nobody", how)


def told(program: Program) -> list[str]:
    """Let it end by itself; what it says to stderr."""
    while program.next() is not None:
        pass
    return program.ending().partition(": ")[2].splitlines()


async def left(session: AsyncSession) -> list[str]:
    """The agents that have said so."""
    return sorted(
        entry.subject.split(".")[3] for entry in await log_of(session, "agent.>") if entry.subject.endswith(".left")
    )


async def held(session: AsyncSession) -> set[str | None]:
    """Who holds tasks or files."""
    tasks = [*await session.tasks.list(), *await session.tasks.list("file.>")]
    return {task.record.owner for task in tasks if task.record.state == "claimed"}


@pytest.mark.parametrize("how", ["ends", "raises", "thread", "child"])
async def test_at_the_end_the_agents_have_left_and_hold_nothing(
    reader: AsyncSession, unclosed: Callable[[str], Program], how: str
) -> None:
    with unclosed(how) as program:
        program.hear("begun")
        if how == "thread":
            assert await left(reader) == []
            assert program.ask("late")["answer"]["again"] is True
        said = told(program)
    assert said[-1:] == (["RuntimeError: on purpose"] if how == "raises" else [])
    assert (await left(reader), await held(reader)) == (["alice", "bob", *["carol"] * (how == "child")], set())


async def test_a_program_that_is_killed_leaves_what_it_holds_to_lapse(
    reader: AsyncSession, unclosed: Callable[[str], Program]
) -> None:
    with unclosed("leaves") as program:
        program.hear("begun")
        assert told(program) == []
    assert (await left(reader), await held(reader)) == ([], {"alice", "bob"})


async def test_a_message_that_no_later_call_has_acknowledged_is_unread(
    reader: AsyncSession, unclosed: Callable[[str], Program]
) -> None:
    for text in ("first", "second"):
        await reader.send("alice", text)
    with unclosed("reads") as program:
        program.hear("begun")
        assert told(program) == []
    states = [entry.body["state"] for entry in await log_of(reader, "receipt.>")]
    assert sorted(states) == ["acked", "fetched", "fetched"]
    async with AsyncSession(resolved=replace(reader.settings, agent="alice"), mode="oneshot") as alice:
        assert (await anext(alice.messages())).text == "second"


async def test_a_run_that_a_tool_has_begun_is_ended_as_killed(
    reader: AsyncSession, unclosed: Callable[[str], Program]
) -> None:
    with unclosed("logs") as program:
        program.hear("begun")
        assert told(program) == []
    (end,) = [entry.body for entry in await log_of(reader) if entry.event == "ended"]
    assert (end["status"], await left(reader)) == ("killed", ["alice", "bob"])


@pytest.mark.parametrize("fault", ["gone", "stalled"])
async def test_without_the_bus_the_program_ends_all_the_same(own_nats: NatsServer, project: str, fault: str) -> None:
    with Program("unclosed", own_nats.url, project, "nobody", "waits") as program:
        program.hear("begun")
        own_nats.stop() if fault == "gone" else own_nats.pause()
        program.say("end")
        said = told(program)
        assert program.ending().startswith("exit code 0")
    assert not [line for line in said if "Traceback" in line or "Exception" in line]
