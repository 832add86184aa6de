"""Records: what a transcript says, in one form for all coding agents.

A parser makes them from lines or rows, and does nothing else: no clock, no file, no bus. A `key` names a step for ever,
so that reading the same transcript again makes the same records. Times are seconds since 1970, as the transcript has
them. `agent` is empty for the session's own agent, else the id of one of its sub-agents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from tracecraft_core.queries import Tokens

ToolKind = Literal["tool_call", "handoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the session; what is empty is not known, and what changes is said again."""

    time: float
    cwd: str = ""
    branch: str = ""
    version: str = ""
    model: str = ""
    title: str = ""
    parent: str = ""
    """Session inside of which this one works, as a sub-agent of it."""
    forked_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Somebody's words to the agent."""

    key: str
    time: float
    text: str
    by: str = "user"
    agent: str = ""
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A model call that is over."""

    key: str
    started: float
    time: float
    model: str
    input: list[dict[str, Any]]
    """What was new since the call before."""
    output: Any
    error: str = ""
    agent: str = ""
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """A model call that is over had put out more."""

    key: str
    time: float
    output: Any
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a model call used."""

    key: str | None
    time: float
    tokens: Tokens
    request: str
    """The same request counts once in a project."""
    model: str = ""
    provider: str = ""
    cost: float | None = None
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """The agent uses a tool, or hands over to a sub-agent."""

    key: str
    time: float
    name: str
    input: Any
    kind: ToolKind = "tool_call"
    agent: str = ""
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEnded:
    """The tool has answered."""

    key: str
    started: float
    time: float
    name: str
    output: Any
    error: str | None = None
    """Why it failed; ``None``: it did not."""
    kind: ToolKind = "tool_call"
    agent: str = ""
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStarted:
    """A sub-agent begins."""

    agent: str
    time: float
    role: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEnded:
    """A sub-agent is done."""

    agent: str
    time: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something else that happened: an interrupt, a compaction, an error of the provider."""

    key: str
    time: float
    name: str
    text: str = ""
    error: str | None = None
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the coding agent itself says that the session has cost so far, in USD."""

    time: float
    cost: float


Record: TypeAlias = (
    Facts | Turn | Call | More | Used | ToolStarted | ToolEnded | AgentStarted | AgentEnded | Noted | Spent
)
