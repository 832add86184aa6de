"""The bridge as a child of the stack: told everything by its environment, ready when /healthz is 200."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tracecraft_stack.child import Command
from tracecraft_stack.environment import bridge_environment
from tracecraft_stack.ports import LOOPBACK, free_port
from tracecraft_stack.server import Server, http_status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class BridgeServer(Server):
    """``python -m tracecraft_bridge`` of this Python.

    Args:
        folder: its working folder.
        settings: ``TRACECRAFT_SERVER``, ``TRACECRAFT_POSTGRES`` and, with SeaweedFS, ``TRACECRAFT_S3_*``.
        port: of /metrics and /healthz.
        otlp_port: where OpenTelemetry is received; used when the settings have a ``TRACECRAFT_OTLP_TOKEN``.
    """

    name = "bridge"
    stop_patience = 20.0

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str],
        port: int = 0,
        otlp_port: int = 0,
        log: Path | None = None,
        record: Path | None = None,
    ) -> None:
        super().__init__(folder, log=log, record=record)
        self.port = port or free_port()
        self._settings = dict(settings)
        self.otlp_token = self._settings.get("TRACECRAFT_OTLP_TOKEN", "")
        """What exporters must send; empty: nothing is received."""
        self.otlp_port = (otlp_port or free_port([self.port])) if self.otlp_token else 0

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>`` with /metrics and /healthz."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def otlp_url(self) -> str:
        """``OTEL_EXPORTER_OTLP_ENDPOINT``; empty when nothing is received."""
        return f"http://{LOOPBACK}:{self.otlp_port}" if self.otlp_port else ""

    def prepare(self) -> None:
        """Nothing: the environment says it all."""

    def command(self) -> Command:
        """The addresses of this stack on top of `bridge_environment`."""
        own = {**self._settings, "TRACECRAFT_BRIDGE_LISTEN": f"{LOOPBACK}:{self.port}"}
        if self.otlp_port:
            own["TRACECRAFT_OTLP_LISTEN"] = f"{LOOPBACK}:{self.otlp_port}"
        argv = (sys.executable, "-m", "tracecraft_bridge")
        return Command(argv=argv, env={**bridge_environment(), **own}, cwd=self.folder)

    def is_ready(self) -> bool:
        """/healthz is 200 when it reads the log and writes to PostgreSQL."""
        return http_status(self.port, "/healthz") == 200

    def listens_on(self) -> tuple[int, ...]:
        """Its port, and the one of the receiver."""
        return (self.port, self.otlp_port) if self.otlp_port else (self.port,)
