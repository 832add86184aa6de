"""A run that ``runs export --otlp`` took from another project: written as it was there, not as foreign telemetry.

What its spans are stands in attributes of ours: the run's with its status, those of agents, those of usage outside of
model calls, and the steps. The run's comes last; until then name and times are a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.otlp import counting, meaning
from tracecraft_bridge.otlp.content import parsed
from tracecraft_bridge.otlp.redacting import clean
from tracecraft_bridge.otlp.telemetry import text
from tracecraft_bridge.otlp.writing import origin_of
from tracecraft_core import semconv, values
from tracecraft_core.run_events import (
    AgentEnded,
    AgentStarted,
    EndStatus,
    Failure,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
    Usage,
    WriterLeft,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracecraft_bridge.otlp.telemetry import Span
    from tracecraft_bridge.otlp.writing import Writing

COPIED_FROM: Final = "exported_from"
"""Tag of the run: the project that it was taken from."""
_CRASHED: Final = "crashed"
_ENDS: Final[dict[str, EndStatus]] = {
    "finished": "finished",
    "failed": "failed",
    "killed": "killed",
    _CRASHED: "failed",
}
"""Only a bridge that saw it says that a run crashed, so such a one is failed here."""
_UNKNOWN: Final = "unknown"
"""The provider that the export names where nobody did."""


def write(writing: Writing, spans: Sequence[Span]) -> None:
    """All spans of one run in one request."""
    ordered = sorted(spans, key=lambda span: (span.end or span.start, span.start, span.id))
    run = next((span for span in ordered if semconv.RUN_STATUS in span.attributes), None)
    writing.agent = meaning.own_agent(run or ordered[0]) or writing.agent
    writing.begin(_guessed(writing, ordered) if run is None else _started(writing, run))
    for span in ordered:
        _write_span(writing, span)
    status = "" if run is None else text(run.attributes, semconv.RUN_STATUS)
    if run is None or status not in _ENDS:
        writing.add(writing.agent, "left", WriterLeft(time=_end(ordered[-1])))
        return
    writing.add(writing.agent, "ended", RunEnded(status=_ENDS[status], time=_end(run), error=_why(run, status)))


def _guessed(writing: Writing, spans: Sequence[Span]) -> RunStarted:
    begun = min(span.start for span in spans)
    return RunStarted(name=writing.home.name, time=begun, origin=origin_of(spans[0].resource), provisional=True)


def _started(writing: Writing, run: Span) -> RunStarted:
    found = run.attributes
    is_step = semconv.STEP_KIND in found
    given = None if is_step else _value(found, semconv.OI_INPUT, semconv.OI_INPUT_TYPE)
    if not isinstance(given, dict):
        given = {key: parsed(said) for key, said in _behind(found, semconv.PARAM_PREFIX)}
    tags = _tags(found, semconv.RUN_TAG_PREFIX if is_step else semconv.TAG_PREFIX)
    return RunStarted(
        name=clean(text(found, semconv.RUN_NAME), 400) or writing.home.name,
        time=run.start,
        params=given,
        tags={**tags, COPIED_FROM: clean(text(run.resource, semconv.EXPORTED_FROM), 250)},
        parent=clean(text(found, semconv.RUN_PARENT), 128) or None,
        origin=origin_of(run.resource),
    )


def _write_span(writing: Writing, span: Span) -> None:
    found = span.attributes
    agent = meaning.own_agent(span) or writing.agent
    if semconv.OUTSIDE_STEPS in found:
        in_step = text(found, semconv.OUTSIDE_STEPS) == "step"
        _write_usage(writing, span, agent, span.parent if in_step else None)
    elif semconv.STEP_KIND in found:
        _write_step(writing, span, agent)
    elif semconv.RUN_STATUS not in found:
        _write_agent(writing, span, agent, text(found, semconv.STEP_STATUS))


def _write_agent(writing: Writing, span: Span, agent: str, status: str) -> None:
    model, role = meaning.model_of(span.attributes), text(span.attributes, semconv.AGENT_DESCRIPTION)
    writing.add(agent, "agent.started", AgentStarted(time=span.start, model=model, role=clean(role, 200) or None))
    if status == "error":
        writing.add(agent, "agent.ended", AgentEnded(time=_end(span), status="error", error=_why(span, status)))
    elif status == "ok":  # else it is over with its run
        writing.add(agent, "agent.ended", AgentEnded(time=_end(span)))


def _write_step(writing: Writing, span: Span, agent: str) -> None:
    found = span.attributes
    status = text(found, semconv.STEP_STATUS)
    if meaning.is_agent(span):
        _write_agent(writing, span, agent, "error" if status == "error" else "ok")
    if status in ("open", "lost"):  # the end of its run says which
        writing.add(agent, "step.started", _step(span, StepStarted, time=span.start))
    for event, name, type_name in (
        ("step.input", semconv.OI_INPUT, semconv.OI_INPUT_TYPE),
        ("step.output", semconv.OI_OUTPUT, semconv.OI_OUTPUT_TYPE),
    ):
        if name in found:
            writing.data(agent, event, span.id, _value(found, name, type_name), _end(span))
    _write_usage(writing, span, agent, span.id)
    if status in ("open", "lost"):
        return
    failed = status == "error"
    ended = _step(span, StepEnded, time=_end(span), duration=max(0, _end(span) - span.start))
    tags = _tags(found, semconv.TAG_PREFIX)
    error = _why(span, status) if failed else None
    writing.add(
        agent, "step.ended", msgspec.structs.replace(ended, status=status if failed else "ok", error=error, tags=tags)
    )


def _step(span: Span, kind: Any, **times: int) -> Any:
    found = span.attributes
    return kind(
        step=span.id,
        name=clean(text(found, semconv.STEP_NAME), 500) or clean(span.name, 500) or "?",
        kind=meaning.kind_of(span),
        parent=None if found.get(semconv.STEP_TOP) is True else span.parent or None,
        task=clean(text(found, semconv.TASK), 250) or None,
        **times,
    )


def _write_usage(writing: Writing, span: Span, agent: str, step: str | None) -> None:
    tokens = counting.tokens_of_span(span.attributes)
    cost, currency = counting.cost_of(span.attributes)
    if not any(tokens) and cost is None:
        return
    provider = meaning.provider_of(span.attributes)
    usage = Usage(
        time=_end(span),
        step=step,
        task=clean(text(span.attributes, semconv.TASK), 250) or None,
        provider=None if provider == _UNKNOWN else provider,
        model=meaning.model_of(span.attributes),
        **tokens._asdict(),
        cost=cost,
        currency=currency,
        request=meaning.request_of(span),
    )
    writing.add(agent, "usage", usage)


def _why(span: Span, status: str) -> Failure | None:
    """Why it did not end well; nothing where the export had only the status to tell."""
    raised = next((event.attributes for event in span.events if event.name == semconv.EXCEPTION_EVENT), None)
    if raised is None:
        return None
    kind, message = text(raised, semconv.EXCEPTION_TYPE), text(raised, semconv.EXCEPTION_MESSAGE)
    if kind == status and not message and status != _CRASHED:
        return None
    return Failure(
        type=clean(kind or "Error", 200),
        message=clean(message, meaning.MAX_TEXT),
        trace=clean(text(raised, semconv.EXCEPTION_STACKTRACE), meaning.MAX_TRACE),
    )


def _value(found: Mapping[str, Any], name: str, type_name: str) -> Any:
    """What ``input.value`` and its like hold: JSON where their type says so."""
    said = found.get(name)
    if isinstance(said, str) and text(found, type_name) == semconv.OI_JSON:
        try:
            return msgspec.json.decode(said)
        except (msgspec.MsgspecError, RecursionError):
            return said  # only the beginning of a value
    return said


def _tags(found: Mapping[str, Any], prefix: str) -> dict[str, str]:
    return {key: clean(values.as_tag(said), 500) for key, said in _behind(found, prefix)}


def _behind(found: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    named = ((key.removeprefix(prefix), said) for key, said in found.items() if key.startswith(prefix))
    return [(name, said) for name, said in named if 0 < len(name) <= 250]


def _end(span: Span) -> int:
    return span.end or span.start
