"""Spans as steps. A step's id is the span's, so the same span, however often it is told, is one step."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.otlp import content, counting, meaning
from tracecraft_bridge.otlp.redacting import clean, shown
from tracecraft_bridge.otlp.telemetry import text
from tracecraft_bridge.otlp.writing import origin_of
from tracecraft_core import semconv, values
from tracecraft_core.run_events import (
    AgentEnded,
    AgentStarted,
    LogLine,
    RunEnded,
    RunStarted,
    StepEnded,
    Usage,
    WriterLeft,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tracecraft_bridge.otlp.home import Home
    from tracecraft_bridge.otlp.telemetry import Span
    from tracecraft_bridge.otlp.writing import Writing
    from tracecraft_core.run_events import Failure

REMEMBERED: Final = 50_000
"""Spans of which it is kept in memory that their children have told of the call already."""
_NOT_TAGS: Final = (
    *("telemetry.", "tracecraft.", "process.command", "process.runtime", "process.executable", "process.owner"),
)
"""Attributes of a resource that tell nothing of the run."""
_OF_THE_USER: Final = ("tracecraft.", "user.", "organization.", "terminal.", "anthropic.")
"""Attributes that a coding agent repeats on each span."""
_CLAUDE_TOOL: Final = "claude_code.tool"
_MOST_NAMED: Final = 24
"""Parameters, and tags by their prefix, in one resource or span."""
_LONGEST_PARAM: Final = 2_000
_MOST_LINES: Final = 32
_LONGEST_LINE: Final = 4_000


class Told:
    """Spans above a model call that was counted: another model call there is the same one, seen from further out.

    Children come before their parents, at times in an earlier request; so this lives as long as the receiver.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], None] = {}

    def note(self, spans: Mapping[str, Span]) -> None:
        """Look at the spans of a request, before any of them is written."""
        with self._lock:
            for span in spans.values():
                if (span.trace, span.id) in self._known or (
                    meaning.is_model_call(span) and any(meaning.tokens_of(span))
                ):
                    self._climb(span, spans)
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]

    def _climb(self, span: Span, spans: Mapping[str, Span]) -> None:
        """Upwards until a tool or an agent: what they call is a call of its own."""
        parent: Span | None = span
        while parent is not None and parent.parent:
            if meaning.kind_of(parent) not in ("llm", "other"):
                return
            key = (parent.trace, parent.parent)
            if key in self._known:
                return
            self._known[key] = None
            parent = spans.get(parent.parent)

    def __contains__(self, span: Span) -> bool:
        return (span.trace, span.id) in self._known


def write(writing: Writing, spans: Sequence[Span], told: Told) -> None:
    """All spans of one run in one request."""
    ordered = sorted(spans, key=lambda span: (span.end or span.start, span.start, span.id))
    known = {span.id: span for span in ordered}
    told.note(known)
    roots = [span for span in ordered if not span.parent] if writing.home.origin == "trace" else []
    writing.begin(beginning(writing.home, ordered, roots))
    for span in ordered:
        _write_span(writing, span, _agent_of(span, known, writing.agent), told)
    last = ordered[-1]
    if roots:
        failed = meaning.failure_of(roots[-1])
        writing.add(
            writing.agent,
            "ended",
            RunEnded(status="failed" if failed else "finished", time=_end(roots[-1]), error=failed),
        )
    else:
        writing.add(writing.agent, "left", WriterLeft(time=_end(last)))


def beginning(home: Home, spans: Sequence[Span], roots: Sequence[Span]) -> RunStarted:
    """How the run began, as far as these spans know."""
    earliest = min(roots or spans, key=lambda span: span.start)
    name = home.name or (text(earliest.attributes, semconv.WORKFLOW_NAME) or earliest.name if roots else "")
    session = next(filter(None, (text(s.attributes, semconv.CONVERSATION, semconv.OI_SESSION) for s in spans)), "")
    started = started_of(home, earliest.resource, earliest.start, name, session)
    own = {key: said for span in roots for key, said in _params(span.attributes)}
    final = bool(roots) or home.origin in ("session", "service")
    return msgspec.structs.replace(started, params={**started.params, **own}, provisional=not final)


def started_of(home: Home, resource: Mapping[str, Any], time: int, name: str, session: str) -> RunStarted:
    """The beginning of a run as its resource tells it."""
    tags = {"source": home.source, **meaning.tags_of(resource, without=_NOT_TAGS)}
    if session:
        tags["session"] = clean(session, 400)
    tags |= {key: clean(values.as_tag(said), 400) for key, said in _prefixed(resource, semconv.TAG_PREFIX)}
    return RunStarted(
        name=clean(name or text(resource, semconv.SERVICE_NAME), 400) or home.run,
        time=time,
        params=dict(_params(resource)),
        tags=tags,
        trace=home.trace or None,
        origin=origin_of(resource),
    )


def _prefixed(found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """What stands behind a prefix, not more of it than fits into an event."""
    named = ((key.removeprefix(prefix), said) for key, said in found.items() if key.startswith(prefix))
    return itertools.islice(((name, said) for name, said in named if 0 < len(name) <= 200), _MOST_NAMED)


def _params(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, said in _prefixed(found, semconv.PARAM_PREFIX):
        fits = len(values.encode(said)) <= _LONGEST_PARAM
        yield name, said if fits else clean(shown(said), _LONGEST_PARAM)


def _agent_of(span: Span, known: Mapping[str, Span], fallback: str) -> str:
    """The agent that the span names, else the nearest one above it that is in the request."""
    seen: set[str] = set()
    at: Span | None = span
    while at is not None and at.id not in seen:
        agent = meaning.own_agent(at)
        if agent:
            return agent
        seen.add(at.id)
        at = known.get(at.parent)
    return fallback


def _write_span(writing: Writing, span: Span, agent: str, told: Told) -> None:
    failed = meaning.failure_of(span)
    is_agent = meaning.is_agent(span)
    if is_agent:
        model, role = meaning.model_of(span.attributes), text(span.attributes, semconv.AGENT_DESCRIPTION)
        writing.add(agent, "agent.started", AgentStarted(time=span.start, model=model, role=clean(role, 200) or None))
    asked, answered = content.of_span(span)
    if asked is not None:
        writing.data(agent, "step.input", span.id, asked, span.start)
    if answered is not None:
        writing.data(agent, "step.output", span.id, answered, _end(span))
    _write_lines(writing, span, agent, failed)
    usage = _usage(span, told)
    if usage is not None:
        writing.add(agent, "usage", usage)
    writing.add(agent, "step.ended", _ended(span, failed, is_root=writing.home.origin == "trace" and not span.parent))
    if is_agent:
        ended = AgentEnded(time=_end(span), status="error" if failed else "ok", error=failed)
        writing.add(agent, "agent.ended", ended)


def _write_lines(writing: Writing, span: Span, agent: str, failed: Failure | None) -> None:
    """Events of the span that are no content; an exception only where it was not what the step failed of."""
    events = [event for event in span.events if event.name not in content.EVENTS]
    if failed is not None:
        events = [event for event in events if event.name != semconv.EXCEPTION_EVENT]
    for event in events[:_MOST_LINES]:
        said = f" {shown(event.attributes)}" if event.attributes else ""
        line = LogLine(
            text=clean(f"{event.name}{said}", _LONGEST_LINE),
            time=event.time or _end(span),
            level="warning" if event.name == semconv.EXCEPTION_EVENT else "info",
            step=span.id,
        )
        writing.add(agent, "log", line)


def _usage(span: Span, told: Told) -> Usage | None:
    tokens = meaning.tokens_of(span) if meaning.is_model_call(span) else counting.Tokens()
    if not any(tokens):
        return None
    cost, currency = counting.cost_of(span.attributes)
    return Usage(
        time=_end(span),
        step=span.id,
        task=clean(text(span.attributes, semconv.TASK), 250) or None,
        provider=meaning.provider_of(span.attributes),
        model=meaning.model_of(span.attributes),
        **tokens._asdict(),
        cost=cost,
        currency=currency,
        cause="replay" if span in told else "original",
        request=meaning.request_of(span),
    )


def _ended(span: Span, failed: Failure | None, *, is_root: bool) -> StepEnded:
    is_claude = span.name.startswith(semconv.CLAUDE_PREFIX)
    tags = meaning.tags_of(span.attributes, without=_OF_THE_USER if is_claude else ("tracecraft.",))
    tags |= {key: clean(values.as_tag(said), 400) for key, said in _prefixed(span.attributes, semconv.TAG_PREFIX)}
    if span.scope:
        tags["otel.scope"] = clean(span.scope, 200)
    if span.links:
        tags["otel.links"] = " ".join(span.links[:8])
    whole = span.trace[16:]
    name = clean(_name(span), 500) or "?"
    if name == clean(span.name, 500):  # by these it is exported as the same span
        tags[semconv.SPAN_KIND_TAG] = (
            semconv.SPAN_KINDS[span.kind] if 0 < span.kind < len(semconv.SPAN_KINDS) else "internal"
        )
        if is_root:
            tags[semconv.SPAN_ROOT_TAG] = "true"
    return StepEnded(
        step=span.id,
        name=name,
        time=_end(span),
        duration=max(0, _end(span) - span.start),
        kind=meaning.kind_of(span),
        parent=None if span.parent in ("", whole) else span.parent,
        task=clean(text(span.attributes, semconv.TASK), 250) or None,
        status="error" if failed else "ok",
        error=failed,
        tags=tags,
    )


def _name(span: Span) -> str:
    """Its own name; a step that was exported from here, and a tool of Claude Code, have another as spans."""
    tool = meaning.tool_of(span.attributes) if span.name == _CLAUDE_TOOL else ""
    return text(span.attributes, semconv.STEP_NAME) or tool or span.name


def _end(span: Span) -> int:
    return span.end or span.start
