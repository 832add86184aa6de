"""What the receiver of OpenTelemetry refuses, and which connections it keeps."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.status_pb2 import Status

from tests.support.otlp import JSON, PROTOBUF, Where, chat, post, send, trace_id, traces
from tracecraft_bridge.otlp import places

if TYPE_CHECKING:
    from tracecraft_stack import Stack


@pytest.fixture
def where(stack: Stack) -> Where:
    """The receiver of the shared stack."""
    return Where(stack.state.otlp_url, stack.state.otlp_token)


def bomb() -> bytes:
    """A few kilobytes that are 64 megabytes."""
    return gzip.compress(bytes(1 << 26))


SPANS = traces([chat(1, "ab" * 16)], "refused").SerializeToString()

REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "wrong-token": (401, {"token": "not-the-token-of-this-one"}),
    "no-token": (401, {"token": ""}),
    "foreign-letters": (401, {"token": "tokèn"}),
    "path": (404, {"path": "/v1/profiles"}),
    "content-type": (415, {"content_type": "text/plain"}),
    "encoding": (415, {"headers": {"Content-Encoding": "br"}}),
    "bomb": (413, {"body": "bomb", "headers": {"Content-Encoding": "gzip"}}),
    "too-large": (413, {"body": bytes(21 * 1024 * 1024)}),
    "no-gzip": (400, {"headers": {"Content-Encoding": "gzip"}}),
    "half-gzip": (400, {"body": gzip.compress(SPANS)[:-12], "headers": {"Content-Encoding": "gzip"}}),
    "no-protobuf": (400, {"body": b"\xff\xff\xff\xff"}),
    "no-json": (400, {"body": b"{", "content_type": JSON}),
    "json-of-another-shape": (400, {"body": b'{"resourceSpans": {"a": [1]}}', "content_type": JSON}),
    "json-list": (400, {"body": b"[[1]]", "content_type": JSON}),
    "json-too-deep": (400, {"body": b"[" * 100_000, "content_type": JSON}),
    "id-in-base64": (
        400,
        {
            "body": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"q6urq6urq6urq6urq6urqw=="}]}]}]}',
            "content_type": JSON,
        },
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_wrong_request_is_told_what_is_wrong_in_its_own_encoding(where: Where, case: str) -> None:
    status, given = REFUSED[case]
    path, body = given.get("path", "/v1/traces"), given.get("body", SPANS)
    rest = {key: item for key, item in given.items() if key not in ("path", "body")}
    try:
        reply = post(where, path, bomb() if body == "bomb" else body, **rest)
    except (BrokenPipeError, ConnectionResetError):
        assert case == "too-large", "it may close before all of a large body was sent"
        return
    assert reply.status == status
    if given.get("content_type", PROTOBUF) == PROTOBUF:
        told = Status.FromString(reply.body)
        assert reply.headers["content-type"] == PROTOBUF
        code, message = told.code, told.message
    else:
        code, message = (json.loads(reply.body)[key] for key in ("code", "message"))
    assert code > 0
    assert message


@pytest.mark.parametrize("said", ["\xb2", "1_0", "+5", "9" * 5_000, "many"], ids=["two", "bar", "plus", "long", "word"])
def test_a_length_that_is_no_number_is_refused(where: Where, said: str) -> None:
    reply = post(where, "/v1/traces", b"", headers={"Content-Length": said})
    assert reply.status == 411
    assert "Content-Length" in Status.FromString(reply.body).message


def test_connections_that_never_show_the_token_lock_nobody_out(where: Where, project: str) -> None:
    request = traces([chat(1, trace_id())], project)
    with contextlib.ExitStack() as idle:
        opened = [idle.enter_context(connected(where)) for _ in range(places.UNKNOWN + 40)]
        assert send(where, request).status == 200
        opened[0].settimeout(30)
        assert opened[0].recv(1) == b"", "the oldest is closed"
        assert send(where, request).status == 200


@pytest.mark.parametrize("sent", [b"", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half a header"])
def test_a_connection_has_to_show_the_token_soon(where: Where, sent: bytes) -> None:
    with connected(where) as idle:
        idle.settimeout(25)  # less than the time that an exporter has between two requests
        idle.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while idle.recv(1_000):
                pass


def connected(where: Where) -> socket.socket:
    """A connection on which nothing was sent."""
    host, _, port = where.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)))


def test_an_exporter_that_shows_the_token_keeps_its_connection(where: Where, project: str) -> None:
    body = traces([chat(1, trace_id())], project).SerializeToString()
    headers = {"Content-Type": PROTOBUF, "x-tracecraft-token": where.token}
    connection = http.client.HTTPConnection(where.url.removeprefix("http://"), timeout=30)
    for _ in range(2):
        connection.request("POST", "/v1/traces", body, headers)
        with connection.getresponse() as answer:
            assert (answer.status, answer.read()) == (200, b"")
        kept = connection.sock
        with contextlib.ExitStack() as idle:
            for _ in range(places.UNKNOWN + 40):
                idle.enter_context(connected(where))
            assert send(where, traces([chat(2, trace_id())], project)).status == 200
        assert connection.sock is kept
    connection.close()


def test_a_request_in_chunks_is_taken(where: Where, project: str) -> None:
    connection = http.client.HTTPConnection(where.url.removeprefix("http://"), timeout=30)
    body = traces([chat(1, trace_id())], project).SerializeToString()
    headers = {"Content-Type": PROTOBUF, "x-tracecraft-token": where.token}
    connection.request("POST", "/v1/traces", iter([body[:100], body[100:]]), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_receiver_says_what_it_is_for(where: Where) -> None:
    reply = post(where, "/", b"", method="GET")
    assert reply.status == 405
    assert b"/v1/traces" in reply.body
