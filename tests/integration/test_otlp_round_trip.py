"""There and back: an exported run is the same run in another project, and a received trace leaves as the same trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("opentelemetry.proto", reason="the package opentelemetry-proto is not installed")

from tests.support.cli import CommandLine
from tests.support.otlp import Where, chat, send, span, trace_id, traces
from tests.support.otlp_export import attributes, exported, parsed, record, said
from tracecraft import Session
from tracecraft.async_session import AsyncSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

    from tracecraft_core.queries import RunDetail, StepRow
    from tracecraft_stack import Stack


@pytest.fixture
def where(stack_with_artifacts: Stack) -> Where:
    """Its receiver."""
    return Where(stack_with_artifacts.state.otlp_url, stack_with_artifacts.state.otlp_token)


@pytest.fixture
def cli(whole_cli: CommandLine) -> CommandLine:
    return whole_cli


def of_run(cli: CommandLine, project: str, run: str) -> tuple[RunDetail, list[StepRow]]:
    """All about a run, and its steps."""

    async def ask() -> tuple[RunDetail, list[StepRow]]:
        async with AsyncSession(server=cli.server, project=project, agent="reader") as session:
            return await session.runs.get(run), [step async for step in session.runs.steps(run)]

    return asyncio.run(ask())


def same(detail: RunDetail, steps: list[StepRow]) -> dict[str, Any]:
    """What has to be the same."""
    row = detail.row
    return {
        "run": (row.run, row.name, row.status, row.agent, row.started, row.ended, row.parent, row.params),
        "tags": {key: said for key, said in row.tags.items() if key != "exported_from"},
        "spent": (row.tokens, row.cost, row.unpriced, row.steps, row.errors),
        "why": detail.error,
        "agents": {
            one.agent: (one.status, one.started, one.ended, one.model, one.role, one.steps, one.tokens, one.cost)
            for one in detail.agents
        },
        "steps": {
            one.step: (
                *(one.agent, one.name, one.kind, one.status, one.started, one.ended, one.parent, one.task, one.error),
                *(one.tokens, one.cost, one.model, one.input, one.output),
            )
            for one in steps
        },
    }


def carry(cli: CommandLine, where: Where, run: str, project: str) -> None:
    """Export a run into another project."""
    headers = ("--header", f"x-tracecraft-token={where.token}", "--header", f"x-tracecraft-project={project}")
    said(cli("runs", "export", run, "--otlp", where.url, *headers))


def tree(found: list[ProtoSpan]) -> dict[str, Any]:
    """What is the same of spans that were received and are exported: as foreign programs see them."""
    return {
        one.span_id.hex(): (
            *(one.trace_id.hex(), one.parent_span_id.hex(), one.name, one.kind),
            *(one.start_time_unix_nano // 1_000, one.end_time_unix_nano // 1_000),
        )
        for one in found
    }


def test_an_exported_run_is_the_same_run_in_another_project(cli: CommandLine, where: Where) -> None:
    recorded = record(cli)
    elsewhere = f"{cli.project}-elsewhere"
    carry(cli, where, recorded.run, elsewhere)
    for run in (recorded.run, recorded.child):
        there = same(*of_run(cli, elsewhere, run))
        assert there == same(*of_run(cli, cli.project, run))
    detail, _ = of_run(cli, elsewhere, recorded.run)
    assert (detail.row.tags["exported_from"], detail.problems) == (cli.project, 0)
    carry(cli, where, recorded.run, elsewhere)
    again, _ = of_run(cli, elsewhere, recorded.run)
    assert (again.row.tokens, again.row.steps, again.problems) == (detail.row.tokens, detail.row.steps, 0)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        pytest.param(ValueError("no room"), "failed", id="failed"),
        pytest.param(KeyboardInterrupt(), "killed", id="killed"),
    ],
)
def test_a_run_that_did_not_end_well_did_not_there_either(
    cli: CommandLine, where: Where, raised: BaseException, status: str
) -> None:
    with Session(server=cli.server, project=cli.project, agent="lead") as session:
        with contextlib.suppress(BaseException), session.run("try") as run, run.agent("lead") as lead:
            lead.step("never ends", kind="task").__enter__()
            raise raised
        run.flush(timeout=30)
    elsewhere = f"{cli.project}-elsewhere"
    carry(cli, where, run.id, elsewhere)
    here, there = (same(*of_run(cli, project, run.id)) for project in (cli.project, elsewhere))
    assert here["run"][2] == status
    assert there == here


def test_a_run_arrives_whole_in_whatever_requests_its_spans_come(cli: CommandLine, where: Where) -> None:
    recorded = record(cli)
    elsewhere = f"{cli.project}-elsewhere"
    said(cli("runs", "export", recorded.run, "--otlp", "run.binpb"))
    (request,) = parsed("run.binpb")
    for one in one_by_one(request, elsewhere):
        assert send(where, one).status == 200
    detail, steps = of_run(cli, elsewhere, recorded.run)
    assert same(detail, steps) == same(*of_run(cli, cli.project, recorded.run))
    assert detail.problems == 0


def test_an_export_neither_names_nor_ends_a_run_that_somebody_else_writes(cli: CommandLine, where: Where) -> None:
    elsewhere = f"{cli.project}-elsewhere"
    with (
        Session(server=cli.server, project=cli.project, agent="lead") as session,
        Session(server=cli.server, project=elsewhere, agent="owner") as owner,
        owner.run("mine", params={"lr": 1}) as mine,
    ):
        with session.run("theirs", params={"lr": 2}, run_id=mine.id) as theirs, theirs.step("their step"):
            pass
        mine.flush(timeout=30)
        carry(cli, where, mine.id, elsewhere)
        row = of_run(cli, elsewhere, mine.id)[0].row
        assert (row.name, row.status, row.agent, row.params) == ("mine", "running", "owner", {"lr": 1})


def application(trace: str) -> list[ProtoSpan]:
    """A workflow whose service names no agent, agents inside of it, one of them called twice."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup"}
    support = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "support"}

    def invoke(number: int, name: str, start: float, seconds: float) -> ProtoSpan:
        found = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, "gen_ai.request.model": "gpt-4o"}
        return span(trace, number, f"invoke_agent {name}", found, parent=1, start=start, seconds=seconds)

    called = {"gen_ai.agent.name": "search", "openinference.span.kind": "LLM", "gen_ai.operation.name": "chat"}
    return [
        chat(3, trace, 2),
        span(trace, 4, "execute_tool lookup", tool, parent=2, start=0.2, seconds=0.1, error="no such order"),
        invoke(2, "triage", 0.0, 1.0),
        span(trace, 6, "ChatOpenAI", called, parent=5, start=1.2),
        span(trace, 5, "GET /search", {"http.method": "GET"}, parent=1, start=1.1, seconds=1.5),
        chat(8, trace, 7),
        invoke(7, "triage", 3.0, 1.0),
        span(trace, 1, "invoke_workflow support", support, seconds=5.0),
    ]


def one_by_one(request: ExportTraceServiceRequest, project: str) -> Iterator[ExportTraceServiceRequest]:
    """The spans of a request, each in one of its own, for another project."""
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for one in scope.spans:
                alone = type(request)()
                made = alone.resource_spans.add(resource=group.resource)
                made.resource.attributes.add(key="tracecraft.project").value.string_value = project
                made.scope_spans.add(scope=scope.scope).spans.append(one)
                yield alone


@pytest.mark.parametrize("together", [True, False], ids=["one request", "a request each"])
def test_a_trace_that_was_received_leaves_as_the_same_trace(cli: CommandLine, where: Where, together: bool) -> None:
    trace = trace_id()
    sent = application(trace)
    for group in [sent] if together else [[one] for one in sent]:
        assert send(where, traces(group, cli.project, service_name="shop")).status == 200
    found = exported(cli, trace, "run.json")
    assert tree(found) == tree(sent)
    (root,) = (one for one in found if not one.parent_span_id)
    assert attributes(root)["gen_ai.operation.name"] == "invoke_workflow"
    operations = [attributes(one).get("gen_ai.operation.name") for one in found]
    assert sorted(filter(None, operations)) == sorted(
        [*["invoke_workflow", "execute_tool", "invoke_agent", "invoke_agent"], *["chat"] * 3]
    )
    detail, steps = of_run(cli, cli.project, trace)
    starts = {step.agent: min(one.started for one in steps if one.agent == step.agent) for step in steps}
    assert {one.agent: one.started for one in detail.agents} == starts
    assert all(one.ended is not None and one.started <= one.ended for one in detail.agents)


def test_a_trace_goes_from_project_to_project_and_stays_the_same(cli: CommandLine, where: Where) -> None:
    trace = trace_id()
    sent = application(trace)
    assert send(where, traces(sent, cli.project, service_name="shop", team="a")).status == 200
    elsewhere = f"{cli.project}-elsewhere"
    carry(cli, where, trace, elsewhere)
    here, there = (same(*of_run(cli, project, trace)) for project in (cli.project, elsewhere))
    assert there == here
    far = CommandLine(cli.server, elsewhere)
    try:
        found = exported(far, trace, "far.json")
    finally:
        far.close()
    without_trace = [{key: place[1:] for key, place in tree(one).items()} for one in (found, sent)]
    assert without_trace[0] == without_trace[1]


def test_what_a_service_did_inside_of_a_run_keeps_its_spans(cli: CommandLine, where: Where) -> None:
    with (
        Session(server=cli.server, project=cli.project, agent="lead") as session,
        session.run("survey") as run,
        run.agent("lead") as lead,
        lead.step("ask the service", kind="tool_call") as step,
    ):
        _, trace, parent, _ = step.traceparent.split("-")
        run.flush(timeout=30)
        boss = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "boss"}
        sent = [chat(5, trace, 4), span(trace, 4, "invoke_agent boss", boss, parent=parent, seconds=3)]
        assert send(where, traces(sent, cli.project)).status == 200
    found = exported(cli, run.id, "run.json")
    assert tree(found).items() >= tree(sent).items()
    assert sorted(one.name for one in found if one.span_id not in {one.span_id for one in sent}) == [
        "execute_tool ask the service", "invoke_agent lead", "invoke_workflow survey",
    ]  # fmt: skip


def test_people_see_no_agent_that_began_after_its_end(cli: CommandLine, where: Where) -> None:
    trace = trace_id()
    assert send(where, traces(application(trace), cli.project, service_name="shop")).status == 200
    shown = json.loads(said(cli("runs", "inspect", trace, "--json")))["result"]
    assert {one["agent"] for one in shown["agents"]} == {"shop", "triage", "search"}
    assert all(one["started"] <= one["ended"] for one in shown["agents"])
