"""Questions to the bridge: asked over NATS, answered from what was published on the bus."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tracecraft_core import ids, queries, run_events, subjects
from tracecraft_core.bus import Bus
from tracecraft_core.transport import ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracecraft_core.bodies import Body
    from tracecraft_stack import Stack


class Asker:
    """Publishes events of runs and asks, as any client of NATS can."""

    def __init__(self, bus: Bus, project: str) -> None:
        self.bus, self.project = bus, project
        self._writer, self._numbers = ids.fresh(), dict[str, int]()

    async def event(self, run: str, event: str, body: Body, agent: str = "alice") -> int:
        number = self._numbers[run] = self._numbers.get(run, 0) + 1
        subject = subjects.run_event(self.project, run, agent, event)
        ack = await self.bus.publish(subject, msgspec.json.encode(body), msg_id=f"{self._writer}{run}:{number}")
        return ack.seq

    async def start(self, run: str, **more: Any) -> None:
        body = run_events.RunStarted(name=more.pop("name", "base"), time=now(), **more)
        await self.event(run, "started", body)

    async def points(self, run: str, key: str, values: list[Any], first: int = 0, agent: str = "alice") -> None:
        body = run_events.Metric(points=[(key, value, first + place, now()) for place, value in enumerate(values)])
        await self.event(run, "metric", body, agent)

    async def step(self, run: str, name: str, **more: Any) -> str:
        step = ids.step()
        agent, opened = more.pop("agent", "alice"), more.pop("opened", False)
        place = {"name": name, "kind": more.pop("kind", "other"), "parent": more.pop("parent", None)}
        await self.event(run, "step.started", run_events.StepStarted(step=step, time=now(), **place), agent)
        if not opened:
            body = run_events.StepEnded(step=step, time=now(), duration=2_000_000, **place, **more)
            await self.event(run, "step.ended", body, agent)
        return step

    async def ask(self, verb: str, **question: Any) -> Any:
        reply = await self.raw(verb, json.dumps(question).encode())
        assert "Nats-Service-Error" not in (reply.headers or {}), reply.data
        return msgspec.json.decode(reply.data, type=queries.VERBS[verb][1])

    async def refused(self, verb: str, body: bytes | None = None, **question: Any) -> tuple[str, dict[str, str]]:
        reply = await self.raw(verb, json.dumps(question).encode() if body is None else body)
        assert reply.headers["Nats-Service-Error"]
        return reply.headers["Nats-Service-Error-Code"], json.loads(reply.data)

    async def raw(self, verb: str, body: bytes) -> Any:
        return await self.bus.transport.request(subjects.query(self.project, verb), body, timeout=20)


def now() -> int:
    return time.time_ns() // 1000


@pytest.fixture
async def asker(stack: Stack, project: str) -> AsyncIterator[Asker]:
    assert stack.state.nats_url
    async with Bus(ServerOptions(servers=(stack.state.nats_url,))) as bus:
        yield Asker(bus, project)


async def test_an_answer_has_what_was_published_just_before(asker: Asker) -> None:
    for number in range(10):
        await asker.start(f"r{number}")
        page = await asker.ask("runs.list", limit=1)
        assert page.runs[0].run == f"r{number}"
        await asker.points(f"r{number}", "loss", [number])
        assert (await asker.ask("runs.list", limit=1)).runs[0].metrics == {"loss": number}


async def test_a_list_is_filtered_sorted_and_paged(asker: Asker) -> None:
    losses = [0.5, "NaN", None, 0.1, 0.3, 0.3]
    for number, loss in enumerate(losses):
        await asker.start(f"r{number}", params={"lr": number / 10}, tags={"team": "ab"[number % 2]})
        if loss is not None:
            await asker.points(f"r{number}", "loss", [loss])

    async def found(**question: Any) -> list[str]:
        runs: list[str] = []
        while True:
            page = await asker.ask("runs.list", limit=2, **question)
            runs += [row.run for row in page.runs]
            if page.next is None:
                return runs
            question["cursor"] = page.next

    assert await found() == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert await found(sort="metrics.loss") == ["r3", "r4", "r5", "r0", "r1", "r2"]
    assert await found(sort="-metrics.loss") == ["r0", "r5", "r4", "r3", "r1", "r2"]
    assert await found(filter="metrics.loss <= 0.3 and params.lr in (0.3, 0.5)", sort="started") == ["r3", "r5"]
    assert await found(filter='tags.team = "a" or metrics.loss is nan', sort="name") == ["r0", "r1", "r2", "r4"]
    assert await found(filter="metrics.loss is null") == ["r2"]
    assert await found(filter="params.lr > 0.1", sort="-params.lr") == ["r5", "r4", "r3", "r2"]


async def test_a_mistake_in_a_filter_is_shown_with_its_place(asker: Asker) -> None:
    code, said = await asker.refused("runs.list", filter="cost > 1 and statu = running")
    assert code == "400"
    assert said["error"] == "the filter, column 14: no field 'statu'"
    assert said["hint"].split("\n") == ["did you mean 'status'?", "  cost > 1 and statu = running", "               ^"]


@pytest.mark.parametrize(
    ("verb", "body", "problem"),
    [
        ("runs.list", b"[]", "a question is a JSON object"),
        ("runs.list", b"{", "cannot be understood"),
        ("runs.list", b'{"limit": "x"}', "cannot be understood"),
        ("runs.list", b'{"limit": 1001}', "limit is 1001"),
        ("runs.list", b'{"fitler": ""}', "no field 'fitler'"),
        ("runs.list", b'{"sort": "agent.name"}', "cannot sort by"),
        ("runs.list", b'{"sort": "-metrcs.loss"}', "cannot sort by"),
        ("runs.list", b'{"cursor": "bm8"}', "the cursor is none"),
        ("runs.list", b'{"filter": "name ~ \\"(\\""}', "the filter has"),
        ("runs.get", b'{"run": "a\\u0000"}', "has no NUL"),
        ("runs.get", b"", "cannot be understood"),
        ("runs.plot", b'{"run": "r", "keys": ["a"], "points": 1}', "points is 1"),
        ("cost", b'{"by": "colour"}', "cannot add up by 'colour'"),
        ("log.entries", b'{"families": ["x"]}', "no family 'x'"),
    ],
)
async def test_a_bad_question_is_refused_with_its_reason(asker: Asker, verb: str, body: bytes, problem: str) -> None:
    code, said = await asker.refused(verb, body)
    assert code == "400"
    assert problem in said["error"]


async def test_a_run_is_found_by_the_end_of_its_id(asker: Asker) -> None:
    await asker.start("20261122-193415-k3x9qa", name="base")
    await asker.start("20261122-193416-x9qa22", name="wide")
    await asker.start("20261122-193417-m3x9qa")
    assert (await asker.ask("runs.get", run="x9qa22")).row.run == "20261122-193416-x9qa22"
    code, said = await asker.refused("runs.get", run="x9qa")
    assert (code, said["kind"], said["name"]) == ("404", "run", "x9qa")
    assert "several runs end so: 20261122-193417-m3x9qa, 20261122-193415-k3x9qa" in said["hint"]
    assert "20261122-193416-x9qa22" in (await asker.refused("runs.get", run="x9qa23"))[1]["hint"]
    assert ": 20261122-193416-x9qa22" in (await asker.refused("runs.get", run="wide"))[1]["hint"]


async def test_in_a_filter_a_run_is_named_by_the_end_of_its_id_too(asker: Asker) -> None:
    outer, inner, other = "20261122-193415-k3x9qa", "20261122-193416-b2c3d4", "20261122-193417-m3x9qa"
    await asker.start(outer)
    await asker.start(inner, parent=outer)
    await asker.start(other, parent="20261122-193400-gone22")

    async def found(text: str) -> list[str]:
        return [row.run for row in (await asker.ask("runs.list", filter=text, sort="started")).runs]

    assert await found("id = k3x9qa") == await found("run in (k3x9qa, nothere)") == [outer]
    assert await found("parent = k3x9qa") == await found(f"parent = {outer}") == [inner]
    assert await found("not (parent = k3x9qa or run = k3x9qa)") == await found("parent = gone22") == [other]
    assert await found("run != k3x9qa") == [inner, other]
    assert await found("run = ''") == []
    code, said = await asker.refused("runs.list", filter="parent = 3x9qa")
    assert (code, said["error"]) == ("400", "the filter: '3x9qa' is the end of several ids")
    assert f"{other}, {outer}" in said["hint"]
    page = await asker.ask("runs.list", filter="parent = zzzzzz")
    assert (page.runs, page.notes) == ([], ["no run has an id that is or ends with 'zzzzzz'"])


async def test_a_key_that_no_run_has_is_noted(asker: Asker) -> None:
    await asker.start("r1", params={"lr": 1}, tags={"team": "a"})
    await asker.points("r1", "loss", [1])

    async def notes(**question: Any) -> list[str]:
        notes: list[str] = (await asker.ask("runs.list", **question)).notes
        return notes

    assert await notes(filter="metrics.loss < 3 and params.lr = 1 and has tag team") == []
    assert await notes(filter="metrics.lss < 3 or not metrics.lss.min > 1") == [
        "no run has metric lss: did you mean loss?"
    ]
    assert await notes(filter="params.lrr = 1 and has tag taem") == [
        "no run has param lrr: did you mean lr?",
        "no run has tag taem: did you mean team?",
    ]
    assert await notes(sort="-metrics.accuracy") == ["no run has metric accuracy: there are loss"]
    await asker.start("r2")
    second = await asker.ask("runs.list", sort="metrics.lss", limit=1)
    assert await notes(sort="metrics.lss", limit=1, cursor=second.next) == []  # it was said with the first page


async def test_took_and_seconds_are_the_same_field(asker: Asker) -> None:
    await asker.start("r1")
    assert [row.run for row in (await asker.ask("runs.list", filter="took < 5m", sort="-took")).runs] == ["r1"]


async def test_a_call_that_was_reported_twice_counts_once_in_steps_and_agents(asker: Asker) -> None:
    await asker.start("r1")
    step = await asker.step("r1", "ask", kind="llm")
    usage = run_events.Usage(time=now(), step=step, model="m", input=10, output=5, request="q1")
    for _ in range(2):
        await asker.event("r1", "usage", usage)
    (row,) = (await asker.ask("runs.steps", run="r1")).steps
    found = await asker.ask("runs.get", run="r1")
    assert (row.tokens.input, row.tokens.output, row.model) == (10, 5, "m")
    assert row.tokens == found.row.tokens == found.agents[0].tokens
    assert (found.row.unpriced, found.agents[0].unpriced) == (1, 1)


async def test_infinities_are_not_taken_for_nan(asker: Asker) -> None:
    await asker.start("r1")
    await asker.points("r1", "loss", [1, "Infinity", "NaN", 3])
    await asker.points("r1", "low", ["-Infinity"])
    await asker.points("r1", "fine", [1, 2])
    found = {row.key: row for row in (await asker.ask("runs.get", run="r1")).metrics if not row.agent}
    told = {key: (row.min, row.max, row.nans, row.infinite) for key, row in found.items()}
    assert told == {
        "loss": (1, "Infinity", 1, 1),
        "low": ("-Infinity", "-Infinity", 0, 1),
        "fine": (1, 2, 0, 0),
    }


async def test_a_verification_knows_the_machine_of_each_writer(asker: Asker) -> None:
    await asker.start("r1", origin=run_events.Origin(host="box"))
    (writer,) = (await asker.ask("runs.verify", run="r1")).writers
    assert (writer.host, writer.final) == ("box", None)


async def test_a_run_is_told_whole(asker: Asker) -> None:
    origin = run_events.Origin(host="h", git_commit="abc", git_dirty=True)
    await asker.start("r1", name="top", params={"lr": 0.1, "deep": {"a": [1, 2]}}, tags={"t": "x"}, origin=origin)
    await asker.start("r2", parent="r1")
    await asker.event("r1", "agent.started", run_events.AgentStarted(time=now(), model="m", role="critic"), "bob")
    await asker.points("r1", "loss", [4, 2, "NaN", 3])
    step = await asker.step("r1", "think", agent="bob", kind="llm")
    usage = run_events.Usage(time=now(), step=step, model="m", input=10, output=5, cost=0.25)
    await asker.event("r1", "usage", usage, "bob")
    failed = run_events.Failure(type="ValueError", message="no")
    await asker.event("r1", "ended", run_events.RunEnded(status="failed", time=now(), error=failed))
    found = await asker.ask("runs.get", run="r1")
    assert (found.row.status, found.row.steps, found.row.cost, found.row.reason) == ("failed", 1, 0.25, "no")
    assert found.row.params == {"lr": 0.1, "deep": {"a": [1, 2]}}
    assert found.error == {"type": "ValueError", "message": "no"}
    assert (found.origin["host"], found.origin["git_commit"], found.origin["git_dirty"]) == ("h", "abc", True)
    assert [row.run for row in found.children] == ["r2"]
    (loss,) = [row for row in found.metrics if row.agent == ""]
    assert (loss.value, loss.step, loss.first, loss.min, loss.max, loss.mean, loss.points, loss.nans) == (
        *(3, 3, 4, 2, 4, 3, 4, 1),
    )
    bob = next(row for row in found.agents if row.agent == "bob")
    assert (bob.model, bob.role, bob.tokens.input, bob.tokens.output, bob.cost) == ("m", "critic", 10, 5, 0.25)


async def test_an_agent_that_nobody_ended_is_over_with_its_run(asker: Asker) -> None:
    for run, status in (("r1", "failed"), ("r2", None)):
        await asker.start(run)
        for agent in ("alice", "bob"):
            await asker.event(run, "agent.started", run_events.AgentStarted(time=now()), agent)
        await asker.event(run, "agent.ended", run_events.AgentEnded(time=now()), "bob")
        if status:
            await asker.event(run, "ended", run_events.RunEnded(status="failed", time=now()))
    told = {run: (await asker.ask("runs.get", run=run)).agents for run in ("r1", "r2")}
    assert [(one.agent, one.status, one.ended is None) for one in told["r1"]] == [
        ("alice", "ended", False),
        ("bob", "ok", False),
    ]
    assert [(one.agent, one.status, one.ended is None) for one in told["r2"]] == [
        ("alice", "running", True),
        ("bob", "ok", False),
    ]
    running = await asker.ask("runs.list", filter="agent.status = 'running'")
    assert [row.run for row in running.runs] == ["r2"]


async def test_steps_come_in_the_order_in_which_they_began(asker: Asker) -> None:
    await asker.start("r1")
    outer = await asker.step("r1", "outer", opened=True)
    inner = [await asker.step("r1", f"call {n}", parent=outer, agent="ab"[n % 2] * 2) for n in range(5)]
    error = run_events.Failure(type="E", message="m")
    bad = await asker.step("r1", "bad", parent=inner[0], status="error", error=error)
    first = await asker.ask("runs.steps", run="r1", limit=4)
    rest = await asker.ask("runs.steps", run="r1", limit=4, cursor=first.next)
    assert [row.step for row in first.steps + rest.steps] == [outer, *inner, bad]
    assert rest.next is None
    assert (first.steps[0].status, first.steps[0].ended, first.steps[1].seconds) == ("open", None, 2.0)
    (found,) = (await asker.ask("runs.steps", run="r1", errors=True)).steps
    assert (found.step, found.error, found.parent) == (bad, "E: m", inner[0])
    assert [row.step for row in (await asker.ask("runs.steps", run="r1", agent="bb")).steps] == [inner[1], inner[3]]


async def test_an_outline_takes_equal_steps_together(asker: Asker) -> None:
    await asker.start("r1")
    for _ in range(3):
        outer = await asker.step("r1", "round", opened=True)
        for n in range(4):
            await asker.step("r1", "call", parent=outer, kind="llm", status="ok" if n else "error")
    await asker.step("r1", "orphan", parent="f" * 16)
    groups = (await asker.ask("runs.outline", run="r1")).groups
    shown = [(group.path, group.kind, group.steps, group.errors, group.open, group.seconds) for group in groups]
    assert shown == [
        (["round"], "other", 3, 0, 3, 0),
        (["round", "call"], "llm", 12, 3, 0, 24),
        (["orphan"], "other", 1, 0, 0, 2),
    ]


async def test_an_outline_of_numbered_steps_is_short(asker: Asker) -> None:
    await asker.start("r1")
    await asyncio.gather(*(asker.step("r1", f"epoch {n}") for n in range(60)))
    (group,) = (await asker.ask("runs.outline", run="r1")).groups
    assert (group.path, group.steps) == (["epoch #"], 60)


async def test_a_plot_is_of_points_or_of_ranges(asker: Asker) -> None:
    await asker.start("r1")
    await asker.points("r1", "loss", [3, "NaN", 1], agent="a")
    await asker.points("r1", "loss", [7], first=3, agent="b")
    (curve,) = (await asker.ask("runs.plot", run="r1", keys=["loss"])).curves
    assert (curve.raw, curve.steps, curve.mean) == (True, [0, 1, 2, 3], [3, "NaN", 1, 7])
    (own,) = (await asker.ask("runs.plot", run="r1", keys=["loss"], agent="b")).curves
    assert own.steps == [3]
    curve, none = (await asker.ask("runs.plot", run="r1", keys=["loss", "none"], points=2)).curves
    assert (curve.raw, curve.steps, curve.mean, curve.min, curve.max) == (False, [0, 2], [3, 4], [3, 1], [3, 7])
    assert none.steps == []


async def test_a_long_curve_comes_from_the_roll_ups(asker: Asker) -> None:
    await asker.start("r1")
    for begin in range(0, 24_000, 2_000):
        await asker.points("r1", "x", [float(n % 10) for n in range(begin, begin + 2_000)], first=begin)
    (curve,) = (await asker.ask("runs.plot", run="r1", keys=["x"], points=100)).curves
    assert len(curve.steps) <= 100
    assert (curve.steps[0], min(curve.min), max(curve.max)) == (0, 0, 9)
    assert all(4 < mean < 5 for mean in curve.mean)
    assert sorted(curve.steps) == curve.steps


async def test_points_come_as_they_were_logged(asker: Asker) -> None:
    await asker.start("r1")
    await asker.points("r1", "x", [1, "-Infinity", 3], agent="a")
    await asker.points("r1", "x", [4], first=3, agent="b")
    found, cursor = [], None
    for _ in range(2):
        page = await asker.ask("runs.points", run="r1", key="x", limit=2, cursor=cursor)
        found += [(step, value, agent) for step, value, _, agent in page.points]
        cursor = page.next
    assert found == [(0, 1, "a"), (1, "-Infinity", "a"), (2, 3, "a"), (3, 4, "b")]
    assert cursor is None


async def test_costs_are_added_up_without_those_that_do_not_count(asker: Asker) -> None:
    await asker.start("r1")
    usage: dict[str, Any] = {"time": now(), "model": "m", "input": 100, "output": 10}
    calls: list[tuple[str, dict[str, Any]]]
    calls = [("a", {"cost": 0.5}), ("a", {"cost": 1.0, "cause": "replay"}), ("b", {"cost": 2.0})]
    for agent, more in calls:
        await asker.event("r1", "usage", run_events.Usage(**usage, **more), agent)
    await asker.event("r1", "usage", run_events.Usage(**usage), "b")
    report = await asker.ask("cost", by="agent")
    assert [(row.key, row.calls, row.cost, row.unpriced, row.not_counted) for row in report.rows] == [
        ("b", 2, 2.0, 1, 0),
        ("a", 1, 0.5, 0, 1),
    ]
    assert (report.total.cost, report.total.tokens.input) == (2.5, 300)
    assert (await asker.ask("cost", by="model", run="r1")).rows[0].key == "m"
    assert (await asker.ask("cost", since="2100-01-01")).rows == []


async def test_entries_of_a_run_come_with_what_happened_meanwhile(asker: Asker) -> None:
    await asker.bus.publish(subjects.message(asker.project, "bob", "alice"), b'{"text":"before"}')
    await asker.start("r1")
    await asker.start("r2")
    await asker.bus.publish(subjects.message(asker.project, "bob", "alice"), b'{"text":"hi"}')
    await asker.bus.publish(subjects.message(asker.project, "bob", "alice"), b"no json")
    await asker.event("r1", "ended", run_events.RunEnded(status="finished", time=now()))
    entries = (await asker.ask("log.entries", run="r1")).entries
    assert [entry.subject.split(".")[2] for entry in entries] == ["run", "msg", "msg", "run"]
    assert (entries[1].body, entries[2].body, entries[2].raw) == ({"text": "hi"}, None, "bm8ganNvbg==")
    assert entries[0].headers["Nats-Msg-Id"].endswith("r1:1")
    assert len((await asker.ask("log.entries", run="r1", only_run=True)).entries) == 2
    assert len((await asker.ask("log.entries", run="r1", families=["msg"])).entries) == 2
    every, cursor = 0, None
    while True:
        page = await asker.ask("log.entries", limit=2, cursor=cursor)
        every += len(page.entries)
        cursor = page.next
        if cursor is None:
            break
    assert every == 6


async def test_a_page_ends_where_the_message_would_be_too_large(asker: Asker) -> None:
    await asker.start("r1")
    body = msgspec.json.encode({"text": "x" * 200_000})
    for _ in range(6):
        await asker.bus.publish(subjects.message(asker.project, "bob", "alice"), body)
    first = await asker.ask("log.entries")
    rest = await asker.ask("log.entries", cursor=first.next)
    assert (len(first.entries), len(rest.entries), rest.next) == (5, 2, None)


async def test_questions_of_another_project_see_nothing(asker: Asker) -> None:
    await asker.start("r1")
    other = Asker(asker.bus, asker.project + "x")
    assert (await other.ask("runs.list")).runs == []
    assert (await other.refused("runs.get", run="r1"))[0] == "404"


async def test_the_service_is_found_by_its_name(asker: Asker) -> None:
    reply = await asker.bus.transport.request("$SRV.INFO.tracecraft", timeout=5)
    info = json.loads(reply.data)
    assert {"tcsvc.*.runs.list", "tcsvc.*.cost"} <= {endpoint["subject"] for endpoint in info["endpoints"]}
