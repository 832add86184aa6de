"""The stub model: who gets which answer, and what each dialect tells of the tokens."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stub_model import Reply, Rule, StubModel, ToolCall, Usage, call, fail, say
from tests.support.stub_model.__main__ import LoggedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
USED = Usage(input=100, cache_read=20, cache_write=5, output=30, reasoning=7)
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages?beta=true"}


@pytest.fixture
def model() -> Iterator[StubModel]:
    with StubModel() as running:
        yield running


def send(url: str, body: dict[str, Any], **headers: str) -> bytes:
    data = json.dumps(body).encode()
    if headers.get("Content-Encoding") == "gzip":
        data = gzip.compress(data)
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
        return bytes(answer.read())


def chat(stub: StubModel, *said: str, system: str = "", **more: Any) -> dict[str, Any]:
    """Ask in the dialect of OpenAI's chat completions; what was said is the user's and the model's words by turns."""
    messages = [{"role": "system", "content": system}]
    messages += [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    body = {"model": "gpt-4o", "messages": messages, **more}
    return dict(json.loads(send(stub.url + PATHS["chat"], body)))


def text(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def events(raw: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in raw.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_who_asks_decides_which_answers_come_one_after_the_other(model: StubModel) -> None:
    model.answer(say("a1"), say("a2"), system="You are Ann")
    model.answer(say("b1"), tool="search")
    model.answer(say("big"), model="gpt-5")
    never = model.answer(say("never"), turn=5)
    model.answer(say("second"), turn=1)
    model.answer(say("heard"), text="hello")
    model.answer(say("odd"), when=lambda request: request.headers["accept-encoding"] == "identity")
    tool = {"type": "function", "function": {"name": "search", "parameters": {}}}
    assert text(chat(model, "hi", system="You are Ann, a poet")) == "a1"
    assert text(chat(model, "hi", tools=[tool])) == "b1"
    assert text(chat(model, "hi", system="You are Ann, a poet", tools=[tool])) == "a2"
    assert text(chat(model, "hi", model="gpt-5.5")) == "big"
    assert text(chat(model, "hi", "yes", "go on")) == "second"
    assert text(chat(model, "oh, hello")) == "heard"
    assert text(chat(model, "hi")) == "odd"
    assert model.left == [never]


def test_the_last_answer_comes_again_where_it_is_for_ever(model: StubModel) -> None:
    model.answer(say("first"), say("again"), forever=True)
    assert [text(chat(model, "hi")) for _ in range(3)] == ["first", "again", "again"]


def test_an_answer_may_be_made_of_the_request(model: StubModel) -> None:
    model.answer(lambda request: say(f"the tool said {request.results[-1]}"))
    messages = [{"role": "tool", "tool_call_id": "c", "content": "42"}]
    assert text(chat(model, messages=messages)) == "the tool said 42"


def test_what_nobody_has_scripted_is_refused_and_remembered(model: StubModel) -> None:
    model.answer(say("for Ann"), system="You are Ann")
    with pytest.raises(urllib.error.HTTPError) as refused:
        chat(model, "hi", system="You are Bob")
    with refused.value as answer:
        assert answer.code == 400
        assert "the script has no answer" in json.load(answer)["error"]["message"]
    assert [request.system for request in model.unexpected] == ["You are Bob"]
    assert len(model.left) == 1
    assert model.usage() == Usage()


@pytest.mark.parametrize(
    ("dialect", "kind"),
    [("chat", "rate_limit_exceeded"), ("responses", "rate_limit_exceeded"), ("messages", "rate_limit_error")],
)
def test_a_failure_costs_nothing_and_the_next_try_gets_the_next_answer(
    model: StubModel, dialect: str, kind: str
) -> None:
    model.answer(fail(429, "slow down"), say("ok", USED))
    body: dict[str, Any] = {"model": "m", "messages": [], "input": "hi"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(model.url + PATHS[dialect], body)
    with refused.value as answer:
        assert (answer.code, answer.headers["retry-after-ms"]) == (429, "1")
        refusal = json.load(answer)["error"]
        assert (refusal["type"], refusal["message"]) == (kind, "slow down")
    assert model.usage() == Usage()
    assert b"ok" in send(model.url + PATHS[dialect], body)
    assert model.usage() != Usage()


def test_openai_counts_caches_as_part_of_the_input_and_reasoning_as_part_of_the_output(model: StubModel) -> None:
    model.answer(say("ok", USED), forever=True)
    assert chat(model, "hi")["usage"] == {
        "prompt_tokens": 125,
        "completion_tokens": 37,
        "total_tokens": 162,
        "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 0},
    }
    answer = json.loads(send(model.url + PATHS["responses"], {"model": "m", "input": "hi"}))
    assert answer["usage"] == {
        "input_tokens": 125,
        "input_tokens_details": {"cached_tokens": 20},
        "output_tokens": 37,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 162,
    }
    one = Usage(input=105, cache_read=20, output=30, reasoning=7)
    assert model.usage() == one + one
    assert model.usage(lambda request: request.dialect == "chat") == one


def test_anthropic_counts_caches_apart_and_reasoning_as_output(model: StubModel) -> None:
    model.answer(say("ok", USED))
    answer = json.loads(send(model.url + PATHS["messages"], {"model": "m", "messages": []}))
    assert answer["usage"] == {
        "input_tokens": 100,
        "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 5,
        "output_tokens": 37,
    }
    assert model.usage() == Usage(input=100, cache_read=20, cache_write=5, output=37)


def test_a_streamed_answer_of_chat_completions_is_the_whole_one_in_pieces(model: StubModel) -> None:
    model.answer(Reply("let me see", (ToolCall("add", {"a": 1}), ToolCall("sub", {"b": 2})), USED), forever=True)
    body = {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(send(model.url + PATHS["chat"], body))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    calls = [one for delta in deltas for one in delta.get("tool_calls", [])]
    arguments = ["".join(c["function"]["arguments"] for c in calls if c["index"] == place) for place in (0, 1)]
    assert "".join(delta.get("content", "") for delta in deltas) == "let me see"
    assert [(c["id"], c["function"]["name"]) for c in calls if "id" in c] == [("call_1", "add"), ("call_2", "sub")]
    assert [json.loads(one) for one in arguments] == [{"a": 1}, {"b": 2}]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["total_tokens"] == 162
    assert all(
        "usage" not in chunk for chunk in events(send(model.url + PATHS["chat"], {**body, "stream_options": {}}))
    )


def test_a_streamed_response_is_the_whole_one_in_pieces(model: StubModel) -> None:
    model.answer(Reply("let me see", (ToolCall("claim", {"a": 1}, namespace="mcp__x"),), USED))
    heard = events(send(model.url + PATHS["responses"], {"model": "m", "input": "hi", "stream": True}))
    assert [event["sequence_number"] for event in heard] == list(range(len(heard)))
    assert "".join(e["delta"] for e in heard if e["type"] == "response.output_text.delta") == "let me see"
    whole = "".join(e["delta"] for e in heard if e["type"] == "response.function_call_arguments.delta")
    assert json.loads(whole) == {"a": 1}
    message, function = heard[-1]["response"]["output"]
    assert message["content"][0]["text"] == "let me see"
    assert (function["namespace"], function["name"], function["call_id"]) == ("mcp__x", "claim", "call_1")
    assert heard[-1]["response"]["usage"]["total_tokens"] == 162


def test_a_streamed_message_begins_with_one_token_of_output_and_ends_with_the_truth(model: StubModel) -> None:
    model.answer(Reply("let me see", (ToolCall("Bash", {"command": "ls"}),), USED))
    heard = events(send(model.url + PATHS["messages"], {"model": "m", "messages": [], "stream": True}))
    deltas = [event["delta"] for event in heard if event["type"] == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == "let me see"
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == {"command": "ls"}
    assert heard[0]["message"]["usage"]["output_tokens"] == 1
    assert heard[-2]["usage"]["output_tokens"] == 37
    assert heard[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", {"messages": [{"role": "system", "content": "Be Ann"}, {"role": "user", "content": "hi"},
                  {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "add"}}]},
                  {"role": "tool", "tool_call_id": "c", "content": "42"}],
                  "tools": [{"type": "function", "function": {"name": "add"}}]}),
        ("responses", {"instructions": "Be Ann", "input": [
                       {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                       {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
                       {"type": "function_call_output", "call_id": "c", "output": "42"}],
                       "tools": [{"type": "function", "name": "add"}]}),
        ("messages", {"system": [{"type": "text", "text": "Be Ann"}], "messages": [{"role": "user", "content": "hi"},
                      {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "add", "input": {}}]},
                      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "42"}]}],
                      "tools": [{"name": "add"}]}),
    ],
)  # fmt: skip
def test_a_request_reads_alike_in_every_dialect(model: StubModel, dialect: str, body: dict[str, Any]) -> None:
    model.answer(say("ok"))
    send(model.url + PATHS[dialect], {"model": "m", **body})
    (request,) = model.requests
    assert (request.system, request.tools, request.turn, request.results) == ("Be Ann", ["add"], 1, ["42"])
    assert "hi" in request.text
    assert "add" in request.text


def test_an_answer_waits_behind_its_gate_while_others_pass(model: StubModel) -> None:
    gate = threading.Event()
    model.answer(say("late", gate=gate), system="slow")
    model.answer(say("at once"))
    said: list[str] = []
    asking = threading.Thread(target=lambda: said.append(text(chat(model, "hi", system="slow"))))
    asking.start()
    model.wait_for_requests(1)
    assert text(chat(model, "hi")) == "at once"
    assert said == []
    gate.set()
    asking.join()
    assert said == ["late"]


def test_compressed_requests_are_read(model: StubModel) -> None:
    model.answer(say("ok"))
    send(model.url + PATHS["chat"], {"model": "m", "messages": []}, **{"Content-Encoding": "gzip"})
    assert model.requests[0].model == "m"


def test_what_clients_ask_besides_is_answered(model: StubModel) -> None:
    with urllib.request.urlopen(f"{model.url}/v1/models") as answer:
        assert "gpt-4o" in [one["id"] for one in json.load(answer)["data"]]
    counted = send(f"{model.url}/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "hi" * 100}]})
    assert json.loads(counted)["input_tokens"] > 50


def test_as_a_program_it_answers_by_a_file_and_writes_down_what_it_was_asked(tmp_path: Path) -> None:
    script, log = tmp_path / "script.json", tmp_path / "log.jsonl"
    rules = [
        {"system": "You are Ann", "answers": [{"error": 500}, {"calls": [{"name": "add", "arguments": {"a": 1}}]}]},
        {"answers": [{"text": "ok", "usage": {"input": 3}}], "forever": True},
    ]
    script.write_text(json.dumps(rules))
    command = [sys.executable, "-m", "tests.support.stub_model", "--script", str(script), "--log", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        url = program.stdout.readline().strip() + PATHS["chat"]
        body = {"model": "m", "messages": [{"role": "system", "content": "You are Ann"}]}
        with pytest.raises(urllib.error.HTTPError) as refused:
            send(url, body)
        refused.value.close()
        answer = json.loads(send(url, body))
        assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"
        assert json.loads(send(url, body))["usage"]["prompt_tokens"] == 3
        program.stdin.close()
        assert program.wait(10) == 0
    assert [json.loads(line)["reply"]["error"] for line in log.read_text().splitlines()] == [500, None, None]


def test_the_program_writes_down_a_request_whose_answer_takes_long(tmp_path: Path) -> None:
    log, gate = tmp_path / "log.jsonl", threading.Event()
    with LoggedModel([Rule([say("late", gate=gate)])], 0, log) as model:
        asking = threading.Thread(target=chat, args=(model, "hi"))
        asking.start()
        model.wait_for_requests(1)
        assert [json.loads(line)["reply"]["text"] for line in log.read_text().splitlines()] == ["late"]
        gate.set()
        asking.join(10)


def test_calls_are_numbered_through_the_whole_server(model: StubModel) -> None:
    model.answer(call("a"), call("b"))
    ids = [chat(model, "hi")["choices"][0]["message"]["tool_calls"][0]["id"] for _ in range(2)]
    assert ids == ["call_1", "call_2"]
