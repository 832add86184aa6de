"""What a run writes into the log: from threads, tasks and several processes, with a bus and without one."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

import tracecraft
from tracecraft import AsyncSession, BusUnreachable, Session, UsageError
from tracecraft.recording.spool import spools
from tracecraft_core import subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tracecraft_core.bus import Stored
    from tracecraft_core.transport import ServerOptions
    from tracecraft_stack.nats_server import NatsServer

NOBODY = "nats://127.0.0.1:1"

MISSION = """
results = [{"title": "Time, Clocks"}]
import tracecraft

tracecraft.init(project="my-research")
with tracecraft.run("prompt-comparison-v2") as run:
    with run.agent(name="researcher", model="claude-sonnet-4-20250514") as agent:
        with agent.step("search", kind="tool_call") as step:
            step.log_input({"query": "multi-agent coordination"})
            step.log_output(results)
        agent.shared_memory.set("findings", {"papers": 47})
        agent.send("writer", "Research complete")
    run.log_metrics({"quality_score": 0.92, "cost": 0.034})
"""


@dataclasses.dataclass
class Wrapped:
    """What somebody logs."""

    text: str


class Said(NamedTuple):
    """An entry of the log."""

    subject: str
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def event(self) -> str:
        """``step.started`` of a run's event, else the family."""
        tokens = self.subject.split(".")
        return ".".join(tokens[5:]) if tokens[2] == "run" else tokens[2]

    @property
    def agent(self) -> str:
        return self.subject.split(".")[4]


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


async def _stored(options: ServerOptions, pattern: str) -> list[Stored]:
    async with Bus(options) as bus, Puller(bus, subjects.LOG, watcher_config([pattern], "all")) as puller:
        return [one.stored async for one in puller.backlog()]


async def _log(session: Session, family: str) -> list[Said]:
    found = await _stored(session.settings.server_options(), f"{subjects.ROOT}.{session.project}.{family}")
    return [Said(one.subject, json.loads(one.data or b"{}"), dict(one.headers)) for one in found]


def log(session: Session, family: str = "run.>") -> list[Said]:
    """What the log holds, in order."""
    return asyncio.run(_log(session, family))


def bodies(entries: list[Said], event: str) -> list[dict[str, Any]]:
    return [entry.body for entry in entries if entry.event == event]


# -- one run --------------------------------------------------------------------------------------------------------


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
    entries = [
        Said(one.subject, json.loads(one.data or b"{}"), dict(one.headers))
        for one in await _stored(coroutines.settings.server_options(), f"tc.{coroutines.project}.>")
    ]
    assert told_where(entries) == [(number, number) for number in range(50)]


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


# -- coordination ---------------------------------------------------------------------------------------------------


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
    entries = await _log(session, "run.>")
    assert bodies(entries, "step.output")[-1]["value"] == 3
    assert bodies(entries, "ended")[0]["status"] == "finished"
    memory = await _log(session, "memory.>")
    assert {(entry.headers["Tc-Agent"], entry.headers["Tc-Run"]) for entry in memory} == {
        ("researcher", f"{run.id}/{step.id}")
    }
    with pytest.raises(RuntimeError):
        await _fails(session)
    assert bodies(await _log(session, "run.>"), "ended")[-1]["status"] == "failed"


# -- several processes ----------------------------------------------------------------------------------------------

CHILD = """
import tracecraft
with tracecraft.run("ignored", params={"child": 1}) as run:
    with run.step("in the child"):
        run.log_metric("loss", 1.0)
with tracecraft.run("later"):
    pass
"""


def test_a_child_process_joins_the_run_inside_the_step_that_started_it(session: Session, nats: NatsServer) -> None:
    with session.run("parent") as run, run.step("spawn") as step:
        env = {**_environment(nats), **run.environment()}
        subprocess.run([sys.executable, "-c", CHILD], env=env, check=True, timeout=60)
    entries = log(session, f"run.{run.id}.>")
    assert [entry.event for entry in entries if entry.event in ("started", "joined", "left", "ended")] == [
        "started",
        "joined",
        "left",
        "ended",
    ]
    child = bodies(entries, "step.started")[-1]
    assert (child["name"], child["parent"]) == ("in the child", step.id)
    assert bodies(entries, "param")[0]["params"] == {"child": 1}
    writers = {entry.headers["Nats-Msg-Id"].partition(":")[0] for entry in entries}
    assert len(writers) == 2
    later = next(body for body in bodies(log(session), "started") if body["name"] == "later")
    assert later["parent"] == run.id


FORKS = """
import os
import tracecraft
with tracecraft.run("forks") as run:
    child = os.fork()
    run.log_metric("pid", os.getpid(), step=0)
    with run.step("child" if child == 0 else "parent"):
        pass
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_is_a_writer_of_its_own_and_leaves_the_run_to_its_parent(
    session: Session, nats: NatsServer
) -> None:
    env = {**_environment(nats), "TRACECRAFT_PROJECT": session.project}
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], env=env, check=True, timeout=60)
    entries = log(session)
    spoken: dict[str, list[str]] = {}  # by writer: the two have connections of their own, and may overtake each other
    for entry in entries:
        if entry.event in ("started", "joined", "left", "ended"):
            spoken.setdefault(entry.headers["Nats-Msg-Id"].partition(":")[0], []).append(entry.event)
    assert sorted(spoken.values()) == [["joined", "left"], ["started", "ended"]]
    assert sum(len(metric["points"]) for metric in bodies(entries, "metric")) == 2
    steps = bodies(entries, "step.started")
    assert {step["name"] for step in steps} == {"child", "parent"}
    assert len({step["step"] for step in steps}) == 2


def test_a_run_continues_a_trace_of_another_system(session: Session) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with session.run("r", traceparent=given) as run, run.step("s") as step:
        assert step.traceparent == f"00-4bf92f3577b34da6a3ce929d0e0e4736-{step.id}-01"
    entries = log(session)
    assert bodies(entries, "started")[0]["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "parent" not in bodies(entries, "step.started")[0]


# -- functions ------------------------------------------------------------------------------------------------------


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


# -- misuse ---------------------------------------------------------------------------------------------------------


def test_tokens_of_any_one_bucket_are_a_usage_and_names_bear_no_secrets(session: Session) -> None:
    secret = "sk-" + "a1" * 10
    with session.run("r") as run:
        run.log_usage(reasoning=1_000_000, model="o3")
        run.log_usage(cache_read=5, model=secret, provider=secret)
        run.log_usage(cache_write=7)
        run.log_metric(secret, 1.0)
        run.log_metrics({secret: 2.0})
        run.log_text(f"{secret}.txt", "x")
    assert run.redacted == {"api-key": 5}
    entries = log(session)
    first, second, third = bodies(entries, "usage")
    assert (first["reasoning"], first["model"], third["cache_write"]) == (1_000_000, "o3", 7)
    assert (second["cache_read"], second["model"], second["provider"]) == (5, *["[redacted:api-key]"] * 2)
    assert secret not in str(entries)


def test_wrong_use_is_refused_at_the_call(session: Session, tmp_path: Path) -> None:
    with session.run("r") as run, run.step("s") as step:
        wrong: list[Callable[[], object]] = [
            lambda: session.run(""),
            lambda: session.run("r", purpose="fun"),  # type: ignore[arg-type]
            lambda: session.run("r", params=[1]),  # type: ignore[arg-type]
            lambda: session.run("r", run_id="a b"),
            lambda: session.run("r", system_metrics=0.001),
            lambda: session.run("r", traceparent="x"),
            lambda: run.agent("a b"),
            lambda: run.step(""),
            lambda: run.step("s", kind="tool"),  # type: ignore[arg-type]
            lambda: run.log_metric("", 1),
            lambda: run.log_metric("loss", "0.5"),  # type: ignore[arg-type]
            lambda: run.log_metric("loss", 1, step=1.5),  # type: ignore[arg-type]
            lambda: run.log_metric("loss", 1, step=True),
            lambda: run.log_metric("loss", 1, step=-1),
            lambda: run.log_metric("loss", 1, step=2**62 + 1),
            lambda: run.log_metric("loss", 1, step=2**70),
            lambda: run.log_metric("l" * 251, 1),
            lambda: run.log_metrics([1]),  # type: ignore[arg-type]
            lambda: run.log_param("l" * 251, 1),
            lambda: run.log_usage(),
            lambda: run.log_usage(input=-1),
            lambda: run.log_usage(input=1.5),  # type: ignore[arg-type]
            lambda: run.log_usage(input="5"),  # type: ignore[arg-type]
            lambda: run.log_usage(input=True),
            lambda: run.log_usage({"prompt_tokens": -5, "completion_tokens": 1}),
            lambda: run.log_usage(cost="1"),  # type: ignore[arg-type]
            lambda: run.log_usage(input=10**30),
            lambda: run.log_usage({"prompt_tokens": 10**30, "completion_tokens": 1}),
            lambda: run.log_usage(output=float("inf")),  # type: ignore[arg-type]
            lambda: run.log_usage(cost=float("nan")),
            lambda: run.log_usage(cost=1e9),
            lambda: run.log_usage(input=1, currency="usd"),
            lambda: run.log_usage(input=1, request="r" * 251),
            lambda: run.log("text", level="loud"),  # type: ignore[arg-type]
            lambda: run.log_artifact(tmp_path / "nothing"),
            lambda: run.log_text("../up", "text"),
            lambda: step.start(),
            lambda: run.start(),
        ]
        for call in wrong:
            with pytest.raises(UsageError):
                call()
    with pytest.raises(UsageError, match="has ended"):
        run.log_metric("loss", 1.0)
    with pytest.raises(UsageError, match="has not begun"):
        session.run("r").log("too early")
    assert [entry.event for entry in log(session)] == ["started", "step.started", "step.ended", "ended"]


def test_a_step_may_be_a_time_in_nanoseconds_and_the_next_one_goes_on_from_it(session: Session) -> None:
    at = 1_795_000_000_000_000_000
    with session.run("r") as run:
        run.log_metric("loss", 1, step=at)
        run.log_metric("loss", 2)
        run.log_metric("end", 1, step=2**62)
        run.log_metric("end", 2)
    points = [(point[0], point[2]) for metric in bodies(log(session), "metric") for point in metric["points"]]
    assert points == [("loss", at), ("loss", at + 1), ("end", 2**62), ("end", 2**62)]


NUL = "a\x00b"
KEPT = "a\\x00b"


def test_nul_is_recorded_in_a_spelling_that_the_bridge_can_keep(session: Session) -> None:
    with session.run(NUL, params={NUL: NUL}, tags={NUL: NUL}) as run, run.agent("b", model=NUL, role=NUL) as agent:
        run.log_param("nul", {NUL: [NUL, "\\u0000"]})
        run.log_metric(NUL, 1.0)
        run.log(NUL)
        run.log_usage(input=1, model=NUL, provider=NUL, request=NUL)
        with agent.step(NUL) as step:
            step.log_input(Wrapped(NUL))
            step.set_tag(NUL, NUL)
        with pytest.raises(RuntimeError), run.step("s"):
            raise RuntimeError(NUL)
    entries = log(session)
    assert bodies(entries, "started")[0]["params"] == {KEPT: KEPT}
    assert bodies(entries, "started")[0]["tags"] == {KEPT: KEPT}
    assert bodies(entries, "param")[0]["params"] == {"nul": {KEPT: [KEPT, "\\u0000"]}}
    assert bodies(entries, "metric")[0]["points"][0][0] == KEPT
    assert bodies(entries, "step.input")[0]["value"] == {"text": KEPT}
    assert bodies(entries, "usage")[0]["request"] == KEPT
    assert [step["name"] for step in bodies(entries, "step.started")] == [KEPT, "s"]
    assert bodies(entries, "step.ended")[1]["error"]["message"] == KEPT
    texts = json.dumps([entry.body for entry in entries]).replace("\\\\u0000", "")
    assert "\\u0000" not in texts
    assert len(entries) == 13


def test_a_tag_that_is_true_or_nothing_is_spelled_as_in_json(session: Session) -> None:
    with session.run("r", tags={"best": True, "none": None}) as run:
        run.set_tags({"best": False, "numpy": np.bool_(True), "text": "True", "one": 1})
    entries = log(session)
    assert bodies(entries, "started")[0]["tags"] == {"best": "true", "none": "null"}
    assert bodies(entries, "tag")[0]["tags"] == {"best": "false", "numpy": "true", "text": "True", "one": "1"}


def test_what_was_redacted_is_counted_wherever_it_was(session: Session) -> None:
    secret = "sk-ant-a-secret-of-mine"

    def fail() -> None:
        raise RuntimeError("no") from ValueError(secret)

    def work() -> None:
        with run, run.agent("b"), run.step(f"s {secret}"):
            run.log(secret)
            assert run.redacted == {"api-key": 3}
            fail()

    run = session.run(f"r {secret}")
    with pytest.raises(RuntimeError):
        work()
    entries = log(session)
    assert secret not in json.dumps([entry.body for entry in entries])
    marks = json.dumps([entry.body for entry in entries if entry.event != "step.ended"]).count("[redacted:api-key]")
    ended = bodies(entries, "step.ended")[0]
    assert run.redacted == {"api-key": marks + json.dumps(ended["error"]).count("[redacted:api-key]")}
    assert run.redacted["api-key"] > 3


def test_system_metrics_are_sampled_on_request(session: Session) -> None:
    with session.run("r", system_metrics=60):
        pass
    keys = {point[0] for metric in bodies(log(session), "metric") for point in metric["points"]}
    assert keys == {
        *("system.cpu_percent", "system.memory_percent"),
        *("process.cpu_percent", "process.memory_mib", "process.threads"),
    }


# -- the printed example ----------------------------------------------------------------------------------------------


def _environment(nats: NatsServer | None) -> dict[str, str]:
    return {**os.environ, "TRACECRAFT_SERVER": nats.url if nats else NOBODY}


def test_the_example_of_the_front_page_runs_as_printed(nats: NatsServer, session: Session, project: str) -> None:
    program = MISSION.replace("my-research", project)
    done = subprocess.run(
        [sys.executable, "-c", program], env=_environment(nats), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert session.memory.get("findings") == {"papers": 47}
    entries = log(session)
    assert bodies(entries, "step.output")[0]["value"] == [{"title": "Time, Clocks"}]
    assert entries[-1].event == "ended"


def test_without_a_bus_only_coordination_raises_and_the_run_lies_in_the_spool(spool: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSION], env=_environment(None), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "BusUnreachable" in done.stderr
    assert str(spool) in done.stderr
    program = MISSION.replace("agent.s", "if 0: agent.s", 3).replace("if 0: agent.step", "agent.step")
    program = program.replace("with if 0: ", "with ").replace('-v2")', '-v2", patience=0.1)')
    done = subprocess.run(
        [sys.executable, "-c", program], env=_environment(None), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert {(one.project, one.alive, one.events > 3) for one in spools(spool)} == {("my-research", False, True)}


def test_a_run_without_a_bus_says_so_and_tells_the_truth(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = Session(server=NOBODY, project="p", agent="a")
    with caplog.at_level(logging.WARNING), session.run("r", patience=0.2) as run, run.agent("b") as agent:
        run.log_metric("loss", 0.5)
        with pytest.raises(BusUnreachable):
            agent.send("c", "hello")
    assert run.summary is not None
    assert (run.summary.acknowledged, run.summary.dropped) == (0, 0)
    assert run.summary.spooled == 5
    assert str(spool) in caplog.text


def test_what_a_fork_or_a_replay_repeats_is_no_spend_unless_it_says_so(session: Session) -> None:
    for purpose in ("fork", "replay", "eval", "original"):
        with session.run("again", purpose=purpose) as run:
            run.log_usage(input=1, model="m")
            run.log_usage(input=2, model="m", cause="original")
    causes = [body.get("cause", "original") for body in bodies(log(session), "usage")]
    assert causes == ["fork", "original", "replay", "original", *["original"] * 4]
