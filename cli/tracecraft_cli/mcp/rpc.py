"""`Conversation`: JSON-RPC with one client, a message a line. Requests run side by side, and end when cancelled."""

# ruff: noqa: TID253 - the server imports this module when it runs

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Mapping

    Notify = Callable[[str, Mapping[str, Any]], Awaitable[None]]
    """Sends a notification: its method and its parameters."""
    Answer = Callable[[str, Mapping[str, Any], Notify], Awaitable[dict[str, Any]]]
    """The result for a method and its parameters. Raises `Unanswerable`."""

logger = logging.getLogger(__name__)

NO_REQUEST: Final = -32600
"""Error code of JSON-RPC: invalid request."""
UNKNOWN: Final = -32601
"""Error code of JSON-RPC: there is no such method."""
WRONG: Final = -32602
"""Error code of JSON-RPC: invalid parameters."""
BROKEN: Final = -32603
"""Error code of JSON-RPC: internal error."""

SHOWN: Final = 200
"""Characters of a line that is no message, as it is told in the log."""


class Unanswerable(Exception):
    """A request that gets an error of the protocol. Attributes: ``code``, ``message``, ``data``."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Conversation:
    """What is said with one client."""

    def __init__(self, answer: Answer, send: Callable[[str], Awaitable[None]]) -> None:
        self._answer, self._send = answer, send
        self._sending = asyncio.Lock()
        self._running: dict[str | float, asyncio.Task[None]] = {}

    async def follow(self, lines: AsyncIterable[str]) -> None:
        """Take every line until there are no more; what was asked goes on until it is done, or until `end`."""
        async for line in lines:
            self._take(line)

    async def end(self) -> None:
        """Answer no more."""
        running = set(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _take(self, line: str) -> None:
        message = _message(line)
        if message is None or "method" not in message:  # no answers either: nothing is ever asked of the client
            logger.warning("the client sent a line that is no request: %r", line[:SHOWN])
            return
        if "id" not in message:
            self._note(message["method"], _mapping(message.get("params")))
            return
        id_ = message["id"]
        if not _is_id(id_):
            logger.warning("the client sent a request whose id is neither text nor number: %r", line[:SHOWN])
            return
        task = asyncio.create_task(self._respond(id_, message))
        self._running[id_] = task
        task.add_done_callback(lambda done: self._forget(id_, done))

    def _note(self, method: Any, params: Mapping[str, Any]) -> None:
        """A notification; the one that matters takes a request back."""
        id_ = params.get("requestId")
        if method == "notifications/cancelled" and _is_id(id_) and id_ in self._running:
            self._running[id_].cancel()

    def _forget(self, id_: str | float, task: asyncio.Task[None]) -> None:
        if self._running.get(id_) is task:
            del self._running[id_]

    async def _respond(self, id_: str | float, message: Mapping[str, Any]) -> None:
        """Answer a request; one that is cancelled gets no answer, as the protocol wants it."""
        try:
            said = {"result": await self._result(message)}
        except Unanswerable as error:
            told = {"code": error.code, "message": error.message}
            said = {"error": told if error.data is None else {**told, "data": error.data}}
        except Exception:
            logger.exception("the request %s could not be answered", message["method"])
            said = {"error": {"code": BROKEN, "message": "an error in tracecraft, told on its standard error"}}
        await self._say({"id": id_, **said})

    async def _result(self, message: Mapping[str, Any]) -> dict[str, Any]:
        method, params = message["method"], message.get("params")
        if not isinstance(method, str) or not (params is None or isinstance(params, dict)):
            raise Unanswerable(NO_REQUEST, "a request has a method, which is text, and params, which are an object")
        return await self._answer(method, params or {}, self._notify)

    async def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        await self._say({"method": method, "params": params})

    async def _say(self, message: Mapping[str, Any]) -> None:
        line = _line({"jsonrpc": "2.0", **message})
        async with self._sending:
            await self._send(line)


def _message(line: str) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _line(message: Mapping[str, Any]) -> str:
    try:
        return msgspec.json.encode(message).decode() + "\n"
    except UnicodeEncodeError:  # the name of a file may be no text
        text = json.dumps(message, ensure_ascii=False)
        return text.encode("utf-8", "replace").decode() + "\n"
