"""`Protocol`: the methods of the Model Context Protocol, and how its revisions differ.

Up to 2025-11-25 a client begins with ``initialize``. Since 2026-07-28 nothing precedes a request: each names its
revision. The mcp package speaks both, and takes longer to import than Codex waits before its first turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.mcp.rpc import UNKNOWN, WRONG, Unanswerable
from tracecraft_cli.mcp.service import INSTRUCTIONS, NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tracecraft_cli.mcp.rpc import Notify
    from tracecraft_cli.mcp.service import Progress, Service

    Params = Mapping[str, Any]

HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with ``initialize``, oldest first."""
STATELESS: Final = ("2026-07-28",)
"""Revisions that every request names."""

REVISION: Final = "io.modelcontextprotocol/protocolVersion"
"""Where a request names it, in its ``_meta``."""
SERVER: Final = "io.modelcontextprotocol/serverInfo"
"""Where a result then names us."""
OTHER_REVISION: Final = -32022
"""Error code of the protocol: a revision that we do not know."""

CAPABILITIES: Final = {
    "prompts": {"listChanged": False},
    "resources": {"listChanged": False, "subscribe": False},
    "tools": {"listChanged": False},
}
CACHEABLE: Final = frozenset(
    {
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
    }
)
"""Methods whose results say, in a stateless revision, how long they may be kept: not at all."""


class Protocol:
    """The answers to one client."""

    def __init__(self, service: Service, version: str) -> None:
        self._service = service
        self._me = {"name": NAME, "title": NAME, "version": version}
        self._either: dict[str, Callable[[Params], Awaitable[dict[str, Any]]]] = {
            "tools/list": lambda _: service.tools(),
            "resources/list": lambda _: service.resources(),
            "resources/templates/list": lambda _: service.templates(),
            "resources/read": lambda params: service.read(_text(params, "uri")),
            "prompts/list": lambda _: service.prompts(),
            "prompts/get": lambda params: service.prompt(_text(params, "name"), _texts(params, "arguments")),
        }

    async def answer(self, method: str, params: Params, notify: Notify) -> dict[str, Any]:
        """The result of a request. Raises `Unanswerable`."""
        meta = _object(params, "_meta") or {}
        revision = meta.get(REVISION)
        if revision is None:
            return await self._after_handshake(method, params, notify)
        if revision not in STATELESS:
            known = {"supported": list(STATELESS), "requested": revision}
            raise Unanswerable(OTHER_REVISION, f"this server knows the revision {STATELESS[-1]}", known)
        result = await self._stateless(method, params, notify)
        kept = {"ttlMs": 0, "cacheScope": "private"} if method in CACHEABLE else {}
        return {**kept, **result, "resultType": "complete", "_meta": {**result.get("_meta", {}), SERVER: self._me}}

    async def _after_handshake(self, method: str, params: Params, notify: Notify) -> dict[str, Any]:
        match method:
            case "initialize":
                wanted = _text(params, "protocolVersion")
                agreed = wanted if wanted in HANDSHAKE else HANDSHAKE[-1]
                return {"protocolVersion": agreed, "serverInfo": self._me, **self._offer()}
            case "ping":
                return {}
        return await self._of_service(method, params, notify)

    async def _stateless(self, method: str, params: Params, notify: Notify) -> dict[str, Any]:
        if method == "server/discover":
            return {"supportedVersions": list(STATELESS), **self._offer()}
        return await self._of_service(method, params, notify)

    async def _of_service(self, method: str, params: Params, notify: Notify) -> dict[str, Any]:
        if method == "tools/call":
            name, arguments = _text(params, "name"), _object(params, "arguments")
            return await self._service.call(name, arguments, _progress(params, notify))
        answer = self._either.get(method)
        if answer is None:
            raise Unanswerable(UNKNOWN, f"there is no method {method[:80]!r}")
        return await answer(params)

    def _offer(self) -> dict[str, Any]:
        return {"capabilities": CAPABILITIES, "instructions": INSTRUCTIONS}


def _progress(params: Params, notify: Notify) -> Progress | None:
    """How to tell the client how far a call is; ``None`` when it does not want to know."""
    token = (_object(params, "_meta") or {}).get("progressToken")
    if token is None:
        return None

    async def tell(so_far: float, total: float, words: str) -> None:
        said = {"progressToken": token, "progress": so_far, "total": total, "message": words}
        await notify("notifications/progress", said)

    return tell


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise Unanswerable(WRONG, f"`{name}` is missing, or no text")
    return value


def _object(params: Params, name: str) -> dict[str, Any] | None:
    value = params.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise Unanswerable(WRONG, f"`{name}` is no object")


def _texts(params: Params, name: str) -> dict[str, str] | None:
    value = _object(params, name)
    if value is not None and not all(isinstance(one, str) for one in value.values()):
        raise Unanswerable(WRONG, f"`{name}` has a value that is no text")
    return value
