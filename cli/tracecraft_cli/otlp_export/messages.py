"""What went into a model call and what came out of it, in the forms of OpenTelemetry GenAI and of OpenInference.

A step's values are any JSON: what the clients of Anthropic and OpenAI take and give is understood, anything else is
one message of text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tracecraft_core import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_FLAT: Final = 64
"""Messages that are written out for OpenInference, each in several attributes; ``input.value`` has all of them."""
_LISTS: Final = ("messages", "input", "output", "content", "choices")
"""Fields in which a request or a response keeps its messages."""


def read(value: Any, role: str) -> list[dict[str, Any]]:
    """The messages of a value: ``[{"role": …, "parts": […]}]``; ``role`` is that of one that does not say."""
    if value is None:
        return []
    if isinstance(value, dict):
        return _of_object(value, role)
    if isinstance(value, list) and value and all(_is_message(one) for one in value):
        return [_message(one, role) for one in value]
    if isinstance(value, list) and value and all(_is_block(one) for one in value):
        return [{"role": role, "parts": _parts(value)}]
    return [{"role": role, "parts": _parts(value)}]


def _of_object(value: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    if _is_message(value):
        return [_message(value, role)]
    system = value.get("system")
    first = [{"role": "system", "parts": _parts(system)}] if system else []
    for name in _LISTS:
        inside = value.get(name)
        if isinstance(inside, list) and inside and all(isinstance(one, dict) for one in inside):
            choices = [one["message"] for one in inside if isinstance(one.get("message"), dict)]
            return first + read(choices or inside, role)
    for name in ("prompt", "input", "text", "content", "output", "completion", "answer"):
        if isinstance(value.get(name), str) and len(value) <= 1 + bool(system):
            return [*first, {"role": role, "parts": _parts(value[name])}]
    return [{"role": role, "parts": _parts(value)}]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _message(message: Mapping[str, Any], role: str) -> dict[str, Any]:
    said = str(message.get("role") or role)
    if isinstance(message.get("parts"), list):  # in the form that we want already
        return {"role": said, "parts": message["parts"]}
    content = message.get("content")
    if said == "tool" and message.get("tool_call_id"):
        part = {"type": "tool_call_response", "id": message["tool_call_id"], "response": content}
        return {"role": said, "parts": [part]}
    calls = [_call(one) for one in message.get("tool_calls") or () if isinstance(one, dict)]
    return {"role": said, "parts": [*(() if content in (None, "") else _parts(content)), *calls]}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    assert isinstance(function, dict)
    arguments = function.get("arguments", call.get("args"))
    return {"type": "tool_call", "id": call.get("id"), "name": str(function.get("name")), "arguments": arguments}


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    if isinstance(content, list) and content and all(_is_block(one) for one in content):
        return [_part(one) for one in content]
    return [{"type": "text", "content": compact(content)}]


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    kind = block["type"]
    if kind in ("text", "input_text", "output_text") and isinstance(block.get("text"), str):
        return {"type": "text", "content": block["text"]}
    if kind in ("thinking", "reasoning") and isinstance(block.get(kind), str):
        return {"type": "reasoning", "content": block[kind]}
    if kind == "tool_use":
        return {"type": "tool_call", "id": block.get("id"), "name": block.get("name"), "arguments": block.get("input")}
    if kind == "tool_result":
        return {"type": "tool_call_response", "id": block.get("tool_use_id"), "response": block.get("content")}
    return dict(block)


def flattened(messages: list[dict[str, Any]], prefix: str) -> dict[str, Any]:
    """The first messages as OpenInference writes them: ``llm.input_messages.0.message.role`` and so on."""
    found: dict[str, Any] = {}
    for number, message in enumerate(messages[:MOST_FLAT]):
        place = f"{prefix}.{number}.message"
        found[f"{place}.role"] = message["role"]
        found |= {f"{place}.{name}": value for name, value in _flat(message["parts"])}
    return found


def _flat(parts: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    texts = [part["content"] for part in parts if part.get("type") == "text" and isinstance(part.get("content"), str)]
    responses = [part for part in parts if part.get("type") == "tool_call_response"]
    if texts or responses:
        yield "content", "\n".join([*texts, *(text(part.get("response")) for part in responses)])
    if responses and responses[0].get("id"):
        yield "tool_call_id", str(responses[0]["id"])
    for number, part in enumerate(part for part in parts if part.get("type") == "tool_call"):
        place = f"tool_calls.{number}.tool_call"
        if part.get("id"):
            yield f"{place}.id", str(part["id"])
        yield f"{place}.function.name", str(part.get("name"))
        yield f"{place}.function.arguments", text(part.get("arguments"))


def plain(value: Any, name: str, type_name: str) -> dict[str, Any]:
    """``input.value`` or ``output.value`` with its type; a text bare, anything else as JSON."""
    if value is None:
        return {}
    return {name: text(value), type_name: "text/plain" if isinstance(value, str) else semconv.OI_JSON}


def text(value: Any) -> str:
    """A text bare, anything else as JSON."""
    return value if isinstance(value, str) else compact(value)


def compact(value: Any) -> str:
    """JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
