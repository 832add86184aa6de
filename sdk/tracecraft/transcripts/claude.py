"""Claude Code's transcript: a JSONL file for the session, and one for each sub-agent.

An assistant message has one line for each block of its content, each of which repeats the message's id and its usage.
Prompts as they were sent (``api-request…``) and attachments are passed over. Written for version 2.1 of Claude Code.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft.transcripts.records import AgentEnded, AgentStarted, Facts, Noted, Spent
from tracecraft.transcripts.thread import LONGEST_ANSWER, Asked, cut
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.thread import Pending, Thread

SILENT: Final = frozenset(
    {
        *("attachment", "queue-operation", "last-prompt", "tools-used", "atis-latch", "mode", "permission-mode"),
        *("file-history-snapshot", "progress", "api-request", "api-request-shape", "api-request-blob", "agent-name"),
        *("agent-color", "tag", "pr-link", "worktree-state"),
    }
)
"""Types of lines that say nothing about what happened, or repeat what other lines say."""
LONGEST_REFUSAL: Final = 500
"""Characters of a provider's error that are kept."""
_SILENT_SYSTEM: Final = frozenset(
    {"turn_duration", "stop_hook_summary", "informational", "local_command", "away_summary"}
)
_INTERRUPTED: Final = "[Request interrupted by user"
_SYNTHETIC: Final = "<synthetic>"
_PROVIDER: Final = "anthropic"
_HANDOFFS: Final = ("Agent", "Task")
_NOTICE: Final = re.compile(r"<task-id>([^<]+)</task-id>.*?<status>([^<]+)</status>", re.DOTALL)
_SKIPPED: Final = b'{"type":"api-request'


class _Thought(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Thought | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: Any = None
    is_error: bool | None = None


class _Message(msgspec.Struct):
    content: str | list[_Block] = ""
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Line(msgspec.Struct):
    type: str = ""
    uuid: str | None = None
    timestamp: str | None = None
    message: _Message | None = None
    cwd: str | None = None
    gitBranch: str | None = None  # names are Claude Code's
    version: str | None = None
    agentId: str | None = None
    subtype: str | None = None
    content: Any = None
    isMeta: bool | None = None
    isCompactSummary: bool | None = None
    isApiErrorMessage: bool | None = None
    toolUseResult: Any = None
    origin: Any = None
    error: Any = None
    totalCostUSD: float | None = None
    summary: str | None = None
    customTitle: str | None = None
    aiTitle: str | None = None


_decode: Final = msgspec.json.Decoder(_Line, strict=False).decode


class ClaudeParser:
    """Lines of one file; `links` are the main conversation's, from a tool's call to the step it is."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread

    def feed(self, raw: bytes, place: int) -> list[Record]:
        """The records of one line; ``place`` is where it begins in the file."""
        thread = self.thread
        if raw.startswith(_SKIPPED):
            return []
        try:
            line = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            thread.count("unreadable")
            return []
        if line.type in SILENT:
            return []
        time = seconds(line.timestamp) or thread.last
        thread.last = max(thread.last, time)
        records = self._facts(line, time)
        key = line.uuid or f"@{place}"
        match line.type:
            case "user" if line.message is not None:
                records += self._user(line, line.message, key, time)
            case "assistant" if line.message is not None:
                records += self._assistant(line, line.message, key, time)
            case "system":
                records += self._system(line, key, time)
            case "cost-state" if line.totalCostUSD is not None:
                thread.cost = line.totalCostUSD
                records += [*thread.settle(), Spent(time=thread.last, cost=line.totalCostUSD)]
            case "summary" | "ai-title" | "custom-title":
                title = line.customTitle or line.aiTitle or line.summary or ""
                if title and title != thread.title:
                    thread.title = title
                    records.append(Facts(time=time, title=title))
            case _:
                thread.count(line.type or "no type")
        return records

    def settle(self) -> list[Record]:
        """Tell of what is held."""
        return self.thread.settle()

    def _facts(self, line: _Line, time: float) -> list[Record]:
        thread = self.thread
        said = (line.cwd or thread.cwd, _branch(line) or thread.branch, line.version or thread.version)
        model = thread.model
        if line.message is not None and line.message.model not in (None, _SYNTHETIC):
            model = line.message.model or model
        if (*said, model) == (thread.cwd, thread.branch, thread.version, thread.model) and thread.started:
            return []
        if not line.timestamp:
            return []
        began, thread.started = not thread.started, True
        thread.cwd, thread.branch, thread.version = said
        changed, thread.model = model != thread.model, model
        if thread.agent:
            started = AgentStarted(agent=thread.agent, time=time, role=thread.title, model=model)
            return [started] if began or changed else []
        return [Facts(time=time, cwd=said[0], branch=said[1], version=said[2], model=model)]

    def _user(self, line: _Line, message: _Message, key: str, time: float) -> list[Record]:
        if isinstance(message.content, str):
            return self._words(line, message.content, key, time)
        records: list[Record] = []
        texts = []
        for block in message.content:
            if block.type == "tool_result":
                records += self._result(line, block, time)
            elif block.text is not None:
                texts.append(block.text)
            else:
                texts.append(f"[{block.type}]")
        return records + (self._words(line, "\n".join(texts), key, time) if texts else [])

    def _words(self, line: _Line, text: str, key: str, time: float) -> list[Record]:
        thread = self.thread
        if line.isCompactSummary:
            return thread.note(key, time, "compaction", text)
        if text.startswith(_INTERRUPTED):
            return thread.note(key, time, "interrupt", text)
        if line.isMeta:
            thread.hear(time, role="meta", text=cut(text, LONGEST_ANSWER))
            return thread.settle()
        origin = line.origin if isinstance(line.origin, dict) else {}
        by = str(origin.get("kind") or "user")
        if by != "task-notification":
            return thread.say(key, time, text, "user" if by == "human" else by)
        records = thread.say(key, time, text, by)
        return records + [
            AgentEnded(agent=agent, time=time, error=None if status == "completed" else status)
            for agent, status in _NOTICE.findall(text)
        ]

    def _result(self, line: _Line, block: _Block, time: float) -> list[Record]:
        output = _content(block.content)
        error = None
        said = line.toolUseResult if isinstance(line.toolUseResult, dict) else {}
        if block.is_error:
            error = output if isinstance(output, str) else "it failed"
        elif said.get("interrupted"):
            error = "interrupted"
        records = self.thread.answer(block.tool_use_id or "", time, output, error)
        if isinstance(said.get("agentId"), str) and said.get("status") == "completed":
            records.append(AgentEnded(agent=said["agentId"], time=time))
        return records

    def _assistant(self, line: _Line, message: _Message, key: str, time: float) -> list[Record]:
        thread = self.thread
        if line.isApiErrorMessage or message.model == _SYNTHETIC:
            text = (
                message.content
                if isinstance(message.content, str)
                else "\n".join(b.text or "" for b in message.content)
            )
            return thread.note(
                key, time, "provider error" if line.isApiErrorMessage else "note", text, text or "failed"
            )
        identity = message.id or key
        call, records = thread.call(identity, time, message.model or thread.model)
        blocks = [_Block(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        for block in blocks:
            self._add(call, block, identity, time)
        if message.usage is not None:
            call.usage, call.request, call.provider = _tokens(message.usage), identity, _PROVIDER
        return records + thread.late(call, time)

    def _add(self, call: Pending, block: _Block, message: str, time: float) -> None:
        if block.type == "tool_use" and block.id:
            asked = Asked(
                id=block.id, key=f"{message}/{block.id}", name=block.name or "?", input=block.input, time=time
            )
            if block.name in _HANDOFFS:
                given = block.input if isinstance(block.input, dict) else {}
                asked.kind, asked.name = "handoff", f"hand off to {given.get('subagent_type') or 'an agent'}"
                self.thread.links[block.id] = asked.key
            call.tools.append(asked)
        elif block.type == "thinking" or block.type == "redacted_thinking":
            if block.thinking:
                call.thinking.append(block.thinking)
        elif block.text is not None:
            call.text.append(block.text)
        else:
            self.thread.count(f"block {block.type}")

    def _system(self, line: _Line, key: str, time: float) -> list[Record]:
        thread = self.thread
        text = line.content if isinstance(line.content, str) else ""
        if line.subtype == "compact_boundary":
            return thread.note(key, time, "compaction", text)
        if line.subtype == "api_error":
            error = line.error
            said = error if isinstance(error, str) else cut(msgspec.json.encode(error).decode(), LONGEST_REFUSAL)
            return [Noted(key=key, time=time, name="provider error", text=text, error=said, agent=thread.agent)]
        if line.subtype not in _SILENT_SYSTEM:
            thread.count(f"system {line.subtype}")
        return []


def seconds(timestamp: str | None) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 for what is none."""
    if not timestamp:
        return 0.0
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return 0.0


def _branch(line: _Line) -> str:
    """The branch; outside of git, and on none, Claude Code writes ``HEAD``."""
    return "" if line.gitBranch in (None, "HEAD") else line.gitBranch


def _tokens(usage: _Usage) -> Tokens:
    thought = (usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0) or 0
    return Tokens(
        input=usage.input_tokens or 0,
        cache_read=usage.cache_read_input_tokens or 0,
        cache_write=usage.cache_creation_input_tokens or 0,
        output=max(0, (usage.output_tokens or 0) - thought),
        reasoning=thought,
    )


def _content(content: Any) -> Any:
    """What a tool answered: its text, with images and the like named only."""
    if not isinstance(content, list):
        return "" if content is None else content
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        parts.append(str(part.get("text", "")) if kind == "text" else f"[{kind or 'something'}]")
    return "\n".join(parts)
