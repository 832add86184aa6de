"""Clients of ``tracecraft mcp``: the mcp package's own, 1.x or 2.x, and a bare one that sees every byte of the wire."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import jsonschema
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ARGV: Final = ("-m", "tracecraft_cli", "mcp")
INITIALIZE: Final = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "bare", "version": "1"},
}


class Refused(Exception):
    """A tool said no."""


class Client:
    """The package's client; everything as the JSON of the protocol, which is the same in both versions."""

    def __init__(self, session: Any, started: Any) -> None:
        self.session, self.started = session, _json(started)
        self.called: set[str] = set()
        self._results: dict[str, dict[str, Any]] = {}

    async def tools(self) -> list[dict[str, Any]]:
        """The tools as they are listed."""
        listed = _json(await self.session.list_tools())["tools"]
        self._results = {tool["name"]: tool["outputSchema"] for tool in listed}
        return list(listed)

    async def raw(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a call, refused or not."""
        return _json(await self.session.call_tool(name, arguments))

    async def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured result, checked against its schema. Raises `Refused` with the words that a model gets."""
        if not self._results:
            await self.tools()
        found = await self.raw(name, **arguments)
        text = found["content"][0]["text"]
        if found.get("isError"):
            raise Refused(text)
        structured: dict[str, Any] = found["structuredContent"]
        jsonschema.validate(structured, self._results[name])
        assert json.loads(text) == structured
        self.called.add(name)
        return structured

    async def read(self, uri: str) -> Any:
        """A resource, decoded."""
        found = _json(await self.session.read_resource(uri))["contents"]
        assert [one["mimeType"] for one in found] == ["application/json"]
        return json.loads(found[0]["text"])


def _json(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


@contextlib.asynccontextmanager
async def connect(agent: str, **environment: str) -> AsyncIterator[Client]:
    """A server for one agent, and the package's client of it."""
    env = {**os.environ, "TRACECRAFT_AGENT": agent, **environment}
    parameters = StdioServerParameters(command=sys.executable, args=list(ARGV), env=env)
    async with stdio_client(parameters) as (reading, writing), ClientSession(reading, writing) as session:
        yield Client(session, await session.initialize())


class Bare:
    """A client that writes and reads lines itself; a line that is not of the protocol is an error."""

    def __init__(self, agent: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *ARGV],
            env={**os.environ, "TRACECRAFT_AGENT": agent, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._next = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.notifications: list[dict[str, Any]] = []

    def send(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a request; its id."""
        self._next += 1
        self._write({"id": self._next, "method": method, "params": params or {}})
        return self._next

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Send a notification."""
        self._write({"method": method, "params": params or {}})

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def answer(self, id_: int) -> dict[str, Any]:
        """The answer to a request."""
        assert self.process.stdout is not None
        while id_ not in self._answers:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {self.process.stderr.read() if self.process.stderr else ''}"
            self._take(line)
        return self._answers.pop(id_)

    def _take(self, line: str) -> None:
        assert line.startswith("{"), f"not of the protocol: {line!r}"
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0", line
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self.notifications.append(message)

    def begin(self) -> Bare:
        """The handshake."""
        assert "result" in self.answer(self.send("initialize", INITIALIZE))
        self.notify("notifications/initialized")
        return self

    def start(self, tool: str, /, meta: dict[str, Any] | None = None, **arguments: Any) -> int:
        """Begin a call; the id of its request."""
        params = {"name": tool, "arguments": arguments} | ({"_meta": meta} if meta else {})
        return self.send("tools/call", params)

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool. Raises `Refused`."""
        return outcome(self.answer(self.start(tool, **arguments)))

    def leave(self) -> tuple[int, str]:
        """Close the server's input and wait for its end; the exit code and what it said on standard error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None
        out, err = self.process.communicate(timeout=30)
        for line in out.splitlines():
            self._take(line)
        return self.process.returncode, err

    def kill(self) -> None:
        """End it without a chance to say anything."""
        self.process.kill()
        self.process.communicate()


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """The structured result of an answer. Raises `Refused`."""
    result = answer["result"]
    if result.get("isError"):
        raise Refused(result["content"][0]["text"])
    structured: dict[str, Any] = result["structuredContent"]
    return structured


@contextlib.contextmanager
def bare(agent: str, *, begin: bool = True, **environment: str) -> Iterator[Bare]:
    """A bare client, past its handshake unless it is not to ``begin``."""
    client = Bare(agent, environment)
    try:
        yield client.begin() if begin else client
    finally:
        client.kill()
