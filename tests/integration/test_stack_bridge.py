"""The bridge as part of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from tracecraft_stack.bridge import BridgeServer
from tracecraft_stack.server import http_status

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tracecraft_stack import Stack


def test_the_bridge_of_a_stack_is_healthy(stack: Stack) -> None:
    assert stack.state.bridge_url == f"http://127.0.0.1:{stack.bridge.port}"
    assert http_status(stack.bridge.port, "/healthz") == 200


def test_the_bridge_is_told_the_addresses_of_its_stack(stack: Stack) -> None:
    told = psutil.Process(stack.bridge.pid).environ()
    assert told["TRACECRAFT_SERVER"] == stack.state.nats_url
    assert told["TRACECRAFT_POSTGRES"] == stack.state.postgres_dsn
    assert "TRACECRAFT_S3_ENDPOINT" not in told, "this stack has no SeaweedFS"


def test_the_callers_own_servers_are_kept_from_the_bridge(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACECRAFT_CREDS", "TRACECRAFT_S3_ENDPOINT", "NATS_URL", "PGHOST", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("TRACECRAFT_RETENTION", "3d")
    monkeypatch.setenv("NO_PROXY", "example.org")
    told = BridgeServer(server_folder, settings={"TRACECRAFT_SERVER": "nats://here"}).command().env
    assert "elsewhere" not in told.values()
    assert told["TRACECRAFT_RETENTION"] == "3d"
    assert told["NO_PROXY"] == "example.org,127.0.0.1"
    assert told["TRACECRAFT_SERVER"] == "nats://here"
