"""A text is found in what was recorded, by anybody who can ask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tracecraft import AsyncSession
from tracecraft_core import run_events, settings, subjects
from tracecraft_core.queries import SearchPage
from tracecraft_core.run_events import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_core.queries import SearchHit
    from tracecraft_stack import Stack


@pytest.fixture
async def session(
    stack: Stack, project: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncSession]:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))
    resolved = settings.load({"server": stack.state.nats_url, "project": project, "agent": "alice"})
    async with AsyncSession(resolved=resolved, mode="oneshot") as opened:
        yield opened


async def _ask(session: AsyncSession, **question: Any) -> Any:
    subject = subjects.query(session.project, "runs.search")
    return await session.context.bus.transport.request(subject, json.dumps(question).encode(), timeout=20)


async def _page(session: AsyncSession, **question: Any) -> SearchPage:
    reply = await _ask(session, **question)
    assert "Nats-Service-Error" not in (reply.headers or {}), reply.data
    return msgspec.json.decode(reply.data, type=SearchPage)


async def _found(session: AsyncSession, text: str, **more: Any) -> list[SearchHit]:
    return (await _page(session, text=text, **more)).hits


async def _record(session: AsyncSession, name: str, tags: dict[str, str] | None = None) -> str:
    async with session.run(name, tags=tags) as run:
        async with run.agent("alice") as agent:
            with agent.step("compile", kind="tool_call") as step:
                step.log_input({"command": 'echo "100%_sure"\n', "where": "C:\\tmp"})
                step.log_output(f"{name}: " + "ab " * 900 + "der Täter ist immer der Gärtner" + " yz" * 900)
        async with run.agent("bob") as agent:
            agent.step("lint").start().end(Failure(type="LintError", message="the semicolon in line 3"))
            agent.step("still at it").start()
    return run.id


async def test_a_text_is_found_wherever_it_stands(session: AsyncSession) -> None:
    run = await _record(session, "one")
    (hit,) = await _found(session, "TÄTER IST")
    assert (hit.run, hit.title, hit.agent, hit.name, hit.kind, hit.status) == (
        *(run, "one", "alice", "compile", "tool_call", "ok"),
    )
    assert hit.where == "output"
    assert hit.snippet[0] == hit.snippet[-1] == "…"
    assert "der Täter ist immer der Gärtner" in hit.snippet
    assert len(hit.snippet) < 300
    places = {text: [hit.where for hit in await _found(session, text)] for text in ("semicolon", "compile", "echo")}
    assert places == {"semicolon": ["error"], "compile": ["name"], "echo": ["input"]}


@pytest.mark.parametrize("text", ['"100%_sure"', "100%_", "C:\\tmp", '"command": "echo'])
async def test_what_is_looked_for_is_no_pattern(session: AsyncSession, text: str) -> None:
    await _record(session, "one")
    assert [hit.where for hit in await _found(session, text)] == ["input"]
    assert await _found(session, "1__%") == []


async def test_what_is_found_can_be_narrowed_and_comes_in_pages(session: AsyncSession) -> None:
    one = await _record(session, "one", {"session": "s1", "source": "claude"})
    two = await _record(session, "two")
    assert [hit.run for hit in await _found(session, "gärtner")] == [two, one]
    (hit,) = await _found(session, "gärtner", sessions=True)
    assert (hit.run, hit.source) == (one, "claude")
    assert [hit.run for hit in await _found(session, "gärtner", run=one)] == [one]
    assert await _found(session, "gärtner", agent="bob") == []
    assert await _found(session, "gärtner", since="2100-01-01T00:00:00Z") == []
    first = await _page(session, text="gärtner", limit=1)
    assert [hit.run for hit in first.hits] == [two]
    second = await _page(session, text="gärtner", limit=1, cursor=first.next)
    assert ([hit.run for hit in second.hits], second.next) == ([one], None)


async def test_a_run_that_was_deleted_is_not_found(session: AsyncSession) -> None:
    from tracecraft.queries import ask
    from tracecraft_core.queries import Deleted, DeleteQuestion

    run = await _record(session, "one")
    await ask(session.context, "runs.delete", DeleteQuestion(run=run, by="alice"), Deleted)
    assert await _found(session, "gärtner") == []


@pytest.mark.parametrize(
    "question",
    [
        pytest.param({"text": ""}, id="nothing"),
        pytest.param({"text": "x" * 501}, id="too-long"),
        pytest.param({"text": "x", "since": "yesterday"}, id="no-time"),
        pytest.param({"text": "x", "limit": 0}, id="no-page"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(session: AsyncSession, question: dict[str, Any]) -> None:
    reply = await _ask(session, **question)
    assert reply.headers["Nats-Service-Error-Code"] == "400"
    assert json.loads(reply.data)["error"]


# -- a run that was ended goes on ----------------------------------------------------------------------------------


async def _event(session: AsyncSession, number: int, event: str, writer: str, **body: Any) -> None:
    subject = subjects.run_event(session.project, "r1", "alice", event)
    said = msgspec.json.encode(run_events.EVENTS[event](**body))
    await session.context.bus.publish(subject, said, msg_id=f"{session.project}{writer}:{number}")


async def test_another_start_takes_up_a_run_that_was_ended(session: AsyncSession) -> None:
    at = 1_795_000_000_000_000
    failed = Failure(type="E", message="it broke")
    await _event(session, 1, "started", "w1", name="first", time=at)
    await _event(session, 2, "ended", "w1", status="failed", time=at + 5, error=failed)
    row = (await session.runs.get("r1")).row
    assert (row.status, row.reason, row.ended is None) == ("failed", "it broke", False)

    await _event(session, 1, "started", "w2", name="second", time=at + 9, tags={"more": "yes"})
    row = (await session.runs.get("r1")).row
    assert (row.status, row.reason, row.ended, row.name, row.tags) == ("running", None, None, "first", {"more": "yes"})
    assert row.started == "2026-11-18T11:06:40.000000Z"

    await _event(session, 2, "ended", "w2", status="finished", time=at + 12)
    row = (await session.runs.get("r1")).row
    assert (row.status, row.ended) == ("finished", "2026-11-18T11:06:40.000012Z")


async def test_a_start_that_arrives_late_takes_nothing_up(session: AsyncSession) -> None:
    at = 1_795_000_000_000_000
    await _event(session, 1, "started", "w1", name="first", time=at)
    await _event(session, 2, "param", "w2", params={"x": 1}, time=at + 1)
    await _event(session, 2, "ended", "w1", status="finished", time=at + 5)
    await _event(session, 1, "started", "w2", name="second", time=at)
    assert (await session.runs.get("r1")).row.status == "finished"
