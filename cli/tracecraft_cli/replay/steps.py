"""The steps on a tape: spans with a beginning, an end, a parent, and what they used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tracecraft_cli.replay.moment import believed, microseconds
from tracecraft_cli.replay.wording import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_cli.replay.moment import Moment
    from tracecraft_core.queries import Entry

Status = Literal["open", "ok", "error", "lost"]
_TOKENS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")


@dataclass(slots=True)
class Span:
    """A step: what a bar in a swim-lane shows."""

    run: str
    step: str
    agent: str
    name: str
    kind: str
    start: int
    """Microseconds since 1970."""
    first_seq: int
    end: int | None = None
    last_seq: int | None = None
    status: Status = "open"
    parent: str | None = None
    task: str | None = None
    input_seq: int | None = None
    output_seq: int | None = None
    tokens: int = 0
    """Of calls that count (`totals.Calls`), as is the cost."""
    cost: float | None = None
    model: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class Steps:
    """All steps, by run and id."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], Span] = {}
        self._by_id: dict[str, Span] = {}

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans.values())

    def get(self, run: str | None, step: str | None) -> Span | None:
        """One step."""
        return self._spans.get((run or "", step or ""))

    def by_id(self, step: str) -> Span | None:
        """The step of this id, of whichever run."""
        return self._by_id.get(step)

    def add(self, moment: Moment, entry: Entry, *, counts: bool = True) -> None:
        """Take in what a moment says about a step; an end without a start says enough by itself.

        ``counts``: whether a model call is paid for here.
        """
        if moment.run is None or moment.step is None or not isinstance(entry.body, dict):
            return
        known = self._spans.get((moment.run, moment.step))
        if moment.event == "step.started":
            self._start(moment, entry.body, known)
        elif moment.event == "step.ended":
            self._end(moment, entry, entry.body, known)
        elif known is not None:
            _note(known, moment, entry.body, counts)

    def _start(self, moment: Moment, body: dict[str, Any], known: Span | None) -> None:
        if known is None:
            self._new(moment, body, moment.time)
        elif known.last_seq is not None and known.first_seq == known.last_seq:  # its end came first
            known.start, known.first_seq = moment.time, moment.seq

    def _new(self, moment: Moment, body: dict[str, Any], start: int) -> Span:
        assert moment.run is not None
        assert moment.step is not None
        parent, task = body.get("parent"), body.get("task")
        span = Span(
            run=moment.run,
            step=moment.step,
            agent=moment.agent,
            name=moment.name,
            kind=str(body.get("kind", "other")),
            start=start,
            first_seq=moment.seq,
            parent=parent if isinstance(parent, str) else None,
            task=task if isinstance(task, str) else None,
        )
        self._spans[moment.run, moment.step] = self._by_id[moment.step] = span
        return span

    def _end(self, moment: Moment, entry: Entry, body: dict[str, Any], known: Span | None) -> None:
        took = body.get("duration")
        took = took if isinstance(took, int) and 0 <= took <= LONGEST else 0
        span = known or self._new(moment, body, believed(moment.time - took, microseconds(entry.time)))
        span.end = max(span.start, span.start + took if took else moment.time)
        span.last_seq = moment.seq
        span.status = "error" if body.get("status") == "error" else "ok"
        tags = body.get("tags")
        if isinstance(tags, dict):
            span.tags = {str(key): str(value) for key, value in tags.items()}


def tokens_of(body: dict[str, Any]) -> int:
    """All tokens of a model call."""
    return sum(count for key in _TOKENS if isinstance(count := body.get(key), int))


def _note(span: Span, moment: Moment, body: dict[str, Any], counts: bool) -> None:
    """What was logged inside of a step."""
    if moment.event == "step.input":
        span.input_seq = moment.seq
    elif moment.event == "step.output":
        span.output_seq = moment.seq
    elif moment.event == "usage":
        cost, model = body.get("cost"), body.get("model")
        if counts:
            span.tokens += tokens_of(body)
        if counts and isinstance(cost, (int, float)) and body.get("currency", "USD") == "USD":
            span.cost = (span.cost or 0.0) + cost
        span.model = model if isinstance(model, str) else span.model
