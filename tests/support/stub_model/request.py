"""What the stub model was asked: one request, read alike in the three dialects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Dialect = Literal["chat", "responses", "messages"]
"""OpenAI chat completions, OpenAI responses, Anthropic messages."""


@dataclass(frozen=True)
class Request:
    """One request, as it came and as the rules see it."""

    dialect: Dialect
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """Which model was asked."""
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        """Is the answer to come in pieces?"""
        return bool(self.body.get("stream"))

    @cached_property
    def tools(self) -> list[str]:
        """Names of the tools that are offered; of a namespace of Codex, its name and those of its tools."""
        return list(_tool_names(self.body.get("tools") or []))

    @cached_property
    def conversation(self) -> list[Mapping[str, Any]]:
        """Messages or items, the system's too."""
        found = self.body.get("input" if self.dialect == "responses" else "messages") or []
        return [{"role": "user", "content": found}] if isinstance(found, str) else list(found)

    @cached_property
    def system(self) -> str:
        """The system prompt: what the framework or the user set, not what was said."""
        outside = [self.body.get("system"), self.body.get("instructions")]
        inside = [one.get("content") for one in self.conversation if one.get("role") in ("system", "developer")]
        return "\n".join(_plain(part) for part in (*outside, *inside) if part)

    @cached_property
    def text(self) -> str:
        """All that was said in the conversation, arguments and results of tools too, as text."""
        return "\n".join(_plain(one) for one in self.conversation)

    @cached_property
    def turn(self) -> int:
        """How many times the model has spoken; calls of several tools at once are one time."""
        spoken = [_of_model(one) for one in self.conversation]
        return sum(now and not before for before, now in zip([False, *spoken], spoken, strict=False))

    @cached_property
    def results(self) -> list[str]:
        """What the tools have answered, oldest first."""
        return list(_results(self.conversation))


def _tool_names(tools: list[Mapping[str, Any]]) -> Iterator[str]:
    for tool in tools:
        yield str(tool.get("name") or (tool.get("function") or {}).get("name") or tool.get("type"))
        yield from _tool_names(tool.get("tools") or [])


def _of_model(one: Mapping[str, Any]) -> bool:
    return one.get("role") == "assistant" or one.get("type") in ("function_call", "custom_tool_call", "reasoning")


def _results(conversation: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in conversation:
        if one.get("role") == "tool":
            yield _plain(one.get("content"))
        elif one.get("type") in ("function_call_output", "custom_tool_call_output"):
            yield _plain(one.get("output"))
        elif isinstance(one.get("content"), list):
            yield from (_plain(b.get("content")) for b in one["content"] if b.get("type") == "tool_result")


def _plain(value: Any) -> str:
    """The text in a content, whatever its form: a string, blocks, or anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_plain(one) for one in value)
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return str(value["text"])
    if isinstance(value, dict) and "role" in value:
        calls = [json.dumps(value["tool_calls"])] if value.get("tool_calls") else []
        return "\n".join([_plain(value.get("content") or ""), *calls])
    return "" if value is None else json.dumps(value, ensure_ascii=False)
