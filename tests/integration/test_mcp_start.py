"""The start of `tracecraft mcp`: Codex asks its model a second after it has started a server, ready or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WATCH = """
import os, sys, threading

def hook(event, arguments):
    if event == "import" and threading.current_thread() is threading.main_thread():
        os.write(2, f"import {arguments[0]}\\n".encode())

sys.addaudithook(hook)
"""
HEAVY = {"mcp", "pydantic", "httpx", "nats", "rich", "psycopg", "boto3", "tracecraft.async_session"}
"""What takes longer to import than everything that the list of tools needs."""


def test_the_tools_are_listed_without_a_bus_and_without_importing_what_only_a_call_needs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    asked = [("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}}), ("tools/list", {})]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tracecraft_cli", "mcp"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TRACECRAFT_SERVER": "nats://127.0.0.1:9"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        for number, (method, params) in enumerate(asked):
            server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n")
            server.stdin.flush()
            answer = json.loads(server.stdout.readline())
        server.stdin.close()
        imported = {line.removeprefix("import ").strip() for line in server.stderr}
    assert len(answer["result"]["tools"]) == 16
    assert "tracecraft_cli.mcp.server" in imported
    assert imported & HEAVY == set()
