"""Codex's transcript: a rollout, JSONL with an ordinal on every line, compressed when it is old.

The usage of a call stands in ``token_usage_record`` behind it, or, in older ones, in ``token_count``: never both count.
Written for versions 0.4x to 0.163 of Codex.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.transcripts.claude import seconds
from tracecraft.transcripts.records import Facts
from tracecraft.transcripts.thread import Asked
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.thread import Thread

SILENT: Final = frozenset(
    {
        *("world_state", "agent_message", "agent_reasoning", "agent_reasoning_raw_content", "user_message"),
        *("task_started", "thread_settings_applied", "agent_message_delta", "exec_command_begin", "patch_apply_begin"),
        *("mcp_tool_call_begin", "web_search_begin", "web_search_end", "turn_diff", "plan_update", "background_event"),
        *(
            "session_configured",
            "token_budget",
            "ghost_snapshot",
            "raw_response_item",
            "item_started",
            "thread_name_updated",
        ),
        *(
            "agent_reasoning_section_break",
            "exec_command_output_delta",
            "turn_started",
            "inter_agent_communication_metadata",
        ),
    }
)
"""Types of lines and events that say nothing about what happened, or repeat what other lines say."""
_META: Final = re.compile(
    r"\s*<(environment_context|user_instructions|permissions|skills_instructions|turn_aborted)|# AGENTS\.md"
)
_BLOCKED: Final = re.compile(r"(?:Command|Tool call) blocked by \w+ hook: (.+?)(?:\. (?:Command|Tool): .*)?", re.DOTALL)
"""What a call that a hook refused is answered; what a program printed always has a head of Codex' before it."""
_EXIT: Final = re.compile(r"(?:Process exited with code|Exit code:) (-?\d+)")
_CALLS: Final = (
    "function_call",
    "custom_tool_call",
    "local_shell_call",
    "tool_search_call",
    "web_search_call",
    "image_generation_call",
)
_ANSWERS: Final = ("function_call_output", "custom_tool_call_output", "tool_search_output", "mcp_tool_call_output")


class _Line(msgspec.Struct):
    type: str = ""
    timestamp: str | None = None
    ordinal: int | None = None
    payload: Any = None


_decode: Final = msgspec.json.Decoder(_Line, strict=False).decode
_SKIPPED: Final = re.compile(rb'"type":"world_state"')


class CodexParser:
    """Lines of one rollout."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread

    def feed(self, raw: bytes, place: int) -> list[Record]:
        """The records of one line; ``place`` is where it begins in the file."""
        thread = self.thread
        if _SKIPPED.search(raw, 0, 120):
            return []
        try:
            line = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            thread.count("unreadable")
            return []
        if line.ordinal is not None:
            if line.ordinal <= thread.ordinal:
                return []
            thread.ordinal = line.ordinal
        if not isinstance(line.payload, dict):
            thread.count(line.type or "no type")
            return []
        time = seconds(line.timestamp) or thread.last
        thread.last = max(thread.last, time)
        key = f"#{line.ordinal}" if line.ordinal is not None else f"@{place}"
        payload: dict[str, Any] = line.payload
        match line.type:
            case "session_meta":
                return self._meta(payload, time)
            case "turn_context":
                return self._context(payload, time)
            case "response_item":
                return self._item(payload, key, time)
            case "token_usage_record":
                thread.records = True
                tokens = _tokens(payload.get("usage"))
                request = _text(payload, "response_id") or key
                return [*thread.settle(), *([thread.use(tokens, request, time)] if tokens else [])]
            case "event_msg":
                return self._event(payload, key, time)
            case "compacted":
                return thread.note(key, time, "compaction", str(payload.get("message") or ""))
            case kind:
                if kind not in SILENT:
                    thread.count(kind or "no type")
                return []

    def settle(self) -> list[Record]:
        """Tell of what is held."""
        return self.thread.settle()

    def _meta(self, payload: dict[str, Any], time: float) -> list[Record]:
        thread = self.thread
        if thread.started:  # a fork of old versions repeats that of its original
            return []
        thread.started = True
        git = payload.get("git") if isinstance(payload.get("git"), dict) else {}
        thread.cwd, thread.version = _text(payload, "cwd"), _text(payload, "cli_version")
        thread.branch, thread.provider = _text(git or {}, "branch"), _text(payload, "model_provider")
        return [
            Facts(
                time=seconds(_text(payload, "timestamp")) or time,
                cwd=thread.cwd,
                branch=thread.branch,
                version=thread.version,
                parent=_parent(payload),
                forked_from=_text(payload, "forked_from_id"),
            )
        ]

    def _context(self, payload: dict[str, Any], time: float) -> list[Record]:
        thread = self.thread
        model, cwd = _text(payload, "model") or thread.model, _text(payload, "cwd") or thread.cwd
        if (model, cwd) == (thread.model, thread.cwd):
            return []
        thread.model, thread.cwd = model, cwd
        return [Facts(time=time, cwd=cwd, model=model)]

    def _item(self, payload: dict[str, Any], key: str, time: float) -> list[Record]:
        thread, kind = self.thread, _text(payload, "type")
        if kind == "message" and payload.get("role") != "assistant":
            return self._words(payload, key, time)
        if kind in _ANSWERS:
            return self._answer(payload, time)
        if kind not in ("message", "reasoning", *_CALLS):
            thread.count(f"response_item {kind}")
            return []
        held = thread.pending
        call, records = thread.call(held.key if held is not None else key, time, thread.model)
        if kind == "message":
            call.text.append(_joined(payload.get("content")))
        elif kind == "reasoning":
            thought = _joined(payload.get("summary")) or _joined(payload.get("content"))
            call.thinking += [thought] if thought else []
        else:
            id = _text(payload, "call_id") or _text(payload, "id") or key
            name = _text(payload, "name") or kind
            if namespace := _text(payload, "namespace"):
                name = f"{namespace}.{name}"
            call.tools.append(Asked(id=id, key=f"{key}/{id}", name=name, input=_arguments(payload), time=time))
        return records

    def _words(self, payload: dict[str, Any], key: str, time: float) -> list[Record]:
        text = _joined(payload.get("content"))
        if payload.get("role") != "user" or _META.match(text):
            return self.thread.settle()
        return self.thread.say(key, time, text)

    def _answer(self, payload: dict[str, Any], time: float) -> list[Record]:
        id, output = _text(payload, "call_id"), payload.get("output")
        if isinstance(output, list):
            output = _joined(output)
        elif isinstance(output, dict):
            output = output.get("content", output)
        failed = self.thread.results.pop(id, None)
        if failed is None and isinstance(output, str):
            failed = _failure(output)
        return self.thread.answer(id, time, output if output is not None else "", failed or None)

    def _event(self, payload: dict[str, Any], key: str, time: float) -> list[Record]:
        thread, kind = self.thread, _text(payload, "type")
        match kind:
            case "token_count":
                return self._counted(payload, key, time)
            case "item_completed":
                item = payload.get("item")
                if isinstance(item, dict) and item.get("status") in ("failed", "declined"):
                    thread.results[_text(item, "id")] = _refusal(item)
                return []
            case "exec_command_end" | "patch_apply_end" | "mcp_tool_call_end":
                if why := _why(payload):
                    thread.results[_text(payload, "call_id")] = why
                return []
            case "turn_aborted":
                return thread.note(key, time, "interrupt", _text(payload, "reason"))
            case "context_compacted":
                return thread.note(key, time, "compaction")
            case "error" | "stream_error":
                said = _text(payload, "message")
                return thread.note(key, time, "provider error", said, said or "failed")
            case "task_complete" | "turn_complete":
                return thread.settle()
        if kind not in SILENT:
            thread.count(f"event_msg {kind}")
        return []

    def _counted(self, payload: dict[str, Any], key: str, time: float) -> list[Record]:
        """``token_count``: counts only where nothing says the usage call by call, and only when it has grown."""
        thread = self.thread
        info = payload.get("info")
        if thread.records or not isinstance(info, dict) or not isinstance(info.get("total_token_usage"), dict):
            return []
        total = [int(value) for value in info["total_token_usage"].values() if isinstance(value, int)]
        if total == thread.total:
            return []
        thread.total = total
        tokens = _tokens(info.get("last_token_usage"))
        return [*thread.settle(), *([thread.use(tokens, key, time)] if tokens else [])]


def _tokens(usage: Any) -> Tokens | None:
    if not isinstance(usage, dict):
        return None
    cached, written = _count(usage, "cached_input_tokens"), _count(usage, "cache_write_input_tokens")
    thought = _count(usage, "reasoning_output_tokens")
    return Tokens(
        input=max(0, _count(usage, "input_tokens") - cached - written),
        cache_read=cached,
        cache_write=written,
        output=max(0, _count(usage, "output_tokens") - thought),
        reasoning=thought,
    )


def _parent(payload: dict[str, Any]) -> str:
    source = payload.get("source")
    spawned = source.get("subagent") if isinstance(source, dict) else None
    inner = spawned.get("thread_spawn") if isinstance(spawned, dict) else None
    return _text(inner, "parent_thread_id") if isinstance(inner, dict) else _text(payload, "parent_thread_id")


def _failure(output: str) -> str:
    """Why a call failed, from what it was answered alone; empty when it did not."""
    if blocked := _BLOCKED.fullmatch(output):
        return blocked[1].removesuffix(".")
    exited = _EXIT.search(output[:300])
    return f"exit code {exited[1]}" if exited and exited[1] != "0" else ""


def _refusal(item: dict[str, Any]) -> str:
    """Why a call failed, as Codex says when it is over: exit code, error, or the words of the MCP server."""
    code, error, result = item.get("exit_code"), item.get("error"), item.get("result")
    if code is not None:
        return f"exit code {code}"
    said = error.get("message") if isinstance(error, dict) else error
    if not said and isinstance(result, dict):
        said = _joined(result.get("content"))
    return str(said or item["status"])


def _why(payload: dict[str, Any]) -> str:
    code = payload.get("exit_code")
    if code:
        return f"exit code {code}"
    if payload.get("success") is False:
        return _text(payload, "stderr") or "it failed"
    result = payload.get("result")
    if not isinstance(result, dict):
        return ""
    ok = result.get("Ok")
    if isinstance(ok, dict) and (ok.get("isError") or ok.get("is_error")):
        return _joined(ok.get("content")) or "it failed"
    return str(result["Err"]) if "Err" in result else ""


def _arguments(payload: dict[str, Any]) -> Any:
    said = payload.get("arguments", payload.get("input", payload.get("action")))
    if isinstance(said, str):
        try:
            return msgspec.json.decode(said)
        except (msgspec.MsgspecError, RecursionError):
            return said
    return said


def _joined(content: Any) -> str:
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [part for part in content if isinstance(part, dict)]
    return "\n".join(str(part["text"]) if "text" in part else f"[{part.get('type', 'something')}]" for part in parts)


def _text(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
