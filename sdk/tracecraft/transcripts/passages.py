"""`Passage`: a part of a conversation as people read it, from a transcript or from the run that mirrors it.

Everything in it was written by somebody else, a model, a tool or another agent: it is quoted, line by line, and has no
power over the terminal.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft.transcripts import records
from tracecraft_core.quotation import neutral, oneline, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracecraft.transcripts.records import Record

LINES: Final = 12
"""Lines of a tool's answer, and of thinking, that are shown unless all are asked for."""
CHARACTERS: Final = 1_500
"""The same in characters."""
BUCKETS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")
"""Of tokens, none of which lies in another."""


@dataclass(slots=True)
class Passage:
    """Words of somebody, or a tool that was used."""

    key: str
    time: float
    agent: str
    kind: str
    """Of the step: ``message``, ``llm``, ``tool_call``, ``handoff``, ``other``."""
    name: str
    words: Any = None
    """What was said, put out, or given to the tool."""
    answer: Any = None
    """Of a tool."""
    error: str | None = None
    seconds: float | None = None
    over: bool = True
    tokens: int = 0
    """What a model call used, in all buckets."""

    @property
    def says_nothing(self) -> bool:
        """Whether it is a message without words, or a model call that only used tools: each is a passage itself."""
        silent = self.spoken in (None, "", {})
        return silent and self.kind in ("message", "llm") and self.over and self.error is None

    @property
    def spoken(self) -> Any:
        """The words, without what a model asked of tools."""
        if self.kind != "llm" or not isinstance(self.words, dict):
            return self.words
        return {name: said for name, said in self.words.items() if name != "tool_calls" and said}

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "key"}

    def text(self, *, whole: bool) -> str:
        """For people."""
        took = f" · {self.seconds:.1f} s" if self.seconds else ""
        failed = "" if self.error is None else f" · failed: {oneline(self.error, 100)}"
        used = f" · {self.tokens:,} tokens" if self.tokens else ""
        head = f"{clock(self.time)}  {_who(self)}{took}{used}{failed}{'' if self.over else ' · not over'}"
        parts = [head]
        if self.kind in ("tool_call", "handoff"):
            parts.append(_quote(_arguments(self.words), whole))
            if self.answer not in (None, "") and self.answer != self.error:
                parts.append(_quote(_plain(self.answer), whole))
        elif isinstance(self.words, dict):
            if self.words.get("thinking"):
                parts.append("  (thinking)\n" + _quote(str(self.words["thinking"]), whole))
            if self.words.get("text"):
                parts.append(quoted(str(self.words["text"])))
        elif self.words not in (None, ""):
            parts.append(quoted(_plain(self.words)))
        return "\n".join(part for part in parts if part)


def of_records(stream: Iterable[Record], agent: str) -> Iterator[Passage]:
    """The passages of a transcript; a tool's stands where it was called, and what a call used may be known later."""
    tools: dict[str, Passage] = {}
    calls: dict[str, Passage] = {}
    counted: set[str] = set()
    names: dict[str, str] = {"": agent}
    waiting: list[Passage] = []
    for record in stream:
        match record:
            case records.AgentStarted():
                names[record.agent] = f"{agent}/{record.role or 'agent'}"
                continue
            case records.Turn():
                made = Passage(
                    record.key, record.time, names.get(record.agent, agent), "message", record.by, record.text
                )
            case records.Call():
                made = Passage(
                    *(record.key, record.started, names.get(record.agent, agent), "llm", record.model, record.output),
                    error=record.error or None,
                    seconds=record.time - record.started,
                )
                calls[record.key] = made
            case records.Used():
                if (call := calls.get(record.key or "")) is not None and record.request not in counted:
                    counted.add(record.request)
                    call.tokens += sum(getattr(record.tokens, bucket) for bucket in BUCKETS)
                continue
            case records.ToolStarted():
                who = names.get(record.agent, agent)
                made = Passage(record.key, record.time, who, record.kind, record.name, record.input, over=False)
                tools[record.key] = made
            case records.ToolEnded() if record.key in tools:
                made = tools.pop(record.key)
                made.answer, made.error, made.over = record.output, record.error, True
                made.seconds = record.time - record.started
                continue
            case records.Noted():
                who = names.get(record.agent, agent)
                made = Passage(record.key, record.time, who, "other", record.name, record.text, error=record.error)
            case _:
                continue
        waiting.append(made)
        while waiting and waiting[0].over:
            yield waiting.pop(0)
    yield from waiting


def of_events(events: Iterable[tuple[str, str, dict[str, Any]]]) -> Iterator[Passage]:
    """The passages of a run: of its events (agent, event, body), in the order of the log."""
    made: dict[str, Passage] = {}
    counted: set[str] = set()
    for agent, event, body in events:
        step = str(body.get("step") or "")
        if event == "step.started":
            began = Passage(step, body["time"] / 1e6, agent, body.get("kind", "other"), body["name"], over=False)
            made.setdefault(step, began)
        elif (passage := made.get(step)) is not None:
            if event in ("step.input", "step.output"):
                _put(passage, event, _value(body))
            elif event == "step.ended":
                failed = body.get("error") or {}
                passage.over, passage.seconds = True, body["duration"] / 1e6
                passage.error = failed.get("message") if body.get("status") == "error" else None
            elif event == "usage" and (request := body.get("request") or f"{step} {body['time']}") not in counted:
                counted.add(request)
                passage.tokens += sum(body.get(bucket, 0) for bucket in BUCKETS)
    yield from made.values()


def _put(passage: Passage, event: str, value: Any) -> None:
    tool = passage.kind in ("tool_call", "handoff")
    if event == "step.output" and tool:
        passage.answer = value
    elif event == "step.output" or passage.kind != "llm":
        passage.words = value


def _value(body: dict[str, Any]) -> Any:
    blob = body.get("blob")
    if isinstance(blob, dict):
        return f"{blob.get('preview', '')}… ({blob.get('size', 0):,} bytes, as blob {str(blob.get('sha256'))[:12]})"
    return body.get("value")


def clock(time: float) -> str:
    """The local date and time."""
    return f"{datetime.datetime.fromtimestamp(time).astimezone():%Y-%m-%d %H:%M:%S}"


def _who(passage: Passage) -> str:
    agent, name = neutral(passage.agent), neutral(passage.name)
    match passage.kind:
        case "message":
            return f"{name} -> {agent}"
        case "llm":
            return f"{agent} ({name})"
        case "tool_call":
            return f"{agent} uses {name}"
        case "handoff":
            return f"{agent}: {name}"
    return f"{agent}: {name}"


def _arguments(given: Any) -> str:
    if isinstance(given, dict) and len(given) == 1:
        (value,) = given.values()
        if isinstance(value, str):
            return value
    return "" if given is None else _plain(given)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quote(text: str, whole: bool) -> str:
    if not text:
        return ""
    if not whole:
        lines = text[:CHARACTERS].split("\n")
        left = len(text) - len("\n".join(lines[:LINES]))
        text = "\n".join(lines[:LINES])
        if left > 0:
            return f"{quoted(text)}\n  … {left:,} characters more: --full"
    return quoted(text)
