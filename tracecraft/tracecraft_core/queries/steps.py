"""The steps of a run: in their order, as an outline, and by a text that they have."""

from __future__ import annotations

import msgspec

from tracecraft_core.queries.costs import Tokens  # noqa: TC001  # msgspec reads it
from tracecraft_core.queries.question import PAGE, Answer, Question, RunQuestion


class StepsList(RunQuestion, frozen=True, kw_only=True):
    """``runs.steps`` → `StepsPage`, in the order in which they began."""

    agent: str | None = None
    errors: bool = False
    """Only those that did not end well."""
    limit: int = PAGE
    cursor: str | None = None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A step."""

    step: str
    agent: str
    name: str
    kind: str
    status: str
    """``ok``, ``error``, ``lost`` or ``open``."""
    started: str
    ended: str | None
    seconds: float | None
    first_seq: int
    last_seq: int | None
    parent: str | None = None
    task: str | None = None
    error: str | None = None
    input: str | None = None
    """Preview; the value is in the entry ``input_seq`` or in the blob."""
    output: str | None = None
    input_seq: int | None = None
    output_seq: int | None = None
    input_blob: str | None = None
    output_blob: str | None = None
    tokens: Tokens | None = None
    cost: float | None = None
    model: str | None = None
    provider: str | None = None


class StepsPage(Answer, frozen=True, kw_only=True):
    """One page of steps."""

    steps: list[StepRow]
    next: str | None = None


class OutlineGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Steps of one agent that have the same parent group, name and kind."""

    agent: str
    path: list[str]
    """Names from the root down to this group."""
    kind: str
    steps: int
    errors: int
    open: int
    seconds: float
    """Sum of the durations."""
    longest: float
    first_seq: int
    started: str
    ended: str | None
    example: str
    """Id of the first of them."""
    tokens: Tokens
    cost: float | None


class Outline(Answer, frozen=True, kw_only=True):
    """``runs.outline`` (a `RunQuestion`): the tree with equal siblings taken together, small for any run."""

    groups: list[OutlineGroup]
    cut: bool = False
    """Whether there are more groups than one answer has room for."""


class SearchQuestion(Question, frozen=True, kw_only=True):
    """``runs.search`` → `SearchPage`: steps that have a text in their name, input, output or error."""

    text: str
    """Upper and lower case are the same; no pattern."""
    sessions: bool = False
    """Only runs that are sessions of coding agents (they have a tag ``session``); nothing that model calls repeat."""
    run: str | None = None
    agent: str | None = None
    since: str | None = None
    """RFC 3339; by the time at which it was recorded."""
    limit: int = PAGE
    cursor: str | None = None


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """A place where the text was found; a step may have several."""

    run: str
    title: str
    """The run's name."""
    source: str | None
    """The run's tag ``source``."""
    step: str
    agent: str
    name: str
    kind: str
    status: str
    started: str | None
    where: str
    """``name``, ``input``, ``output`` or ``error``."""
    snippet: str
    """The text around it."""
    seq: int
    """The entry of the log that has all of it."""


class SearchPage(Answer, frozen=True, kw_only=True):
    """What was found, the newest first."""

    hits: list[SearchHit]
    next: str | None = None
