"""What a run writes into the log: from threads, tasks, functions and together with coordination."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING

import pytest

import tracecraft
from tests.support.said import Said, bodies, log, log_of
from tracecraft import AsyncSession, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tracecraft_stack.nats_server import NatsServer


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACECRAFT_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def session(nats: NatsServer, project: str) -> Iterator[Session]:
    opened = Session(server=nats.url, project=project, agent="lead")
    yield opened
    opened.close()


@pytest.fixture
async def coroutines(nats: NatsServer, project: str) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(server=nats.url, project=project, agent="lead") as opened:
        yield opened


# -- one run -------------------------------------------------------------------------------------------------------


def test_a_run_writes_its_events_in_order_and_tells_what_became_of_them(session: Session) -> None:
    with session.run("baseline", params={"lr": 0.1, "api_key": "hunter2hunter2"}, tags={"team": 1}) as run:
        with run.agent("researcher", model="m", role="reads") as agent, agent.step("search", kind="retrieval") as step:
            step.log_input({"q": 1})
            step.log_output([1])
            step.set_tag("hit", "yes")
            step.log_usage(input=3, output=2)
        run.log_metric("loss", 0.5)
        run.log_metric("loss", float("nan"))
        run.set_tag("best", True)
        run.log_param("epochs", 3)
        run.log("done")
    entries = log(session)
    assert [(entry.agent, entry.event) for entry in entries if entry.event != "metric"] == [
        ("lead", "started"),
        *[("researcher", event) for event in ("agent.started", "step.started", "step.input", "step.output", "usage")],
        *[("researcher", event) for event in ("step.ended", "agent.ended")],
        *[("lead", event) for event in ("tag", "param", "log", "ended")],
    ]
    assert run.summary is not None
    assert run.summary.complete
    (started,), (ended,) = bodies(entries, "started"), bodies(entries, "step.ended")
    assert started["params"] == {"lr": 0.1, "api_key": "[redacted:key]"}
    assert started["tags"] == {"team": "1"}
    assert started["origin"]["pid"]
    assert (ended["kind"], ended["tags"], ended.get("status", "ok")) == ("retrieval", {"hit": "yes"}, "ok")
    points = [point[:3] for metric in bodies(entries, "metric") for point in metric["points"]]
    assert points == [["loss", 0.5, 0], ["loss", "NaN", 1]]
    assert bodies(entries, "usage")[0]["model"] == "m"
    assert bodies(entries, "ended")[0]["status"] == "finished"
    assert run.redacted == {"key": 1}


def told_where(entries: list[Said]) -> list[tuple[int, int]]:
    """For each message, the number it says, and that of the step that stands open in the log there."""
    found, open_step = [], -1
    for entry in entries:
        if entry.event == "step.started":
            open_step = int(entry.body["name"])
        if entry.event == "msg":
            found.append((int(entry.body["text"]), open_step))
    return found


def test_a_message_stands_in_the_log_behind_what_was_recorded_before_it(session: Session) -> None:
    with session.run("r") as run, run.agent("ann") as agent:
        for number in range(50):
            with agent.step(str(number)) as step:
                step.log_input(number)
                agent.send("bob", str(number))
    assert told_where(log(session, ">")) == [(number, number) for number in range(50)]


async def test_a_message_of_asyncio_stands_in_the_log_behind_what_was_recorded_before_it(
    coroutines: AsyncSession,
) -> None:
    async with coroutines.run("r") as run, run.agent("ann") as agent:
        for number in range(50):
            async with agent.step(str(number)):
                await agent.send("bob", str(number))
    assert told_where(await log_of(coroutines, ">")) == [(number, number) for number in range(50)]


def test_what_is_logged_is_what_it_was_at_the_call(session: Session) -> None:
    value = {"papers": [1]}
    with session.run("r") as run, run.step("s") as step:
        step.log_output(value)
        value["papers"].append(2)
    assert bodies(log(session), "step.output")[0]["value"] == {"papers": [1]}


def test_a_step_lies_inside_the_one_around_it_also_in_tasks_and_threads(session: Session) -> None:
    async def inner(name: str) -> None:
        async with run.step(name):
            await asyncio.sleep(0)

    async def both() -> None:
        async with run.step("outer"):
            await asyncio.gather(inner("task-1"), inner("task-2"))

    def in_thread() -> None:
        with run.step("carried"):
            pass

    with session.run("r") as run, run.step("top") as top:
        asyncio.run(both())
        for thread in (
            threading.Thread(target=contextvars.copy_context().run, args=(in_thread,)),
            threading.Thread(target=in_thread),
        ):
            thread.start()
            thread.join()
        with top.step("said"):
            pass
    started = bodies(log(session), "step.started")
    ids = {one["step"]: one["name"] for one in started}
    assert [(one["name"], ids.get(one.get("parent"))) for one in started] == [
        ("top", None),
        ("outer", "top"),
        ("task-1", "outer"),
        ("task-2", "outer"),
        ("carried", "top"),
        ("carried", None),
        ("said", "top"),
    ]


def test_an_exception_is_recorded_at_every_level_and_goes_on(session: Session) -> None:
    with pytest.raises(ValueError, match="no input"), session.run("r") as run, run.agent("a") as agent:  # noqa: SIM117
        with agent.step("s"):
            raise ValueError("no input, password=hunter2x")
    entries = log(session)
    for event, status in (("step.ended", "error"), ("agent.ended", "error"), ("ended", "failed")):
        (body,) = bodies(entries, event)
        assert body["status"] == status
        assert body["error"]["type"] == "ValueError"
        assert body["error"]["message"] == "no input, password=[redacted:assignment]"
    assert "in test_an_exception" in bodies(entries, "ended")[0]["error"]["trace"]
    assert tracecraft.current_run() is None


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "killed"), (SystemExit(3), "killed"), (SystemExit(0), "finished")]
)
def test_a_run_that_is_interrupted_was_killed(session: Session, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), session.run("r"):
        raise error
    assert bodies(log(session), "ended")[0]["status"] == status


def test_a_run_inside_a_run_is_its_child(session: Session) -> None:
    with session.run("outer") as outer:
        with session.run("inner") as inner:
            assert tracecraft.current_run() is inner
        assert tracecraft.current_run() is outer
    parents = {body["name"]: body.get("parent") for body in bodies(log(session), "started")}
    assert parents == {"outer": None, "inner": outer.id}


def test_large_values_and_files_wait_for_the_store_and_are_referred_to(session: Session, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("a.bin", "b.bin"):
        (tmp_path / "models" / name).write_text(name)
    with session.run("r", patience=0.1) as run, run.step("s") as step:
        step.log_output("x" * 20_000)
        step.log_artifact(tmp_path / "models", kind="model")
        run.log_text("prompt.md", "be careful")
        run.log_image("image", b"\x89PNG\r\n\x1a\n")
    assert run.summary is not None
    assert (run.summary.uploads_waiting, run.summary.complete) == (5, False)
    (output,) = bodies(log(session), "step.output")
    assert output["blob"]["size"] == 20_002
    assert output["blob"]["preview"] == '"' + "x" * 511


# -- coordination --------------------------------------------------------------------------------------------------


def test_what_an_agent_writes_bears_its_name_and_the_place_in_the_run(session: Session) -> None:
    with session.run("r") as run, run.agent("researcher") as agent:
        agent.shared_memory.set("findings", 47)
        with agent.step("tell") as step:
            agent.send("writer", "complete")
        sent = agent.handoff("writer", "all yours", next_action="write")
        session.memory.set("by-lead", 1)
    session.memory.set("outside", 1)
    memory = log(session, "memory.>")
    assert [(entry.headers.get("Tc-Agent"), entry.headers.get("Tc-Run")) for entry in memory] == [
        ("researcher", run.id),
        ("lead", run.id),
        ("lead", None),
    ]
    message, handed = log(session, "msg.>")
    assert message.subject.endswith(".writer.researcher")
    assert message.headers["Tc-Run"] == f"{run.id}/{step.id}"
    assert (handed.body["kind"], handed.body["data"]["next_action"]) == ("handoff", "write")
    hand = next(body for body in bodies(log(session), "step.ended") if body.get("kind") == "handoff")
    assert handed.headers["Tc-Run"] == f"{run.id}/{hand['step']}"
    assert bodies(log(session), "step.output")[-1]["value"] == {"message": sent.id}
    assert "researcher" not in {agent.name for agent in session.agents()}


async def _fails(session: Session) -> None:
    async with session.run("same object") as run, run.step("s"):
        raise RuntimeError


async def test_the_same_in_asyncio(coroutines: AsyncSession, session: Session) -> None:
    async with coroutines.run("r", params={"a": 1}) as run:
        async with run.agent("researcher") as agent, agent.step("s") as step:
            await asyncio.gather(*(agent.shared_memory.set(f"k{n}", n) for n in range(5)))
            await agent.send("writer", "complete")
            await agent.handoff("writer", "yours")
            step.log_output(await agent.shared_memory.get("k3"))
        assert (await run.flush()).spooled == 0
    entries = await log_of(session, "run.>")
    assert bodies(entries, "step.output")[-1]["value"] == 3
    assert bodies(entries, "ended")[0]["status"] == "finished"
    memory = await log_of(session, "memory.>")
    assert {(entry.headers["Tc-Agent"], entry.headers["Tc-Run"]) for entry in memory} == {
        ("researcher", f"{run.id}/{step.id}")
    }
    with pytest.raises(RuntimeError):
        await _fails(session)
    assert bodies(await log_of(session, "run.>"), "ended")[-1]["status"] == "failed"


def test_a_run_continues_a_trace_of_another_system(session: Session) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with session.run("r", traceparent=given) as run, run.step("s") as step:
        assert step.traceparent == f"00-4bf92f3577b34da6a3ce929d0e0e4736-{step.id}-01"
    entries = log(session)
    assert bodies(entries, "started")[0]["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "parent" not in bodies(entries, "step.started")[0]


# -- functions -----------------------------------------------------------------------------------------------------


@tracecraft.traced(kind="tool_call")
def divide(a: int, by: int = 2) -> float:
    return a / by


@tracecraft.traced(name="counts", output=False)
def count(most: int) -> Iterator[int]:
    for number in range(most):
        divide(number)
        yield number


@tracecraft.traced
async def stream(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number


@tracecraft.traced
async def total(most: int) -> int:
    return sum([number async for number in stream(most)])


def test_calls_of_traced_functions_are_steps(session: Session) -> None:
    assert divide(3) == 1.5  # no run, no step
    with session.run("r") as run, run.agent("a"):
        assert list(count(1)) == [0]
        assert asyncio.run(total(3)) == 3
        with pytest.raises(ZeroDivisionError):
            divide(1, by=0)
        assert tracecraft.current_step() is None
    entries = log(session)
    started = bodies(entries, "step.started")
    ids = {one["step"]: one["name"] for one in started}
    assert [(one["name"], ids.get(one.get("parent"))) for one in started] == [
        ("counts", None),
        ("divide", "counts"),
        ("total", None),
        ("stream", "total"),
        ("divide", None),
    ]
    assert {entry.agent for entry in entries if entry.event.startswith("step.")} == {"a"}
    outputs = {ids[body["step"]]: body["value"] for body in bodies(entries, "step.output")}
    assert outputs == {"divide": 0.0, "stream": [0, 1, 2], "total": 3}
    assert bodies(entries, "step.input")[-1]["value"] == {"a": 1, "by": 0}
    assert bodies(entries, "step.ended")[-1]["status"] == "error"
