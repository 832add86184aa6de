"""What a span is as a step: its kind, who did it, how it failed, what its model call used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, get_args

from tracecraft_bridge.otlp import counting
from tracecraft_bridge.otlp.content import is_content
from tracecraft_bridge.otlp.redacting import clean, redaction, shown
from tracecraft_bridge.otlp.telemetry import CONSUMER, PRODUCER, first, text
from tracecraft_core import semconv, values
from tracecraft_core.run_events import Failure, StepKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_bridge.otlp.telemetry import Attributes, Span

KINDS: Final[dict[str, StepKind]] = {kind: kind for kind in get_args(StepKind)}
AGENT: Final = "otel"
"""The agent of what nobody named."""
MAX_TRACE: Final = 8_000
MAX_TEXT: Final = 4_000
MOST_TAGS: Final = 48
LONGEST_TAG: Final = 500
UNIQUE: Final = 20
"""Characters from which on a provider's id of a response is taken to be unique in the world."""

_NOT_A_TOKEN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_HANDOFF: Final = re.compile(r"(?i)(?:transfer|hand[_ -]?off)[_ -]to[_ -].+")
_PROVIDERS: Final = {
    "az.ai.openai": "azure",
    "az.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
    "gcp.vertex_ai": "google",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "vertexai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}
"""Names of OpenTelemetry -> of the price list."""


def kind_of(span: Span) -> StepKind:
    """The kind of step; ``other`` for what no dialect explains."""
    found = span.attributes
    said = KINDS.get(text(found, semconv.STEP_KIND))
    if said is not None:
        return said
    kind = _kind_by_dialect(span)
    if kind == "tool_call" and _HANDOFF.fullmatch(tool_of(found) or span.name):
        return "handoff"
    if kind == "other" and ("messaging.system" in found or span.kind in (PRODUCER, CONSUMER)):
        return "message"
    return kind


def _kind_by_dialect(span: Span) -> StepKind:
    found = span.attributes
    operation = text(found, semconv.OPERATION)
    if operation:
        return semconv.OPERATION_KINDS.get(operation, "other")
    if semconv.OI_KIND in found:
        return semconv.OI_KINDS.get(text(found, semconv.OI_KIND).upper(), "other")
    if span.name in semconv.CLAUDE_SPAN_KINDS:
        return semconv.CLAUDE_SPAN_KINDS[span.name]
    if semconv.TRACELOOP_KIND in found:
        return semconv.TRACELOOP_KINDS.get(text(found, semconv.TRACELOOP_KIND), "other")
    if semconv.TOOL_NAME in found:
        return "tool_call"
    return "llm" if _is_old_call(found) else "other"


def is_model_call(span: Span) -> bool:
    """Whether its usage is paid for: a leaf, not an agent or a chain that repeats the totals of its children."""
    found = span.attributes
    operation = text(found, semconv.OPERATION)
    if operation:
        return operation in semconv.MODEL_CALLS
    if semconv.OI_KIND in found:
        return text(found, semconv.OI_KIND).upper() in semconv.OI_MODEL_CALLS
    if span.name.startswith(semconv.CLAUDE_PREFIX):
        return span.name == "claude_code.llm_request"
    return semconv.TRACELOOP_KIND not in found and _is_old_call(found)


def _is_old_call(found: Mapping[str, Any]) -> bool:
    """A call in the words from before `semconv.OPERATION`."""
    if semconv.LLM_REQUEST_TYPE in found:
        return True
    return first(found, *semconv.PROVIDER) is not None and semconv.REQUEST_MODEL in found


def tokens_of(span: Span) -> counting.Tokens:
    """What the call used."""
    if span.name.startswith(semconv.CLAUDE_PREFIX):
        found = counting.tokens_of_claude(span.attributes)
        if any(found):
            return found
    return counting.tokens_of_span(span.attributes)


def request_of(span: Span) -> str:
    """Under which id the call is counted once, however many instrumentations and exporters tell of it."""
    said = clean(text(span.attributes, semconv.CLAUDE_REQUEST_ID, semconv.RESPONSE_ID), 200)
    if len(said) >= UNIQUE:
        return said
    return f"{span.trace}/{said or span.id}"


def model_of(found: Mapping[str, Any]) -> str | None:
    """The model that answered, else the one that was asked."""
    names = (semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL, semconv.OI_MODEL, semconv.OI_EMBEDDING_MODEL, "model")
    return clean(text(found, *names), 200) or None


def provider_of(found: Mapping[str, Any]) -> str | None:
    """Who sells the call, by the name that the price list has for it."""
    said = clean(text(found, *semconv.PROVIDER, *semconv.OI_PROVIDER), 100).lower()
    return _PROVIDERS.get(said, said) or None


def tool_of(found: Mapping[str, Any]) -> str:
    """The name of the tool; empty when there is none."""
    return text(found, semconv.TOOL_NAME, semconv.OI_TOOL_NAME, "tool_name")


def own_agent(span: Span) -> str:
    """The agent that the span itself names; empty when it does not."""
    names = (semconv.AGENT, semconv.AGENT_NAME, semconv.OI_AGENT_NAME)
    said = text(span.attributes, *names)
    if not said and text(span.attributes, semconv.OI_KIND).upper() == "AGENT":
        said = text(span.attributes, semconv.OI_GRAPH_NODE) or span.name
    return as_token(said)


def is_agent(span: Span) -> bool:
    """Whether it is the part of an agent that it names."""
    found = span.attributes
    said = text(found, semconv.OPERATION) == "invoke_agent" or text(found, semconv.OI_KIND).upper() == "AGENT"
    return said and bool(own_agent(span))


def service_agent(resource: Mapping[str, Any]) -> str:
    """The agent of a whole process."""
    said = text(resource, semconv.AGENT, semconv.SERVICE_NAME)
    return AGENT if said.startswith(semconv.UNKNOWN_SERVICE) else as_token(said) or AGENT


def as_token(said: str) -> str:
    """A name as one token of a subject; what else there is in it becomes ``_``."""
    return _NOT_A_TOKEN.sub("_", redaction.text(said))[:64].strip("_")


def failure_of(span: Span) -> Failure | None:
    """Why it failed; ``None`` when it did not."""
    found: Attributes = next((e.attributes for e in reversed(span.events) if e.name == semconv.EXCEPTION_EVENT), {})
    kind = text(span.attributes, semconv.ERROR_TYPE) or text(found, semconv.EXCEPTION_TYPE)
    if not span.failed and not (span.status == 0 and semconv.ERROR_TYPE in span.attributes):
        return None
    message = text(found, semconv.EXCEPTION_MESSAGE) or span.status_message
    return Failure(
        type=clean(text(found, semconv.EXCEPTION_TYPE) or kind or "Error", 200),
        message=clean(message or text(span.attributes, semconv.ERROR_MESSAGE, "error"), MAX_TEXT),
        trace=clean(text(found, semconv.EXCEPTION_STACKTRACE), MAX_TRACE),
    )


def tags_of(found: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Attributes that have no place of their own, as tags."""
    tags: dict[str, str] = {}
    for name, said in found.items():
        if len(tags) >= MOST_TAGS:
            break
        if said is None or not name or len(name) > 200 or is_content(name) or name.startswith(without):
            continue
        whole = values.as_tag(said) if isinstance(said, (str, bool, int, float)) else shown(said)
        tags[name] = clean(whole, LONGEST_TAG)
    return tags
