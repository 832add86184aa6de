"""What telemetry means: kinds of steps, tokens in disjoint buckets, messages, names that can be tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import otlp
from tracecraft_bridge.otlp import content, counting, meaning, points, sorting, spans, telemetry
from tracecraft_bridge.otlp.counting import Tokens
from tracecraft_bridge.otlp.home import Home, home_of
from tracecraft_bridge.otlp.writing import Writing

TRACE = "ab" * 16


def read(*found: Any) -> list[telemetry.Span]:
    """Spans as the receiver reads them."""
    return list(telemetry.spans(otlp.traces(list(found), "p")))


def one(name: str = "s", attributes: dict[str, Any] | None = None, **more: Any) -> telemetry.Span:
    """A span of these attributes."""
    (span,) = read(otlp.span(TRACE, 1, name, attributes, **more))
    return span


@pytest.mark.parametrize(
    ("attributes", "kind", "paid"),
    [
        ({"gen_ai.operation.name": "chat"}, "llm", True),
        ({"gen_ai.operation.name": "embeddings"}, "llm", True),
        ({"gen_ai.operation.name": "execute_tool"}, "tool_call", False),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.system": "x", "gen_ai.request.model": "m"}, "task", False),
        ({"gen_ai.operation.name": "invented"}, "other", False),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "transfer_to_writer"}, "handoff", False),
        ({"gen_ai.system": "openai", "gen_ai.request.model": "m"}, "llm", True),
        ({"openinference.span.kind": "LLM"}, "llm", True),
        ({"openinference.span.kind": "AGENT", "llm.token_count.prompt": 7}, "task", False),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval", False),
        ({"openinference.span.kind": 7}, "other", False),
        ({"traceloop.span.kind": "tool"}, "tool_call", False),
        ({"messaging.system": "nats"}, "message", False),
        ({"tracecraft.step.kind": "retrieval", "gen_ai.operation.name": "chat"}, "retrieval", True),
        ({"tracecraft.step.kind": "invented"}, "other", False),
        ({"http.request.method": "GET"}, "other", False),
    ],
)
def test_the_kind_of_a_step_and_whether_its_usage_is_paid_for(
    attributes: dict[str, Any], kind: str, paid: bool
) -> None:
    span = one(attributes=attributes)
    assert (meaning.kind_of(span), meaning.is_model_call(span)) == (kind, paid)


@pytest.mark.parametrize(
    ("counts", "tokens"),
    [
        ((100, 40, 10, 20, 5), Tokens(50, 40, 10, 15, 5)),
        ((100, 0, 0, 20, 0), Tokens(100, 0, 0, 20, 0)),
        ((10, 1000, 50, 7, 0), Tokens(10, 1000, 50, 7, 0)),  # counted apart, against the convention
        ((50, 40, 10, 5, 5), Tokens(0, 40, 10, 0, 5)),
    ],
)
def test_counts_that_contain_each_other_become_disjoint(counts: tuple[int, ...], tokens: Tokens) -> None:
    assert counting.contained(*counts) == tokens


@pytest.mark.parametrize("said", [-1, True, "many", 2**60, float("nan"), [1], None, ""])
def test_a_count_that_cannot_be_one_is_none(said: Any) -> None:
    assert counting.tokens_of_span({"gen_ai.usage.input_tokens": said, "gen_ai.usage.output_tokens": 5}) == Tokens(
        output=5
    )


def test_cost_is_what_the_source_says() -> None:
    assert counting.cost_of({"gen_ai.usage.cost": "0.5"}) == (0.5, "USD")
    assert counting.cost_of({"tracecraft.usage.cost": 2, "tracecraft.usage.currency": "EUR"}) == (2.0, "EUR")
    assert counting.cost_of({"llm.cost.total": float("inf")}) == (None, "USD")
    assert counting.cost_of({}) == (None, "USD")


def test_flattened_messages_of_openinference_are_put_together_again() -> None:
    found = {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.10.message.role": "tool",
        "llm.input_messages.2.message.role": "assistant",
        "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c1",
        "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "add",
        "llm.input_messagesx": "not one of them",
    }
    assert content.unflattened(found, "llm.input_messages") == [
        {"role": "system"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "add"}}]},
        {"role": "tool"},
    ]
    assert content.unflattened(found, "llm.output_messages") is None


def test_a_key_that_is_both_a_value_and_a_folder_breaks_nothing() -> None:
    found = {"gen_ai.prompt": "x", "gen_ai.prompt.0": "text", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.": "y"}
    assert content.unflattened(found, "gen_ai.prompt") is not None


def test_a_text_is_read_as_json_only_where_it_is_an_object_or_a_list() -> None:
    assert content.parsed('{"a": 1}') == {"a": 1}
    assert content.parsed("{a: 1}") == "{a: 1}"
    assert content.parsed("12") == "12"


@pytest.mark.parametrize(
    ("said", "token"),
    [("The Boss", "The_Boss"), ("a.b>c", "a_b_c"), ("Ünï", "n"), ("x" * 99, "x" * 64), ("…", ""), ("-a-", "-a-")],
)
def test_a_name_becomes_a_token_of_a_subject(said: str, token: str) -> None:
    assert meaning.as_token(said) == token


def test_a_response_id_is_taken_for_unique_only_when_it_can_be() -> None:
    long = one(attributes={"gen_ai.response.id": "chatcmpl-C2hVqk0pZ2yFZ3V0W5qTn"})
    short = one(attributes={"gen_ai.response.id": "chatcmpl-7"})
    assert meaning.request_of(long) == "chatcmpl-C2hVqk0pZ2yFZ3V0W5qTn"
    assert meaning.request_of(short) == f"{TRACE}/chatcmpl-7"
    assert meaning.request_of(one()) == f"{TRACE}/{1:016x}"


def test_an_exception_that_was_handled_is_no_failure() -> None:
    raised = [("exception", {"exception.type": "KeyError"})]
    assert meaning.failure_of(one(events=raised)) is None
    failed = meaning.failure_of(one(events=raised, error="gone"))
    assert failed is not None
    assert (failed.type, failed.message) == ("KeyError", "gone")


def test_spans_that_are_their_own_ancestors_end_all_the_same() -> None:
    home = Home("p", TRACE, "trace", trace=TRACE)
    found = read(
        otlp.span(TRACE, 1, "a", parent=2), otlp.span(TRACE, 2, "b", parent=1), otlp.span(TRACE, 3, "c", parent=3)
    )
    writing = Writing(home, "x", b"")
    spans.write(writing, found, spans.Told())
    assert [draft.event for draft in writing.drafts] == ["started", *["step.ended"] * 3, "left"]


def test_the_same_request_has_the_same_numbers_in_every_run_of_its_own() -> None:
    def messages(run: str, digest: bytes) -> list[tuple[str, bytes, str]]:
        writing = Writing(Home("p", run, "named"), "x", digest)
        spans.write(writing, [one()], spans.Told())
        return writing.messages()

    assert messages("r", b"1") == messages("r", b"1")
    ids = {message_id for run in ("r", "s") for digest in (b"1", b"2") for _, _, message_id in messages(run, digest)}
    assert len(ids) == 4 * len(messages("r", b"1")), "the server drops a repeated id, whatever the subject"


def test_a_step_of_nothing_but_escapes_still_fits_into_a_message() -> None:
    nasty = "\1" * 5_000
    wild = {f"{nasty[:150]}{number}": nasty for number in range(60)}
    failed = [("exception", {"exception.message": nasty, "exception.stacktrace": nasty * 3})]
    writing = Writing(Home("p", TRACE, "trace", trace=TRACE), "x", b"")
    spans.write(writing, [one(nasty, wild, events=failed, error=nasty)], spans.Told())
    assert max(len(body) for _, body, _ in writing.messages()) < 256 * 1024


def test_a_resource_and_points_of_nothing_but_escapes_still_fit_into_messages() -> None:
    nasty = "\1" * 5_000
    resource = {f"{prefix}{nasty[:150]}{n}": nasty for n in range(60) for prefix in ("", "tracecraft.param.")}
    point = points.Point(nasty, 1.5, 0, {nasty: nasty}, resource, 1)
    writing = Writing(Home("p", "r", "named"), "x", b"")
    points.write(writing, [point] * 1_000)
    assert max(len(body) for _, body, _ in writing.messages()) < 256 * 1024


def test_attributes_of_the_span_go_before_those_of_the_resource() -> None:
    both = {"found": {"tracecraft.run": "mine"}, "resource": {"tracecraft.run": "ours", "tracecraft.project": "q"}}
    home, asked = home_of(**both, name="s", trace=TRACE, project="p")
    assert (home.project, home.run, home.origin, asked) == ("q", "mine", "named", False)
    home, asked = home_of({}, {}, name="s", trace=TRACE, project="p")
    assert (home.project, home.run, home.origin, asked) == ("p", TRACE, "trace", True)


def test_what_cannot_be_placed_is_counted_with_its_reason() -> None:
    request = otlp.traces([otlp.span(TRACE, 1, "a"), otlp.span("00" * 16, 2, "b"), otlp.span(TRACE, 0, "c")], "p")
    found = sorting.sort_spans(request, "p")
    assert (found.items, found.rejected.total()) == (3, 2)
    assert "traceId has 16 bytes, or only zeros" in found.why
    assert "spanId has 8 bytes, or only zeros" in found.why
