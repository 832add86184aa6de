"""Bodies of OTLP requests: decompressed within bounds, decoded in both encodings, answered in the same."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import zlib
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support import otlp
from tracecraft_bridge.otlp import inflation, messages, sorting, telemetry
from tracecraft_bridge.otlp.inflation import inflate
from tracecraft_bridge.otlp.refused import Refused

TRACE = "ab" * 16


def test_a_body_in_several_gzip_members_is_one_body() -> None:
    assert inflate(gzip.compress(b"one") + gzip.compress(b"two"), "gzip", 100) == b"onetwo"


@pytest.mark.parametrize("most", [10, 1_000_000])
def test_a_bomb_is_not_unfolded_further_than_allowed(most: int) -> None:
    with pytest.raises(Refused, match=f"more than {most} bytes") as refused:
        inflate(gzip.compress(bytes(most + 1)), "gzip", most)
    assert refused.value.status == 413
    assert len(inflate(gzip.compress(bytes(most)), "gzip", most)) == most


def test_many_small_members_are_bounded_together() -> None:
    with pytest.raises(Refused) as refused:
        inflate(gzip.compress(bytes(60)) * 2, "gzip", 100)
    assert refused.value.status == 413


def test_members_are_counted_so_that_a_million_empty_ones_are_not_looked_at() -> None:
    empty, most = gzip.compress(b""), inflation.MOST_MEMBERS
    assert inflate(empty * (most - 1) + b"\0" * 100_000 + gzip.compress(b"end"), "gzip", 100) == b"end"
    with pytest.raises(Refused, match=f"more than {most} members") as refused:
        inflate(empty * 900_000, "gzip", 100)
    assert refused.value.status == 413


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 300_000])
def test_a_body_is_whole_wherever_its_pieces_are_cut(size: int) -> None:
    plain = random.Random(size).randbytes(size)
    members = gzip.compress(plain) + gzip.compress(b"") + b"\0\0" + gzip.compress(plain)
    assert inflate(members, "gzip", 2 * size) == plain * 2


@pytest.mark.parametrize(
    "body",
    [b"plain", zlib.compress(b"x"), gzip.compress(b"x" * 999, mtime=0)[:20]],
    ids=["plain", "zlib", "cut short"],
)
def test_what_is_not_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        inflate(body, "gzip", 10_000)
    assert refused.value.status == 400


def test_the_json_of_otlp_is_read_as_it_is_specified() -> None:
    """Ids in hexadecimal digits, enums as numbers, 64 bits as text or as numbers, unknown fields passed over."""
    body = {
        "resourceSpans": [
            {
                "newer": True,
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "5B8EFFF798038103D269B633813FC60C",
                                "spanId": "eee19b7ec3c1b174",
                                "parentSpanId": "",
                                "kind": 2,
                                "startTimeUnixNano": "1544712660000000000",
                                "endTimeUnixNano": 1544712661000000000,
                                "attributes": [
                                    {"key": "traceId", "value": {"stringValue": "not hexadecimal"}},
                                    {"key": "n", "value": {"intValue": "7"}},
                                ],
                                "links": [{"traceId": "aa" * 16, "spanId": "bb" * 8}],
                            }
                        ]
                    }
                ],
            }
        ]
    }
    request = messages.decode("traces", messages.JSON, json.dumps(body).encode())
    (span,) = next(iter(sorting.sort_spans(request, "p").by_home.values()))
    assert (span.trace, span.id, span.parent) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "")
    assert (span.start, span.end, span.kind) == (1544712660000000, 1544712661000000, 2)
    assert span.attributes == {"traceId": "not hexadecimal", "n": 7}
    assert span.links == ("aa" * 16 + "/" + "bb" * 8,)


def test_both_encodings_decode_to_the_same() -> None:
    found = {"text": "t", "flag": True, "number": 1.5, "list": [1, "a"], "bytes": b"\0\1", "map": {"a": {"b": 2}}}
    request = otlp.traces([otlp.span(TRACE, 1, "s", found, parent=2, error="x", events=[("e", {"a": 1})])], "p")
    from_json = messages.decode("traces", messages.JSON, otlp.as_json(request))
    assert from_json == messages.decode("traces", messages.PROTOBUF, request.SerializeToString()) == request
    (span,) = next(iter(sorting.sort_spans(request, "p").by_home.values()))
    assert span.attributes == {**found, "bytes": "0001"}


def test_bytes_with_a_secret_are_shown_as_text_without_it() -> None:
    secret = "ghp_" + "a1B2" * 9
    found = {"key": f"\u00e9 {secret}".encode(), "inside": [secret.encode()], "broken": b"\xff" + secret.encode()}
    (span,) = telemetry.spans(otlp.traces([otlp.span(TRACE, 1, "s", found)], "p"))
    assert span.attributes == {
        "key": "\u00e9 [redacted:github-token]",
        "inside": ["[redacted:github-token]"],
        "broken": "\ufffd[redacted:github-token]",
    }


@pytest.mark.parametrize("said", [1e23, -1, 2**41, "9" * 30], ids=["1e23", "negative", "2^41", "text"])
def test_a_number_of_tokens_that_cannot_be_one_is_told_and_not_counted(said: Any) -> None:
    wrong = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": said, "gen_ai.usage.output_tokens": 5}
    request = otlp.traces([otlp.span(TRACE, 1, "a", wrong), otlp.span(TRACE, 2, "b", {"input_tokens": 7})], "p")
    found = sorting.sort_spans(request, "p")
    assert (found.items, found.rejected.total()) == (2, 0), "the span itself is taken"
    assert found.why.startswith("1 times: gen_ai.usage.input_tokens is ")
    assert "not counted" in found.why
    answer = ExportTraceServiceResponse.FromString(messages.accepted("traces", messages.PROTOBUF, 0, found.why))
    assert answer.partial_success.error_message == found.why


@given(body=st.binary(max_size=200), signal=st.sampled_from(["traces", "logs", "metrics"]))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_a_request_or_refused_and_nothing_else(body: bytes, signal: str) -> None:
    for encoding in (messages.PROTOBUF, messages.JSON):
        with contextlib.suppress(Refused):
            messages.decode(signal, encoding, body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "attributes", "key", "value"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(tree=_JSON)
@settings(max_examples=300, deadline=None)
def test_arbitrary_json_is_a_request_or_refused_and_nothing_else(tree: object) -> None:
    with contextlib.suppress(Refused):
        request = messages.decode("traces", messages.JSON, json.dumps(tree).encode())
        assert isinstance(request, ExportTraceServiceRequest)
        sorting.sort_spans(request, "p")


@pytest.mark.parametrize("message", ["", "why", "ä" * 200])
def test_a_refusal_is_a_status_of_google_rpc(message: str) -> None:
    told = Status.FromString(messages.status(messages.PROTOBUF, 14, message))
    assert (told.code, told.message) == (14, message)
    assert json.loads(messages.status(messages.JSON, 14, message)) == {"code": 14, "message": message}
