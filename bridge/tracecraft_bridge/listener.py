"""``/healthz`` and ``/metrics``, in a thread of their own: they answer while the loop is busy."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from tracecraft_bridge.health import Health
    from tracecraft_bridge.metrics import Metrics

logger = logging.getLogger(__name__)


class Listener:
    """The HTTP server. `start` binds, `stop` closes."""

    def __init__(self, address: tuple[str, int], health: Health, metrics: Metrics) -> None:
        self._server = _Server(address, _Handler)
        self._server.health, self._server.metrics = health, metrics
        self._thread = threading.Thread(target=self._server.serve_forever, name="listener", daemon=True)

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
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    health: Health
    metrics: Metrics


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10
    protocol_version = "HTTP/1.1"
    server_version = "tracecraft-bridge"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self.server.health.publish_to(self.server.metrics)
            self._send(200, CONTENT_TYPE_LATEST, generate_latest(self.server.metrics.registry))
        elif path == "/healthz":
            status, body = self.server.health.report()
            self._send(status, "application/json", json.dumps(body).encode() + b"\n")
        else:
            self._send(404, "text/plain; charset=utf-8", b"/healthz and /metrics are here\n")

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is not worth a line."""
        logger.debug(format, *args)
