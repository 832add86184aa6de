"""What a stub model answers, and to whom: replies, the tokens that they cost, and the rules that choose among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from tests.support.stub_model.request import Request


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint buckets: no token is counted in two of them."""

    input: int = 0
    """Neither read from nor written to a cache."""
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """Without reasoning."""
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


DEFAULT_USAGE: Final = Usage(input=11, output=7)
"""What a reply costs that says nothing else."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    namespace: str | None = None
    """Codex calls the tools of an MCP server ``mcp__tracecraft`` + ``claim_task``: there this is the first."""
    id: str | None = None
    """Without one it gets ``call_1``, ``call_2``, …"""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: a text, calls of tools, both, or an error; see `say`, `call` and `fail`."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = DEFAULT_USAGE
    error: int | None = None
    """HTTP status in place of an answer; such a reply uses no tokens."""
    delay: float = 0.0
    """Seconds until the answer begins."""
    gate: threading.Event | None = None
    """The answer waits until somebody sets this: to have a call under way for as long as a test wants."""


def say(text: str, usage: Usage = DEFAULT_USAGE, *, delay: float = 0.0, gate: threading.Event | None = None) -> Reply:
    """The model ends its turn with a text."""
    return Reply(text=text, usage=usage, delay=delay, gate=gate)


def call(name: str, arguments: Mapping[str, Any] | None = None, usage: Usage = DEFAULT_USAGE, **more: Any) -> Reply:
    """The model asks for one tool; ``more`` is ``namespace=`` and ``id=``. Several at once: ``Reply(calls=(…))``."""
    return Reply(calls=(ToolCall(name, arguments or {}, **more),), usage=usage)


def fail(status: int = 500, text: str = "the stub model was told to fail", *, delay: float = 0.0) -> Reply:
    """The service refuses: 429, 500, 503, … A client that tries again takes the next reply of the script."""
    return Reply(text=text, usage=Usage(), error=status, delay=delay)


Answer = Reply | Callable[["Request"], Reply]
"""A reply, or what makes one of the request: to repeat the result of a tool, for example."""


@dataclass(slots=True)
class Rule:
    """For whom some answers are meant; they are given one after the other, the last one for ever where it says so.

    Every condition that is given must hold.
    """

    answers: Sequence[Answer]
    system: str | None = None
    """Stands in the system prompt."""
    text: str | None = None
    """Stands anywhere in the conversation."""
    model: str | None = None
    """Stands in the name of the model."""
    tool: str | None = None
    """Is offered."""
    turn: int | None = None
    """So many times the model has spoken in this conversation; 0: never."""
    when: Callable[[Request], bool] | None = None
    forever: bool = False
    given: int = 0

    def answer(self, request: Request) -> Answer | None:
        """The next answer, when the request is meant and there is one left."""
        last = len(self.answers) - 1
        if (self.given > last and not (self.forever and self.answers)) or not self._means(request):
            return None
        self.given += 1
        return self.answers[min(self.given - 1, last)]

    def _means(self, request: Request) -> bool:
        return all(
            (
                self.system is None or self.system in request.system,
                self.text is None or self.text in request.text,
                self.model is None or self.model in request.model,
                self.tool is None or self.tool in request.tools,
                self.turn is None or self.turn == request.turn,
                self.when is None or self.when(request),
            )
        )


def load_rules(written: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Rules from JSON, for the program: the fields of `Rule`, `Reply`, `ToolCall` and `Usage` by their names."""
    return [Rule(**{**rule, "answers": [_reply(one) for one in rule["answers"]]}) for rule in written]


def _reply(written: Mapping[str, Any]) -> Reply:
    calls = tuple(ToolCall(**one) for one in written.get("calls", ()))
    default = {"usage": Usage()} if "error" in written else {}
    usage = {"usage": Usage(**written["usage"])} if "usage" in written else default
    return Reply(**{**written, "calls": calls, **usage})
