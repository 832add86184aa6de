"""Anthropic messages: how a reply reads there, at once or in pieces. Claude Code speaks this."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.stub_model.pieces import Event, in_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stub_model.numbered import Numbered
    from tests.support.stub_model.request import Request
    from tests.support.stub_model.script import Usage


def usage(used: Usage) -> dict[str, Any]:
    """Here the buckets of the input are disjoint already; thinking is part of the output."""
    return {
        "input_tokens": used.input,
        "cache_read_input_tokens": used.cache_read,
        "cache_creation_input_tokens": used.cache_write,
        "output_tokens": used.output + used.reasoning,
    }


def whole(request: Request, reply: Numbered) -> dict[str, Any]:
    """The answer at once."""
    head = _head(request, reply)
    return {**head, "content": _blocks(reply), "stop_reason": _stop(reply), "usage": usage(reply.usage)}


def stream(request: Request, reply: Numbered) -> Iterator[Event]:
    """The answer in pieces. As at the real service, the first one tells of one token of output: a trap for adapters."""
    used = usage(reply.usage)
    began = {**_head(request, reply), "content": [], "stop_reason": None, "usage": {**used, "output_tokens": 1}}
    yield _event("message_start", message=began)
    for index, block in enumerate(_blocks(reply)):
        empty: dict[str, Any] = {"text": ""} if block["type"] == "text" else {"input": {}}
        yield _event("content_block_start", index=index, content_block={**block, **empty})
        for delta in _deltas(block):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    yield _event("message_delta", delta={"stop_reason": _stop(reply), "stop_sequence": None}, usage=used)
    yield _event("message_stop")


def error(status: int, text: str) -> dict[str, Any]:
    """A refusal."""
    kinds = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
    return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": text}}


def _event(kind: str, **fields: Any) -> Event:
    return Event(kind, {"type": kind, **fields})


def _head(request: Request, reply: Numbered) -> dict[str, Any]:
    message_id = f"msg_{reply.number}"
    return {"id": message_id, "type": "message", "role": "assistant", "model": request.model, "stop_sequence": None}


def _blocks(reply: Numbered) -> list[dict[str, Any]]:
    said = [{"type": "text", "text": reply.text}] if reply.text or not reply.calls else []
    return said + [
        {"type": "tool_use", "id": one.id, "name": one.name, "input": dict(one.arguments)} for one in reply.calls
    ]


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, str]]:
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": piece} for piece in in_pieces(block["text"]))
    else:
        whole = json.dumps(block["input"])
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in in_pieces(whole))


def _stop(reply: Numbered) -> str:
    return "tool_use" if reply.calls else "end_turn"
