"""OpenAI responses: how a reply reads there, at once or in pieces. Codex speaks this."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from tests.support.stub_model.pieces import Event, in_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stub_model.numbered import Numbered
    from tests.support.stub_model.request import Request
    from tests.support.stub_model.script import ToolCall, Usage


def usage(used: Usage) -> dict[str, Any]:
    """Here the input includes what the cache had, and the output the reasoning; a written cache is plain input."""
    taken, given = used.input + used.cache_read + used.cache_write, used.output + used.reasoning
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": used.cache_read},
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": taken + given,
    }


def whole(request: Request, reply: Numbered) -> dict[str, Any]:
    """The answer at once."""
    return _response(request, reply, "completed")


def stream(request: Request, reply: Numbered) -> Iterator[Event]:
    """The answer in pieces."""
    numbers = itertools.count()

    def event(kind: str, **fields: Any) -> Event:
        return Event(kind, {"type": kind, "sequence_number": next(numbers), **fields})

    begun = _response(request, reply, "in_progress")
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(_items(reply)):
        place = {"item_id": item["id"], "output_index": index}
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield event("response.output_item.added", output_index=index, item={**item, **empty, "status": "in_progress"})
        if item["type"] == "message":
            yield from _text(event, {**place, "content_index": 0}, item["content"][0])
        else:
            for piece in in_pieces(item["arguments"]):
                yield event("response.function_call_arguments.delta", **place, delta=piece)
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield event("response.function_call_arguments.done", **place, **done)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=_response(request, reply, "completed"))


def _text(event: Any, place: dict[str, Any], part: dict[str, Any]) -> Iterator[Event]:
    yield event("response.content_part.added", **place, part={**part, "text": ""})
    for piece in in_pieces(part["text"]):
        yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
    yield event("response.output_text.done", **place, text=part["text"], logprobs=[])
    yield event("response.content_part.done", **place, part=part)


def _response(request: Request, reply: Numbered, status: str) -> dict[str, Any]:
    over = status == "completed"
    return {
        "id": f"resp_{reply.number}",
        "object": "response",
        "created_at": reply.time,
        "status": status,
        "model": request.model,
        "output": _items(reply) if over else [],
        "usage": usage(reply.usage) if over else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "instructions": None,
        "metadata": {},
        "error": None,
        "incomplete_details": None,
        "temperature": 1.0,
        "top_p": 1.0,
    }


def _items(reply: Numbered) -> list[dict[str, Any]]:
    said = [_message(reply)] if reply.text or not reply.calls else []
    return said + [_function_call(one) for one in reply.calls]


def _message(reply: Numbered) -> dict[str, Any]:
    content = [{"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}]
    return {
        "type": "message",
        "id": f"msg_{reply.number}",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


def _function_call(one: ToolCall) -> dict[str, Any]:
    namespace = {"namespace": one.namespace} if one.namespace else {}
    return {
        "type": "function_call",
        "id": f"fc_{one.id}",
        "call_id": one.id,
        **namespace,
        "name": one.name,
        "arguments": json.dumps(one.arguments),
        "status": "completed",
    }
