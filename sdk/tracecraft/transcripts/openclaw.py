"""OpenClaw's transcript: rows of ``transcript_events`` in an agent's SQLite, each an event as JSON, maybe compressed.

Events have ids; a transcript that is written again keeps them. Written for OpenClaw 2026.9, session versions 3 and 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.transcripts.claude import seconds
from tracecraft.transcripts.records import Facts
from tracecraft.transcripts.thread import Asked
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.thread import Thread

SILENT: Final = frozenset({"thinking_level_change", "custom", "label", "leaf", "session_info", "custom_message"})
"""Types of events that say nothing about what happened."""


class OpenClawParser:
    """Events of one session, in their order."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread

    def feed(self, raw: bytes, place: int) -> list[Record]:
        """The records of one event; ``place`` is its number."""
        thread = self.thread
        try:
            event = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = None
        if not isinstance(event, dict):
            thread.count("unreadable")
            return []
        key, kind = str(event.get("id") or f"@{place}"), str(event.get("type") or "no type")
        if thread.saw(f"{kind}:{key}"):
            return []
        time = seconds(event.get("timestamp") if isinstance(event.get("timestamp"), str) else None) or thread.last
        thread.last = max(thread.last, time)
        match kind:
            case "session":
                thread.started, thread.cwd = True, str(event.get("cwd") or "")
                thread.version = f"session {event.get('version')}"
                forked = str(event.get("parentSession") or "")
                return [Facts(time=time, cwd=thread.cwd, version=thread.version, forked_from=forked)]
            case "model_change":
                thread.model, thread.provider = str(event.get("modelId") or ""), str(event.get("provider") or "")
                return [Facts(time=time, model=thread.model)]
            case "message" if isinstance(event.get("message"), dict):
                return self._message(event["message"], key, time)
            case "compaction" | "reset" | "branch_summary":
                return thread.note(key, time, kind.replace("_", " "), str(event.get("summary") or ""))
        if kind not in SILENT:
            thread.count(kind)
        return []

    def settle(self) -> list[Record]:
        """Tell of what is held."""
        return self.thread.settle()

    def _message(self, message: dict[str, Any], key: str, time: float) -> list[Record]:
        thread = self.thread
        match message.get("role"):
            case "user":
                return thread.say(key, time, _text(message.get("content")))
            case "assistant":
                return self._assistant(message, key, time)
            case "toolResult":
                output = _text(message.get("content"))
                details = message.get("details") if isinstance(message.get("details"), dict) else {}
                code = (details or {}).get("exitCode")
                failed = output or "it failed" if message.get("isError") else f"exit code {code}" if code else None
                return thread.answer(str(message.get("toolCallId") or ""), time, output, failed)
            case role:
                thread.count(f"role {role}")
                return []

    def _assistant(self, message: dict[str, Any], key: str, time: float) -> list[Record]:
        thread = self.thread
        call, records = thread.call(key, time, str(message.get("model") or thread.model))
        began = message.get("timestamp")
        if isinstance(began, (int, float)) and 0 < began / 1000 <= time:
            call.started = began / 1000
        content = message.get("content")
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if not isinstance(block, dict):
                continue
            if block.get("type") == "toolCall":
                id = str(block.get("id") or "")
                asked = Asked(
                    id=id, key=f"{key}/{id}", name=str(block.get("name")), input=block.get("arguments"), time=time
                )
                call.tools.append(asked)
            elif block.get("type") == "thinking":
                call.thinking.append(str(block.get("thinking") or ""))
            elif block.get("text"):
                call.text.append(str(block["text"]))
        call.provider = str(message.get("provider") or thread.provider)
        call.request = str(message.get("responseId") or "")
        usage = message.get("usage")
        if isinstance(usage, dict):
            call.usage, call.cost = _tokens(usage), _cost(usage)
            if call.cost is not None:
                thread.cost = (thread.cost or 0.0) + call.cost
        if message.get("stopReason") in ("error", "aborted"):
            call.error = str(message.get("errorMessage") or message["stopReason"])
        return [*records, *thread.settle()]


def _tokens(usage: dict[str, Any]) -> Tokens:
    thought = _count(usage, "reasoningTokens")
    return Tokens(
        input=_count(usage, "input"),
        cache_read=_count(usage, "cacheRead"),
        cache_write=_count(usage, "cacheWrite"),
        output=max(0, _count(usage, "output") - thought),
        reasoning=thought,
    )


def _cost(usage: dict[str, Any]) -> float | None:
    """In USD; 0 is what is written of a model without a price."""
    cost = usage.get("cost")
    total = cost.get("total") if isinstance(cost, dict) else None
    return float(total) if isinstance(total, (int, float)) and total > 0 else None


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [part for part in content if isinstance(part, dict)]
    return "\n".join(str(part["text"]) if "text" in part else f"[{part.get('type', 'something')}]" for part in parts)
