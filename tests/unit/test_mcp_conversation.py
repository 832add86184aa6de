"""What `tracecraft mcp` answers, line by line, without a bus: revisions of the protocol, wrong requests, cancelling."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft.integrations.toolbox import TOOLS
from tracecraft_cli.mcp.protocol import HANDSHAKE, REVISION, SERVER, STATELESS, Protocol
from tracecraft_cli.mcp.rpc import Conversation
from tracecraft_cli.mcp.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tracecraft_cli.mcp.rpc import Answer, Notify


class Client:
    """The other end of a conversation."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.conversation = Conversation(answer or Protocol(Service({}), "1.2").answer, self._hear)
        self.following = asyncio.create_task(self.conversation.follow(self._said()))

    async def _hear(self, line: str) -> None:
        assert line.endswith("\n")
        message = json.loads(line.encode("utf-8"))
        assert message.pop("jsonrpc") == "2.0"
        self.heard.put_nowait(message)

    async def _said(self) -> AsyncIterator[str]:
        while (line := await self.lines.get()) is not None:
            yield line

    def say(self, method: str, /, **more: Any) -> None:
        """Send a message."""
        self.lines.put_nowait(json.dumps({"jsonrpc": "2.0", "method": method, **more}))

    async def ask(self, method: str, /, **params: Any) -> dict[str, Any]:
        """The answer to a request."""
        self.say(method, id="?", params=params)
        answer = await self.heard.get()
        assert answer.pop("id") == "?"
        return answer

    async def leave(self) -> None:
        """Say no more, and wait for nothing."""
        self.lines.put_nowait(None)
        await self.following
        await self.conversation.end()
        assert self.heard.empty()


@pytest.mark.parametrize(
    ("wanted", "agreed"), [*((one, one) for one in HANDSHAKE), ("2030-01-01", "2025-11-25")], ids=str
)
async def test_a_client_gets_the_revision_that_it_wants_or_the_newest_with_a_handshake(
    wanted: str, agreed: str
) -> None:
    client = Client()
    result = (await client.ask("initialize", protocolVersion=wanted, capabilities={}))["result"]
    assert (result["protocolVersion"], result["serverInfo"]["version"]) == (agreed, "1.2")
    assert "claim() a task before you work on it" in result["instructions"]
    client.say("notifications/initialized")
    assert await client.ask("ping") == {"result": {}}
    assert [one["name"] for one in (await client.ask("tools/list"))["result"]["tools"]] == [one.name for one in TOOLS]
    await client.leave()


async def test_without_a_handshake_every_request_names_its_revision_and_every_result_says_who_answers() -> None:
    client = Client()
    newest = {"_meta": {REVISION: STATELESS[-1]}}
    found = (await client.ask("server/discover", **newest))["result"]
    assert (found["supportedVersions"], set(found["capabilities"])) == (
        list(STATELESS),
        {"tools", "resources", "prompts"},
    )
    listed = (await client.ask("tools/list", **newest))["result"]
    assert (len(listed["tools"]), listed["ttlMs"], listed["cacheScope"]) == (16, 0, "private")
    prompt = (await client.ask("prompts/get", name="standup", **newest))["result"]
    assert "ttlMs" not in prompt
    for result in (found, listed, prompt):
        assert (result["resultType"], result["_meta"][SERVER]["name"]) == ("complete", "tracecraft")
    refused = (await client.ask("tools/call", name="rm", **newest))["result"]
    assert (refused["isError"], set(refused["_meta"])) == (True, {"tracecraft/problem", SERVER})
    other = await client.ask("tools/list", _meta={REVISION: "2030-01-01"})
    assert (other["error"]["code"], other["error"]["data"]["supported"]) == (-32022, list(STATELESS))
    await client.leave()


@pytest.mark.parametrize(
    "line",
    ["this is no JSON", "{}", "[1, 2]", "7", '{"id": 1, "result": {}}', '{"id": null, "method": "ping"}', '"ping"'],
)
async def test_a_line_that_is_no_request_is_not_answered_and_the_next_one_is(
    line: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client()
    client.lines.put_nowait(line)
    assert await client.ask("ping") == {"result": {}}
    assert "the client sent a" in caplog.text
    await client.leave()


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nope", {}, -32601),
        ("initialize", {}, -32602),
        ("tools/call", {"arguments": {}}, -32602),
        ("tools/call", {"name": "whoami", "arguments": [1]}, -32602),
        ("tools/list", {"_meta": 7}, -32602),
        ("prompts/get", {"name": "join", "arguments": {"pattern": 7}}, -32602),
        ("prompts/get", {"name": "sudo"}, -32602),
        ("resources/read", {"uri": 7}, -32602),
        ("resources/read", {"uri": "file:///etc/passwd"}, -32002),
        (7, {}, -32600),
        ("ping", [1], -32600),
    ],
    ids=str,
)
async def test_a_wrong_request_gets_the_error_of_the_protocol(method: Any, params: Any, code: int) -> None:
    client = Client()
    client.lines.put_nowait(json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}))
    answer = await client.heard.get()
    assert (answer["id"], answer["error"]["code"]) == (0, code)
    await client.leave()


async def test_a_request_that_is_cancelled_is_not_answered_and_others_are() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def answer(method: str, _: Mapping[str, Any], __: Notify) -> dict[str, Any]:
        if method == "wait":
            try:
                began.set()
                await asyncio.Event().wait()
            finally:
                ended.set()
        return {}

    client = Client(answer)
    client.say("wait", id=1)
    await began.wait()
    client.say("notifications/cancelled", params={"requestId": "1"})
    client.say("notifications/cancelled", params={"requestId": [1]})
    assert await client.ask("ping") == {"result": {}}
    assert not ended.is_set()
    client.say("notifications/cancelled", params={"requestId": 1})
    await ended.wait()
    assert await client.ask("ping") == {"result": {}}
    client.say("wait", id=2)
    await client.leave()


async def test_an_error_of_ours_is_told_in_the_log_and_not_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(_: str, __: Mapping[str, Any], ___: Notify) -> dict[str, Any]:
        raise RuntimeError("the inside")

    client = Client(answer)
    error = (await client.ask("ping"))["error"]
    assert (error["code"], "inside" in error["message"]) == (-32603, False)
    assert "the inside" in caplog.text
    await client.leave()


async def test_every_line_is_json_and_utf8_whatever_is_in_it() -> None:
    async def answer(_: str, params: Mapping[str, Any], __: Notify) -> dict[str, Any]:
        return {"number": float("nan"), "text": "é\n", **({"name": "\udcff"} if params else {})}

    client = Client(answer)
    assert (await client.ask("any"))["result"] == {"number": None, "text": "é\n"}
    assert (await client.ask("any", name=True))["result"]["name"] == "?"
    await client.leave()
