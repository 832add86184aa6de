"""``runs export --otlp``: a real run as spans in a file, with all that is known of it."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tracecraft import Session
from tracecraft_core import ids, subjects
from tracecraft_core.bus import Bus
from tracecraft_core.pull import Puller, watcher_config
from tracecraft_core.transport import ServerOptions

pytest.importorskip("opentelemetry.proto", reason="the package opentelemetry-proto is not installed")

from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.otlp_export import (
    LONG,
    REMOTE,
    REMOTE_SPAN,
    TRACE,
    Recorded,
    attributes,
    exported,
    of_json,
    parsed,
    record,
    said,
    spans,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cli import CommandLine


@pytest.fixture
def cli(whole_cli: CommandLine) -> CommandLine:
    return whole_cli


@pytest.fixture
def recorded(cli: CommandLine) -> Recorded:
    return record(cli)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "binpb"])
def test_a_run_is_a_tree_of_spans_with_its_own_ids_in_every_form(
    cli: CommandLine, recorded: Recorded, suffix: str
) -> None:
    found = exported(cli, recorded.run, f"run.{suffix}")
    names = {span.span_id.hex(): span.name for span in found}
    own = [span for span in found if span.trace_id.hex() == TRACE]
    assert sorted((span.name, names.get(span.parent_span_id.hex(), span.parent_span_id.hex())) for span in own) == [
        ("chat gpt-5", "invoke_agent lead"),
        ("chat gpt-5", "plan"),
        ("chat gpt-5-mini", "plan"),
        ("execute_tool fit", "work"),
        ("execute_tool read", "work"),
        ("invoke_agent ann", "invoke_workflow search"),
        ("invoke_agent lead", "invoke_workflow search"),
        ("invoke_workflow search", REMOTE_SPAN),
        ("plan", "invoke_agent lead"),
        ("tell", "invoke_agent lead"),
        ("work", "invoke_agent ann"),
    ]
    assert {name: names[step] for name, step in recorded.steps.items()} == {
        "plan": "plan", "ask": "chat gpt-5", "tell": "tell", "work": "work",
        "fit": "execute_tool fit", "read": "execute_tool read",
    }  # fmt: skip
    (inner,) = (span for span in found if span.name == "invoke_workflow inner")
    assert inner.trace_id.hex() == ids.trace(cli.project, recorded.child)
    assert [(link.trace_id.hex(), names[link.span_id.hex()]) for link in inner.links] == [
        (TRACE, "invoke_workflow search")
    ]
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in found)
    assert len(names) == len(found)


def test_whoever_adds_up_the_spans_of_a_run_has_its_tokens_and_its_cost(cli: CommandLine, recorded: Recorded) -> None:
    total: Counter[str] = Counter()
    for span in exported(cli, recorded.run, "run.binpb"):
        said = attributes(span)
        total.update({key: value for key, value in said.items() if isinstance(value, (int, float))})
        used = json.loads(said.get("langfuse.observation.usage_details", "{}"))
        assert sum(used.values()) == said.get("llm.token_count.total", 0)
        assert bool(used) == (said["openinference.span.kind"] == "LLM" and span.name.startswith("chat "))
    detail = json.loads(said_json(cli, "runs", "inspect", recorded.run))["result"]["row"]
    buckets = detail["tokens"]
    assert buckets == {"input": 108, "cache_read": 40, "cache_write": 10, "output": 24, "reasoning": 5}
    assert total["gen_ai.usage.input_tokens"] == total["llm.token_count.prompt"] == 158
    assert total["gen_ai.usage.output_tokens"] == total["llm.token_count.completion"] == 29
    assert total["gen_ai.usage.cache_read.input_tokens"] == total["llm.token_count.prompt_details.cache_read"] == 40
    assert total["gen_ai.usage.cache_creation.input_tokens"] == 10
    assert total["gen_ai.usage.reasoning.output_tokens"] == 5
    assert total["llm.cost.total"] == total["gen_ai.usage.cost"] == detail["cost"] == 0.875


def test_a_message_is_a_link_from_the_step_that_read_it_to_the_one_that_sent_it(
    cli: CommandLine, recorded: Recorded
) -> None:
    named = {span.name: span for span in exported(cli, recorded.run, "run.json")}
    (link,) = named["work"].links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE, recorded.steps["tell"])
    told = attributes(link)
    assert (told["tracecraft.message.from"], told["tracecraft.message.to"]) == ("lead", "ann")


def test_people_are_told_of_one_link_and_of_several(cli: CommandLine, recorded: Recorded) -> None:
    assert "14 spans, 2 links, trace " in said(cli("runs", "export", recorded.run, "--otlp", "run.json"))
    with (
        Session(server=cli.server, project=cli.project, agent="lead") as lead,
        Session(server=cli.server, project=cli.project, agent="ann") as ann,
        lead.run("small") as run,
    ):
        with run.agent("lead") as sending, sending.step("tell"):
            sending.send("ann", "go on")
        with run.agent("ann") as reading, reading.step("read"):
            (message,) = ann.inbox()
            assert ann.ack(message)
    assert " spans, 1 link, trace " in said(cli("runs", "export", run.id, "--otlp", "small.json"))


def test_a_message_sent_inside_of_a_step_carries_its_traceparent(cli: CommandLine, recorded: Recorded) -> None:
    found = asyncio.run(headers_of_messages(cli))
    assert found == [f"00-{TRACE}-{recorded.steps['tell']}-01"]
    inside = {"TRACECRAFT_RUN": recorded.run, "TRACEPARENT": f"00-{TRACE}-{recorded.steps['work']}-01"}
    said(cli("send", "lead", "by a program of that step", env=inside))
    said(cli("send", "lead", "from outside"))
    assert asyncio.run(headers_of_messages(cli))[1:] == [inside["TRACEPARENT"], None]


async def headers_of_messages(cli: CommandLine) -> list[str | None]:
    async with Bus(ServerOptions(servers=(cli.server,))) as bus:
        config = watcher_config([f"tc.{cli.project}.msg.>"], "all")
        async with Puller(bus, subjects.LOG, config) as puller:
            return [one.stored.headers.get(subjects.TRACEPARENT) async for one in puller.backlog()]


def test_an_error_is_a_status_and_an_exception_and_a_value_is_whole_or_says_why_not(
    cli: CommandLine, recorded: Recorded
) -> None:
    named = {span.name: span for span in exported(cli, recorded.run, "run.json")}
    fit, read, ask = (named[name] for name in ("execute_tool fit", "execute_tool read", "invoke_workflow search"))
    assert (fit.status.code, fit.status.message) == (Status.STATUS_CODE_ERROR, "no room")
    (event,) = fit.events
    raised = attributes(event)
    assert (event.name, raised["exception.type"], raised["exception.message"]) == ("exception", "ValueError", "no room")
    assert "raise ValueError" in raised["exception.stacktrace"]
    told = attributes(fit)
    assert (told["error.type"], told["tracecraft.tag.try"]) == ("ValueError", "1")
    assert json.loads(told["gen_ai.tool.call.arguments"]) == {"C": 3}
    assert named["work"].status.code == Status.STATUS_CODE_OK
    values = attributes(read)
    assert values["gen_ai.tool.call.arguments"] == values["input.value"] == LONG
    assert "input.value.cut" not in values
    assert values["output.value"].startswith('"yyy')
    assert (len(values["output.value"]), values["output.value.cut"]) == (512, "300,002 bytes in the artifact store")
    root = attributes(ask)
    assert (root["tracecraft.param.lr"], root["tracecraft.param.grid"]) == (0.1, "[1,2]")
    assert (root["tracecraft.tag.team"], root["tracecraft.metric.loss"]) == ("a", 0.5)


def test_a_model_call_has_its_messages_in_both_languages(cli: CommandLine, recorded: Recorded) -> None:
    found = exported(cli, recorded.run, "run.json")
    (call,) = (span for span in found if span.span_id.hex() == recorded.steps["ask"])
    told = attributes(call)
    assert call.kind == ProtoSpan.SPAN_KIND_CLIENT
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "openai")
    assert json.loads(told["gen_ai.input.messages"])[1] == {
        "role": "user", "parts": [{"type": "text", "content": "hi"}],
    }  # fmt: skip
    assert json.loads(told["gen_ai.output.messages"])[0]["parts"][0]["content"] == "hello"
    assert told["llm.input_messages.1.message.content"] == "hi"
    assert told["llm.output_messages.0.message.role"] == "assistant"


def test_standard_output_has_one_request_and_nothing_else(cli: CommandLine, recorded: Recorded) -> None:
    done = cli("runs", "export", recorded.run, "--otlp", "-", "--json")
    assert len(spans([of_json(said(done).encode())])) == 14
    assert "beginning only" in done.stderr


def test_a_file_is_there_whole_or_not_at_all(cli: CommandLine, recorded: Recorded, place: Path) -> None:
    (place / "run.json").write_text("what was here before")
    (place / "there").mkdir()
    assert cli("runs", "export", "nosuch", "--otlp", "run.json").returncode == 1
    assert cli("runs", "export", recorded.run, "--otlp", "missing/run.json").returncode == 1
    assert cli("runs", "export", recorded.run, "--otlp", "there/run.txt").returncode == 2
    limited = f"ulimit -f 8; exec {shlex.join(cli.argv('runs', 'export', recorded.run, '--otlp', 'run.json'))}"
    full = subprocess.run(["bash", "-c", limited], env=cli.environment(), capture_output=True, text=True, timeout=30)
    assert full.returncode == 1
    assert "run.json: File too large" in full.stderr
    assert (place / "run.json").read_text() == "what was here before"
    assert {path.name for path in place.iterdir()} == {"run.json", "there", "state"}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--header", "a=b"), id="header without otlp"),
        pytest.param(("--otlp", "run.json", "--header", "a=b"), id="header of a file"),
        pytest.param(("--otlp", "http://127.0.0.1:1", "--header", "secret"), id="header without value"),
        pytest.param(("--otlp", "http://127.0.0.1:99999"), id="port"),
        pytest.param(("--otlp", "run.json", "--output", "x"), id="two places"),
        pytest.param(("--otlp", "run"), id="no suffix"),
    ],
)
def test_a_wrong_target_is_wrong_usage(cli: CommandLine, words: tuple[str, ...]) -> None:
    done = cli("runs", "export", "any", *words)
    assert done.returncode == 2
    assert "for example" in done.stderr or "belongs to" in done.stderr or "--otlp" in done.stderr


def test_a_run_that_goes_on_is_exported_as_far_as_it_is(cli: CommandLine) -> None:
    run = said(cli("run", "start", "long"))
    said(cli("run", "log-step", "one", "--seconds", "1"))
    done = cli("runs", "export", run, "--otlp", "run.json")
    assert "not ended" in done.stderr
    named = {span.name: span for span in spans(parsed("run.json"))}
    assert named["invoke_workflow long"].status.code == Status.STATUS_CODE_UNSET
    assert named["one"].end_time_unix_nano - named["one"].start_time_unix_nano == 1_000_000_000


def test_a_run_of_a_command_lies_inside_of_the_span_that_started_it(cli: CommandLine) -> None:
    shown = ("run", "exec", "made", "--", "sh", "-c", "echo $TRACEPARENT")
    done = cli(*shown, env={"TRACEPARENT": REMOTE})
    assert done.stdout.startswith(f"00-{TRACE}-")
    run = done.stderr.split()[1]
    (root,) = (span for span in exported(cli, run, "run.json") if span.name == "invoke_workflow made")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, REMOTE_SPAN)
    plain = said(cli("run", "start", "plain"))
    (root,) = (span for span in exported(cli, plain, "run.json") if span.name == "invoke_workflow plain")
    assert (root.trace_id.hex(), root.parent_span_id) == (ids.trace(cli.project, plain), b"")


def said_json(cli: CommandLine, *words: str) -> str:
    return said(cli(*words, "--json"))
