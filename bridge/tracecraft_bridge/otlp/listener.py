"""The HTTP side: who may send, how much, in which form; each connection has a thread of its own."""

from __future__ import annotations

import hmac
import logging
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.otlp import messages
from tracecraft_bridge.otlp.inflation import inflate
from tracecraft_bridge.otlp.places import KNOWN, UNKNOWN, Places
from tracecraft_bridge.otlp.refused import Refused, later

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_bridge.metrics import Metrics
    from tracecraft_bridge.otlp.receiver import Receiver

logger = logging.getLogger(__name__)

MAX_BODY: Final = 20 * 1024 * 1024
"""Bytes of a body, as it comes and decompressed; the collector's own limit is the same."""
TOKEN_HEADER: Final = "x-tracecraft-token"
PROJECT_HEADER: Final = "x-tracecraft-project"
"""Where telemetry goes that names no project: for exporters that let one set headers and no resource attributes."""
BEARER: Final = "bearer "
_CHUNK_LINE: Final = 1_024
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_CHUNK_LENGTH: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")


class OtlpListener:
    """The HTTP server. `start` begins to answer, `stop` closes.

    Args:
        address: host and port; port 0: a free one.
        token: what a request must carry.
        receiver: takes the bodies.
        unready: why nothing can be taken now, or ``None``.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: str,
        receiver: Receiver,
        metrics: Metrics,
        unready: Callable[[], str | None],
    ) -> None:
        self._server = _Server(address, _Handler)
        self._server.token, self._server.receiver = token, receiver
        self._server.metrics, self._server.unready = metrics, unready
        self._thread = threading.Thread(target=self._server.serve_forever, name="otlp", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the socket."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = KNOWN + UNKNOWN
    token: str
    receiver: Receiver
    metrics: Metrics
    unready: Callable[[], str | None]

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # address and handler
        self.places = Places()

    def process_request(self, request: Any, client_address: object) -> None:
        """One connection more, of which nobody knows yet whether it may send."""
        self.places.enter(request, time.monotonic())
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection is over, wherever it got to."""
        self.places.leave(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Twice in a second, and after each new connection."""
        super().service_actions()
        self.places.expire(time.monotonic())

    def handle_error(self, request: Any, client_address: object) -> None:
        """A connection ended in the middle of an answer: by its exporter, or by us because it was too slow."""
        logger.debug("a connection broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30
    protocol_version = "HTTP/1.1"
    server_version = "tracecraft-otlp"
    sys_version = ""

    def do_POST(self) -> None:
        """Take one export request."""
        begun = time.monotonic()
        signal = messages.SIGNALS.get(self.path.partition("?")[0], "")
        encoding = messages.PROTOBUF
        try:
            status, body, headers = 200, self._taken(signal), {}
            encoding = messages.encoding_of(self.headers.get("Content-Type", ""))
        except Refused as refused:
            status, headers = refused.status, self._headers_of(refused)
            encoding = self._understood()
            body = messages.status(encoding, refused.code, refused.message)
        except Exception:
            logger.exception("an export request broke the receiver")
            status, headers, encoding = 500, {"Connection": "close"}, self._understood()
            body = messages.status(encoding, 13, "the receiver failed; its log says how")
        self.server.metrics.otlp_requests.labels(signal or "unknown", str(status)).observe(time.monotonic() - begun)
        self._send(status, encoding, body, headers)

    def do_GET(self) -> None:
        """Say what this is for."""
        refused = Refused(405, "POST /v1/traces, /v1/logs and /v1/metrics are here")
        body = messages.status(messages.JSON, refused.code, refused.message)
        self._send(refused.status, messages.JSON, body, {"Allow": "POST"})

    def _taken(self, signal: str) -> bytes:
        if not self._is_allowed():
            raise Refused(401, f"no token, or not the right one: send Authorization: Bearer …, or {TOKEN_HEADER}")
        if not self.server.places.admit(self.connection):
            raise later(f"{KNOWN} connections are open")
        if not signal:
            raise Refused(404, f"{self.path[:80]!r} is not here: {', '.join(messages.SIGNALS)} are")
        encoding = messages.encoding_of(self.headers.get("Content-Type", ""))
        unready = self.server.unready()
        if unready is not None:
            raise later(unready, 2)
        body = inflate(self._body(), self.headers.get("Content-Encoding", ""), MAX_BODY)
        return self.server.receiver.take(signal, encoding, body, self.headers.get(PROJECT_HEADER, ""))

    def _is_allowed(self) -> bool:
        said = self.headers.get("Authorization", "")
        token = said[len(BEARER) :].strip() if said.lower().startswith(BEARER) else self.headers.get(TOKEN_HEADER, "")
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())

    def _understood(self) -> str:
        """The encoding of the request, as far as it has one that we know."""
        try:
            return messages.encoding_of(self.headers.get("Content-Type", ""))
        except Refused:
            return messages.JSON

    def _headers_of(self, refused: Refused) -> dict[str, str]:
        """The body of a request that was refused may not have been read: the connection cannot be used again."""
        wait = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
        return {**wait, "Connection": "close"}

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        said = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(said):
            raise Refused(411, f"a body with its Content-Length is needed, not with {said[:80]!r}")
        if int(said) > MAX_BODY:
            raise Refused(413, f"the body has {said} bytes, at most {MAX_BODY} are taken: export smaller batches")
        return self._exactly(int(said))

    def _chunks(self) -> bytes:
        found: list[bytes] = []
        size = 0
        while True:
            line = self.rfile.readline(_CHUNK_LINE).partition(b";")[0].strip()
            if not _CHUNK_LENGTH.fullmatch(line):
                raise Refused(400, "the body is not in chunks, as its Transfer-Encoding says")
            length = int(line, 16)
            size += length
            if size > MAX_BODY:
                raise Refused(413, f"the body has more than {MAX_BODY} bytes: export smaller batches")
            if length == 0:
                break
            found.append(self._exactly(length))
            self.rfile.readline(_CHUNK_LINE)
        while self.rfile.readline(_CHUNK_LINE).strip():  # trailers
            pass
        return b"".join(found)

    def _exactly(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) != length:
            raise Refused(400, f"the body ended after {len(body)} of {length} bytes")
        return body

    def _send(self, status: int, encoding: str, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", encoding)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The metrics count requests."""
        logger.debug(format, *args)
