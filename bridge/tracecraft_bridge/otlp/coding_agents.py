"""What Claude Code and Codex tell in log records, as steps: calls of the model and of tools, and what was said.

Both log one record for each thing that is over. A record has no id that lasts, so a step's is made of the ids that it
has (of the session, the request, the tool call, the sequence): a repeat is the same step. A record of Claude Code that
has a trace has been told by a span too, so it is but a line of that span's step; what it cost counts once, by the
provider's id of the request, which both have.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from tracecraft_bridge.otlp import counting, meaning
from tracecraft_bridge.otlp.content import parsed
from tracecraft_bridge.otlp.redacting import clean
from tracecraft_bridge.otlp.telemetry import first, text
from tracecraft_core import semconv
from tracecraft_core.run_events import Failure, StepEnded, StepKind, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracecraft_bridge.otlp.telemetry import Record
    from tracecraft_bridge.otlp.writing import Writing

THOUSAND: Final = 1_000
MAX_MS: Final = 1e12


def is_known(name: str) -> bool:
    """Whether this is an event of one of the two."""
    return name.startswith((semconv.CLAUDE_PREFIX, semconv.CODEX_PREFIX))


def write(writing: Writing, record: Record, name: str) -> bool:
    """Write an event; false when it is to be a line of the log."""
    if name in _NOISE and not (name == semconv.CODEX_SSE and _is_completed(record)):
        return True
    if name.startswith(semconv.CLAUDE_PREFIX) and record.span:
        if name == semconv.CLAUDE_API_REQUEST and semconv.CLAUDE_REQUEST_ID in record.attributes:
            writing.add(_agent(writing, record), "usage", _claude_usage(writing, record, None))
        return False
    writer = _WRITERS.get(name)
    if writer is None:
        return False
    writer(writing, record)
    return True


def _claude_call(writing: Writing, record: Record) -> None:
    request = text(record.attributes, semconv.CLAUDE_REQUEST_ID) or _serial(record)
    step = _id(record, "call", request)
    writing.add(_agent(writing, record), "usage", _claude_usage(writing, record, step))
    _step(writing, record, meaning.model_of(record.attributes) or "model", "llm", request, step=step)


def _claude_usage(writing: Writing, record: Record, step: str | None) -> Usage:
    request = text(record.attributes, semconv.CLAUDE_REQUEST_ID) or _serial(record)
    tokens, (cost, _) = counting.tokens_of_claude(record.attributes), counting.cost_of(record.attributes)
    return _usage(writing, record, request, tokens, step=step, cost=cost, provider="anthropic")


def _claude_error(writing: Writing, record: Record) -> None:
    said = text(record.attributes, "error", semconv.ERROR_MESSAGE)
    kind = text(record.attributes, "status_code", semconv.ERROR_TYPE) or "api_error"
    model = meaning.model_of(record.attributes) or "model"
    _step(writing, record, model, "llm", _serial(record), failed=_failure(kind, said))


def _codex_call(writing: Writing, record: Record) -> None:
    tokens = counting.tokens_of_codex(record.attributes)
    request = text(record.attributes, semconv.RESPONSE_ID, "response.id", "response_id") or _serial(record)
    step = _id(record, "call", request)
    usage = _usage(writing, record, request, tokens, step=step, cost=None, provider="openai")
    writing.add(_agent(writing, record), "usage", usage)
    _step(writing, record, usage.model or "model", "llm", request, step=step)


def _usage(
    writing: Writing,
    record: Record,
    request: str,
    tokens: counting.Tokens,
    *,
    step: str | None,
    cost: float | None,
    provider: str,
) -> Usage:
    known = "@" not in request and len(request) >= meaning.UNIQUE
    return Usage(
        time=record.time,
        step=step,
        provider=provider,
        model=meaning.model_of(record.attributes),
        **tokens._asdict(),
        cost=cost,
        request=request if known else f"{writing.home.run}/{request}",
    )


def _tool(writing: Writing, record: Record) -> None:
    found = record.attributes
    name = text(found, "tool_name", semconv.TOOL_NAME) or "tool"
    call = text(found, "tool_use_id", "call_id", semconv.TOOL_CALL_ID) or _serial(record)
    step = _id(record, "tool", call)
    asked = parsed(first(found, "tool_input", "tool_parameters", "arguments"))
    answered = parsed(first(found, "output", "tool_output", "tool_result"))
    failed = None
    if text(found, "success").lower() == "false":
        said = text(found, "error", semconv.ERROR_MESSAGE) or (answered if isinstance(answered, str) else "")
        kind = text(found, "error_type", semconv.ERROR_TYPE) or "ToolError"
        failed = _failure(kind, said)
    _step(writing, record, name, "tool_call", call, step=step, asked=asked, answered=answered, failed=failed)


def _failure(kind: str, said: str) -> Failure:
    return Failure(type=clean(kind, 200), message=clean(said, meaning.MAX_TEXT))


def _prompt(writing: Writing, record: Record) -> None:
    _step(writing, record, "user prompt", "message", _serial(record), asked=first(record.attributes, "prompt"))


def _answer(writing: Writing, record: Record) -> None:
    _step(writing, record, "answer", "message", _serial(record), answered=first(record.attributes, "response"))


def _step(
    writing: Writing,
    record: Record,
    name: str,
    kind: StepKind,
    key: str,
    *,
    step: str = "",
    asked: Any = None,
    answered: Any = None,
    failed: Failure | None = None,
) -> None:
    step = step or _id(record, name, key)
    agent = _agent(writing, record)
    if asked is not None:
        writing.data(agent, "step.input", step, asked, record.time)
    if answered is not None:
        writing.data(agent, "step.output", step, answered, record.time)
    spent = counting.number(record.attributes.get("duration_ms")) or 0.0
    ended = StepEnded(
        step=step,
        name=clean(name, 500),
        time=record.time,
        duration=int(min(max(spent, 0.0), MAX_MS) * THOUSAND),
        kind=kind,
        parent=record.span or None if writing.home.origin == "inside" else None,
        status="error" if failed else "ok",
        error=failed,
        tags=_tags(record.attributes),
    )
    writing.add(agent, "step.ended", ended)


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    """What else is known of it, but not who the user is."""
    hidden = (
        "user.",
        "organization.",
        "terminal.",
        "event.",
        "anthropic.",
        "prompt",
        "response",
        "tool_input",
        "tool_parameters",
    )
    return meaning.tags_of(found, without=(*hidden, "arguments", "output", "tracecraft."))


def _agent(writing: Writing, record: Record) -> str:
    return meaning.as_token(text(record.attributes, semconv.AGENT)) or writing.agent


def _serial(record: Record) -> str:
    """What tells a record from the others of its session."""
    said = text(record.attributes, semconv.EVENT_SEQUENCE)
    return f"{said}@{record.time}"


def _id(record: Record, what: str, key: str) -> str:
    session = text(record.attributes, semconv.CLAUDE_SESSION, semconv.CODEX_CONVERSATION)
    return hashlib.sha256(f"{session}/{what}/{key}".encode()).hexdigest()[:16]


def _is_completed(record: Record) -> bool:
    """Codex tells twice that a response is complete, once with what it used."""
    found = record.attributes
    return text(found, semconv.CODEX_KIND) == semconv.CODEX_COMPLETED and semconv.CODEX_INPUT_TOKENS in found


_WRITERS: Final[dict[str, Callable[[Writing, Record], None]]] = {
    semconv.CLAUDE_API_REQUEST: _claude_call,
    semconv.CLAUDE_API_ERROR: _claude_error,
    semconv.CLAUDE_TOOL_RESULT: _tool,
    semconv.CLAUDE_USER_PROMPT: _prompt,
    semconv.CLAUDE_ASSISTANT: _answer,
    semconv.CODEX_SSE: _codex_call,
    semconv.CODEX_TOOL_RESULT: _tool,
    semconv.CODEX_USER_PROMPT: _prompt,
}
_NOISE: Final = frozenset({semconv.CODEX_SSE, "codex.websocket_event", "codex.websocket.event"})
"""One for each piece of a stream; only the last of them says something that the others do not."""
