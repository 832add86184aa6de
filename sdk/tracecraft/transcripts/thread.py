"""`Thread`: what a parser must remember between two lines, small enough to stand in a checkpoint.

And what all parsers do alike: collect what is new for the next model call, hold a call until all of it is there, match
the answers of tools with their calls.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tracecraft.redaction import redact
from tracecraft.transcripts.records import (
    Call,
    More,
    Noted,
    Record,
    ToolEnded,
    ToolKind,
    ToolStarted,
    Turn,
    Used,
)
from tracecraft_core.queries import Tokens  # noqa: TC001  # msgspec reads it

LONGEST_NEW: Final = 4_000
"""Characters of a text that are kept of what was new for a model call: the text itself stands in a step of its own."""
MOST_NEW: Final = 50
"""Texts that are kept of what was new for a model call."""
LONGEST_ANSWER: Final = 400
"""Characters of a tool's answer in the input of the next model call: all of it is the output of the tool's step."""
LONGEST_ARGUMENTS: Final = 300
"""Characters of a tool's arguments in the output of a model call: all of them are the input of the tool's step."""


class OpenTool(msgspec.Struct, omit_defaults=True):
    """A tool that has not answered yet."""

    key: str
    name: str
    started: float
    kind: ToolKind = "tool_call"
    parent: str | None = None


class Asked(msgspec.Struct, omit_defaults=True):
    """A tool that a model asks for."""

    id: str
    key: str
    name: str
    input: Any
    time: float
    kind: ToolKind = "tool_call"


class Pending(msgspec.Struct, omit_defaults=True):
    """A model call of which more may come."""

    key: str
    started: float
    time: float
    model: str = ""
    parent: str | None = None
    input: list[dict[str, Any]] = []
    text: list[str] = []
    thinking: list[str] = []
    tools: list[Asked] = []
    error: str = ""
    usage: Tokens | None = None
    request: str = ""
    provider: str = ""
    cost: float | None = None
    told: int = 0
    """Tools that were told of already."""

    def output(self) -> Any:
        """Text and tool calls; a bare text where there is nothing else."""
        text = "\n".join(self.text)
        if not self.thinking and not self.tools:
            return text
        parts: dict[str, Any] = {"text": text} if text else {}
        if self.thinking:
            parts["thinking"] = "\n".join(self.thinking)
        if self.tools:
            parts["tool_calls"] = [{"name": one.name, "input": _shortened(one.input)} for one in self.tools]
        return parts


class Thread(msgspec.Struct, omit_defaults=True):
    """One conversation: the session's own, or a sub-agent's."""

    agent: str = ""
    root: str | None = None
    """Key of the step inside of which all of it lies."""
    started: bool = False
    version: str = ""
    cwd: str = ""
    branch: str = ""
    model: str = ""
    provider: str = ""
    title: str = ""
    last: float = 0.0
    """Time of the newest line that has one."""
    heard: float = 0.0
    """Time of the newest words, or answer of a tool: the next model call begins there."""
    turn: str | None = None
    new: list[dict[str, Any]] = []
    pending: Pending | None = None
    done: Pending | None = None
    """The last call that was told of."""
    tools: dict[str, OpenTool] = {}
    links: dict[str, str] = {}
    """Keys of the steps in which sub-agents were called, by the id of the tool's call."""
    ordinal: int = -1
    total: list[int] = []
    """Totals of tokens that were told of."""
    totals: dict[str, list[float]] = {}
    """The same by model, with the cost behind them."""
    records: bool = False
    """Whether this transcript says the usage call by call."""
    results: dict[str, str] = {}
    """Why tools failed that have not answered yet, by the id of the call; empty: they did not."""
    seen: set[str] = set()
    """Keys of a source that may write its rows again."""
    unknown: dict[str, int] = {}
    turns: int = 0
    calls: int = 0
    used: int = 0
    """Tokens of all calls."""
    cost: float | None = None
    """What the source says, in USD."""

    def count(self, kind: str) -> None:
        """Count a line that is not known."""
        if kind in self.unknown or len(self.unknown) < MOST_NEW:
            self.unknown[kind] = self.unknown.get(kind, 0) + 1

    def saw(self, key: str) -> bool:
        """Remember a key; whether it was known."""
        if key in self.seen:
            return True
        self.seen.add(key)
        return False

    def hear(self, time: float, **new: Any) -> None:
        """Something that the next model call answers."""
        self.heard = max(self.heard, time)
        if len(self.new) < MOST_NEW:
            self.new.append(new)

    def say(self, key: str, time: float, text: str, by: str = "user") -> list[Record]:
        """Somebody's words."""
        records = self.settle()
        self.turn, self.turns = key, self.turns + 1
        self.hear(time, role=by, text=cut(text, LONGEST_NEW))
        return [*records, Turn(key=key, time=time, text=text, by=by, agent=self.agent, parent=self.root)]

    def call(self, key: str, time: float, model: str) -> tuple[Pending, list[Record]]:
        """The model call of this key, for its output to be added; and what is told of the one before."""
        if self.pending is not None and self.pending.key == key:
            self.pending.time = max(self.pending.time, time)
            return self.pending, []
        if self.pending is None and self.done is not None and self.done.key == key:
            return self.done, []
        records = self.settle()
        began = min(time, self.heard) if self.heard else time
        self.pending = Pending(
            key=key, started=began, time=time, model=model, parent=self.turn or self.root, input=self.new
        )
        self.new = []
        return self.pending, records

    def late(self, call: Pending, time: float) -> list[Record]:
        """What is told when a call that was told of already has grown."""
        if call is not self.done:
            return []
        more = More(key=call.key, time=time, output=call.output(), agent=self.agent)
        return [more, *self._asked(call)]

    def settle(self) -> list[Record]:
        """Tell of the call that is held: nothing more of it is to come."""
        call, self.pending = self.pending, None
        if call is None:
            return []
        self.calls += 1
        self.heard = max(self.heard, call.time)
        said = Call(
            key=call.key,
            started=min(call.started, call.time),
            time=call.time,
            model=call.model,
            input=call.input,
            output=call.output(),
            error=call.error,
            agent=self.agent,
            parent=call.parent,
        )
        self.done = call
        used = [] if call.usage is None else [self.use(call.usage, call.request or call.key, call.time, call.cost)]
        return [said, *used, *self._asked(call)]

    def use(self, tokens: Tokens, request: str, time: float, cost: float | None = None) -> Used:
        """What the last call that was told of used."""
        call = self.done
        self.used += sum(msgspec.structs.astuple(tokens))
        return Used(
            key=None if call is None else call.key,
            time=time,
            tokens=tokens,
            request=request,
            model=(call.model if call is not None else "") or self.model,
            provider=(call.provider if call is not None else "") or self.provider,
            cost=cost,
            agent=self.agent,
        )

    def _asked(self, call: Pending) -> list[Record]:
        asked, call.told = call.tools[call.told :], len(call.tools)
        for one in asked:
            tool = OpenTool(key=one.key, name=one.name, started=one.time, kind=one.kind, parent=call.key)
            self.tools[one.id] = tool
        return [
            ToolStarted(
                key=one.key,
                time=one.time,
                name=one.name,
                input=one.input,
                kind=one.kind,
                agent=self.agent,
                parent=call.key,
            )
            for one in asked
        ]

    def answer(self, id: str, time: float, output: Any, error: str | None) -> list[Record]:
        """The answer of a tool."""
        records = self.settle()
        tool = self.tools.pop(id, None)
        if tool is None:
            self.count("answer without a call")
            return records
        text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
        self.hear(time, role="tool", name=tool.name, text=cut(text, LONGEST_ANSWER))
        ended = ToolEnded(
            key=tool.key,
            started=min(tool.started, time),
            time=time,
            name=tool.name,
            output=output,
            error=error,
            kind=tool.kind,
            agent=self.agent,
            parent=tool.parent,
        )
        return [*records, ended]

    def note(self, key: str, time: float, name: str, text: str = "", error: str | None = None) -> list[Record]:
        """Something else that happened."""
        return [*self.settle(), Noted(key=key, time=time, name=name, text=text, error=error, agent=self.agent)]


def cut(text: str, limit: int) -> str:
    """The beginning of a text; what is cut is redacted before, as no rule knows a piece of a secret."""
    return text if len(text) <= limit else redact.text(text)[:limit]


def _shortened(value: Any) -> Any:
    encoded = msgspec.json.encode(value)
    if len(encoded) <= LONGEST_ARGUMENTS:
        return value
    return redact.json(encoded)[0][:LONGEST_ARGUMENTS].decode(errors="ignore") + "…"
