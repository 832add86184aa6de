"""The stub model as a server on loopback: it asks the script, and answers in the dialect of the question."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from tests.support.stub_model import chat, messages, responses
from tests.support.stub_model.numbered import numbered
from tests.support.stub_model.request import Dialect, Request
from tests.support.stub_model.script import Rule, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from tests.support.stub_model.pieces import Event
    from tests.support.stub_model.script import Answer, Reply

MODELS: Final = ("gpt-4o", "claude-opus-5-5", "stub-model")
"""What ``/v1/models`` lists; every other name is answered too."""

_DIALECTS: Final[dict[str, Dialect]] = {
    "/chat/completions": "chat",
    "/responses": "responses",
    "/messages": "messages",
}
_ERRORS: Final = {"chat": chat.error, "responses": chat.error, "messages": messages.error}

UNSCRIPTED: Final = 400
"""How a request is refused that no rule is for: a status at which no client tries again."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what it was answered."""

    request: Request
    reply: Reply


class StubModel:
    """A model that answers by a script, for ``with``; it keeps what it was asked and knows what it has told to cost.

    Tokens are told as each dialect can: OpenAI's does not know written caches, which are plain input there;
    Anthropic's does not know reasoning, which is plain output there. `usage` counts them so.
    """

    def __init__(self, rules: Iterable[Rule] = (), *, port: int = 0) -> None:
        self.rules = list(rules)
        self.exchanges: list[Exchange] = []
        self.unexpected: list[Request] = []
        """Requests that no rule was for; they were refused."""
        self._lock = threading.Condition()
        self._numbers, self._calls = itertools.count(1), itertools.count(1)
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="stub-model", daemon=True)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``: the base of Anthropic's clients."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """``…/v1``: the base of OpenAI's clients."""
        return f"{self.url}/v1"

    def answer(
        self,
        *answers: Answer,
        system: str | None = None,
        text: str | None = None,
        model: str | None = None,
        tool: str | None = None,
        turn: int | None = None,
        when: Callable[[Request], bool] | None = None,
        forever: bool = False,
    ) -> Rule:
        """Add a rule: to requests that it means, these answers, in this order. Earlier rules go first; see `Rule`."""
        rule = Rule(answers, system, text, model, tool, turn, when, forever)
        with self._lock:
            self.rules.append(rule)
        return rule

    @property
    def requests(self) -> list[Request]:
        """What it was asked, in the order in which it was answered; without those that no rule was for."""
        return [exchange.request for exchange in list(self.exchanges)]

    def wait_for_requests(self, count: int, patience: float = 30.0) -> list[Request]:
        """Wait until it was asked so often (its answers may be held back by a gate); returns all requests."""
        with self._lock:
            asked = self._lock.wait_for(lambda: len(self.exchanges) >= count, patience)
        assert asked, f"the model was asked {len(self.exchanges)} times in {patience:.0f} s, expected {count}"
        return self.requests

    def usage(self, when: Callable[[Request], bool] | None = None) -> Usage:
        """What all answers together cost, or those to some of the requests."""
        chosen = (one for one in list(self.exchanges) if when is None or when(one.request))
        return sum((told(one.request.dialect, one.reply.usage) for one in chosen), Usage())

    @property
    def left(self) -> list[Rule]:
        """Rules with answers that nobody has asked for; those that answer for ever are never among them."""
        return [rule for rule in self.rules if not rule.forever and rule.given < len(rule.answers)]

    def reply_to(self, request: Request) -> Reply | None:
        """The script's next answer to this; it is kept. None: there is none."""
        with self._lock:
            answer = next((one for rule in self.rules if (one := rule.answer(request)) is not None), None)
            reply = answer(request) if callable(answer) else answer
            self.keep(request, reply)
            self._lock.notify_all()
        if reply is None:
            return None
        if reply.gate is not None:
            reply.gate.wait()
        time.sleep(reply.delay)
        return reply

    def keep(self, request: Request, reply: Reply | None) -> None:
        """Remember an exchange, one at a time, before it is answered."""
        if reply is None:
            self.unexpected.append(request)
        else:
            self.exchanges.append(Exchange(request, reply))

    def render(self, request: Request, reply: Reply) -> Mapping[str, Any] | Iterable[Event]:
        """The reply in the dialect of the request: JSON, or events when it wants to have them."""
        with self._lock:
            ready = numbered(reply, next(self._numbers), lambda: next(self._calls))
        match request.dialect:
            case "chat":
                return chat.stream(request, ready) if request.stream else chat.whole(request, ready)
            case "responses":
                return responses.stream(request, ready) if request.stream else responses.whole(request, ready)
            case "messages":
                return messages.stream(request, ready) if request.stream else messages.whole(request, ready)

    def start(self) -> StubModel:
        """Answer from now on."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Answer no more."""
        for exchange in self.exchanges:
            if exchange.reply.gate is not None:
                exchange.reply.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> StubModel:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def told(dialect: Dialect, used: Usage) -> Usage:
    """The buckets in which a dialect can tell of these tokens."""
    if dialect == "messages":
        return Usage(used.input, used.cache_read, used.cache_write, used.output + used.reasoning)
    return Usage(used.input + used.cache_write, used.cache_read, 0, used.output, used.reasoning)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, model: StubModel, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.model = model

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed or gave up in the middle of an answer is nothing to write about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `StubModel.exchanges` has it all."""

    def do_HEAD(self) -> None:
        self._send(b"", 200)

    def do_GET(self) -> None:
        listed = [{"id": name, "object": "model", "created": 1, "owned_by": "stub", "type": "model"} for name in MODELS]
        self._send_json({"object": "list", "data": listed, "models": [], "has_more": False})

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        path = self.path.partition("?")[0].rstrip("/")
        if path.endswith("/count_tokens"):
            return self._send_json({"input_tokens": len(json.dumps(body)) // 4})
        dialect = next((name for end, name in _DIALECTS.items() if path.endswith(end)), None)
        if dialect is None:
            return self._send_json(chat.error(404, f"the stub model does not know {path}"), 404)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return self._answer(Request(dialect, self.path, headers, body))

    def _answer(self, request: Request) -> None:
        error, model = _ERRORS[request.dialect], self.server.model
        reply = model.reply_to(request)
        if reply is None:
            return self._send_json(error(UNSCRIPTED, f"the script has no answer to this: {_said(request)}"), UNSCRIPTED)
        if reply.error is not None:
            return self._send_json(error(reply.error, reply.text), reply.error)
        rendered = model.render(request, reply)
        if request.stream:
            return self._send_events(rendered)  # type: ignore[arg-type]
        return self._send_json(rendered)  # type: ignore[arg-type]

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _chunk(self) -> bytes:
        chunk = self.rfile.read(int(self.rfile.readline().strip() or b"0", 16))
        self.rfile.readline()
        return chunk

    def _send_json(self, value: Mapping[str, Any], status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status)

    def _send(self, body: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status >= 400:  # the clients of both services wait so long before they try again, instead of seconds
            self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def _send_events(self, events: Iterable[Event]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(event.encode())
        self.close_connection = True


def _said(request: Request) -> str:
    last = request.text[-300:]
    return f"{request.path}, model {request.model}, turn {request.turn}, tools {request.tools[:20]}, it ends {last!r}"
