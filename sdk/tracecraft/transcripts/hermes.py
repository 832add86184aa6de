"""Hermes' transcript: rows of the table ``messages`` of its ``state.db``, one a message.

A row may be written again under another number when a conversation is compacted: what it says is its identity. Usage
stands by session and model only, so what it has grown by is put down to the call before. Written for Hermes 0.19.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tracecraft.transcripts.records import Facts
from tracecraft.transcripts.thread import Asked
from tracecraft_core.queries import Tokens

if TYPE_CHECKING:
    from tracecraft.transcripts.records import Record
    from tracecraft.transcripts.thread import Thread


class Message(msgspec.Struct, kw_only=True):
    """A row of ``messages``."""

    id: int
    role: str
    content: str | None
    tool_call_id: str | None
    tool_calls: str | None
    tool_name: str | None
    timestamp: float
    reasoning: str | None
    compacted: int = 0
    active: int = 1


class Session(msgspec.Struct, kw_only=True):
    """A row of ``sessions``."""

    id: str
    started_at: float
    ended_at: float | None = None
    model: str | None = None
    parent_session_id: str | None = None
    cwd: str | None = None
    git_branch: str | None = None
    title: str | None = None
    billing_provider: str | None = None
    rewind_count: int = 0


class Spending(msgspec.Struct, kw_only=True):
    """A row of ``session_model_usage``, summed by model."""

    model: str
    calls: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    cost: float
    priced: bool
    """Whether ``cost`` is one."""


class HermesParser:
    """Messages of one session, in the order of their numbers."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread

    def about(self, session: Session) -> list[Record]:
        """What the session's row says now."""
        thread = self.thread
        said = (session.cwd or "", session.git_branch or "", session.title or "", session.model or "")
        records: list[Record] = []
        if not thread.started or said != (thread.cwd, thread.branch, thread.title, thread.model):
            thread.started = True
            thread.cwd, thread.branch, thread.title, thread.model = said
            thread.provider = session.billing_provider or ""
            parent = session.parent_session_id or ""
            time = thread.last or session.started_at
            records.append(Facts(time=time, cwd=said[0], branch=said[1], model=said[3], title=said[2], parent=parent))
        rewound = thread.total[0] if thread.total else 0
        if session.rewind_count > rewound:
            thread.total = [session.rewind_count]
            records += thread.note(f"rewind {session.rewind_count}", thread.last or session.started_at, "rewind")
        return records

    def feed(self, row: Message) -> list[Record]:
        """The records of one message."""
        thread = self.thread
        key = _identity(row)
        if thread.saw(key):
            return []
        thread.last = max(thread.last, row.timestamp)
        match row.role:
            case "user":
                return thread.say(key, row.timestamp, row.content or "")
            case "assistant":
                return self._assistant(row, key)
            case "tool":
                output = _decoded(row.content)
                return thread.answer(row.tool_call_id or "", row.timestamp, output, _failed(output))
            case "system":
                return []
            case role:
                thread.count(f"role {role}")
                return []

    def _assistant(self, row: Message, key: str) -> list[Record]:
        thread = self.thread
        call, records = thread.call(key, row.timestamp, thread.model)
        call.text += [row.content] if row.content else []
        call.thinking += [row.reasoning] if row.reasoning else []
        asked = _decoded(row.tool_calls)
        for one in asked if isinstance(asked, list) else []:
            function = one.get("function") or {} if isinstance(one, dict) else {}
            id = str(one.get("id") or one.get("call_id") or "") if isinstance(one, dict) else ""
            name, given = str(function.get("name") or "?"), _decoded(function.get("arguments"))
            call.tools.append(Asked(id=id, key=f"{key}/{id}", name=name, input=given, time=row.timestamp))
        return [*records, *thread.settle()]

    def spend(self, rows: list[Spending]) -> list[Record]:
        """What the usage of the session has grown by."""
        thread = self.thread
        records: list[Record] = []
        for row in rows:
            now = [row.input, row.cache_read, row.cache_write, row.output, row.reasoning, row.cost]
            before = thread.totals.get(row.model) or [0.0] * len(now)
            grown = [max(0.0, new - old) for new, old in zip(now, before, strict=True)]
            if not any(grown[:5]):
                continue
            thread.totals[row.model] = [float(value) for value in now]
            tokens = Tokens(
                input=int(grown[0]),
                cache_read=int(grown[1]),
                cache_write=int(grown[2]),
                output=max(0, int(grown[3] - grown[4])),
                reasoning=int(grown[4]),
            )
            cost = grown[5] if row.priced else None
            used = thread.use(tokens, f"{row.model} {sum(map(int, now[:5]))}", thread.last, cost)
            records.append(used)
        return records

    def settle(self) -> list[Record]:
        """Tell of what is held."""
        return self.thread.settle()


def _identity(row: Message) -> str:
    said = f"{row.role}\0{row.timestamp:.3f}\0{row.tool_call_id or ''}\0{row.content or ''}\0{row.tool_calls or ''}"
    return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _decoded(text: str | None) -> Any:
    if not isinstance(text, str):
        return ""
    try:
        return msgspec.json.decode(text) if text[:1] in "{[" and text else text
    except (msgspec.MsgspecError, RecursionError):
        return text


def _failed(output: Any) -> str | None:
    if not isinstance(output, dict):
        return None
    if output.get("error"):
        return str(output["error"])
    code = output.get("exit_code")
    return f"exit code {code}" if isinstance(code, int) and code else None
