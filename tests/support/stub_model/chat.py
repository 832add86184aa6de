"""OpenAI chat completions: how a reply reads there, at once or in pieces."""

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
    """Here the prompt includes what the cache had, and the completion the reasoning; a written cache is plain input."""
    prompt, completion = used.input + used.cache_read + used.cache_write, used.output + used.reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": used.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning, "audio_tokens": 0},
    }


def whole(request: Request, reply: Numbered) -> dict[str, Any]:
    """The answer at once."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}
    return {**_head(request, reply, "chat.completion"), "choices": [choice], "usage": usage(reply.usage)}


def stream(request: Request, reply: Numbered) -> Iterator[Event]:
    """The answer in pieces; what it cost is told only to those who ask, as the real service does."""
    head = _head(request, reply, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> Event:
        return Event(None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in in_pieces(reply.text):
        yield chunk({"content": piece})
    for index, one in enumerate(_calls(reply)):
        yield chunk({"tool_calls": [{**one, "index": index, "function": {**one["function"], "arguments": ""}}]})
        for piece in in_pieces(one["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(reply))
    if (request.body.get("stream_options") or {}).get("include_usage"):
        yield Event(None, {**head, "choices": [], "usage": usage(reply.usage)})
    yield Event(None, "[DONE]")


def error(status: int, text: str) -> dict[str, Any]:
    """A refusal."""
    kind = "rate_limit_exceeded" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": text, "type": kind, "param": None, "code": kind}}


def _head(request: Request, reply: Numbered, what: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.number}",
        "object": what,
        "created": reply.time,
        "model": request.model,
        "system_fingerprint": None,
    }


def _calls(reply: Numbered) -> list[dict[str, Any]]:
    return [
        {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": json.dumps(one.arguments)}}
        for one in reply.calls
    ]


def _finish(reply: Numbered) -> str:
    return "tool_calls" if reply.calls else "stop"
