"""What went into an operation and what came out, wherever a dialect has put it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracecraft_bridge.otlp.telemetry import first
from tracecraft_core import semconv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracecraft_bridge.otlp.telemetry import Attributes, Span

_WRAPPERS: Final = frozenset({"message", "tool_call", "message_content", "document", "tool"})
"""OpenInference puts each element of a list into an object with one of these as its only key."""

PLAIN: Final = frozenset(
    [
        *(semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES, semconv.SYSTEM_INSTRUCTIONS),
        *(semconv.OLD_PROMPT, semconv.OLD_COMPLETION, semconv.OI_INPUT, semconv.OI_OUTPUT),
        *(*semconv.TOOL_ARGUMENTS, *semconv.TOOL_RESULT, semconv.RETRIEVAL_QUERY, semconv.RETRIEVAL_DOCUMENTS),
        *(semconv.TRACELOOP_INPUT, semconv.TRACELOOP_OUTPUT, semconv.TOOL_DEFINITIONS),
    ]
)
"""Attributes that are content."""
PREFIXES: Final = tuple(
    f"{name}."
    for name in (
        *(semconv.OI_INPUT_MESSAGES, semconv.OI_OUTPUT_MESSAGES, semconv.OLD_PROMPT, semconv.OLD_COMPLETION),
        *(semconv.OI_DOCUMENTS, "llm.tools", "llm.request.functions", "embedding.embeddings"),
    )
)
"""Beginnings of names of flattened content."""
EVENTS: Final = frozenset(
    [
        *(*semconv.MESSAGE_EVENTS, semconv.CHOICE_EVENT, semconv.DETAILS_EVENT),
        *(semconv.CONTENT_PROMPT_EVENT, semconv.CONTENT_COMPLETION_EVENT),
    ]
)
"""Names of events, of spans or in logs, that are content."""


def of_span(span: Span) -> tuple[Any, Any]:
    """Input and output of a span; ``None`` for what it does not tell."""
    told = of_events((event.name, event.attributes, None) for event in span.events if event.name in EVENTS)
    return (
        _first_of(_messages_in(span.attributes), told[0], _other_input(span.attributes)),
        _first_of(_messages_out(span.attributes), told[1], _other_output(span.attributes)),
    )


def of_events(events: Iterable[tuple[str, Mapping[str, Any], Any]]) -> tuple[Any, Any]:
    """The same of events: each its name, its attributes and, in logs, its body."""
    asked: list[Any] = []
    answered: list[Any] = []
    for name, found, body in events:
        if name == semconv.DETAILS_EVENT:
            asked += _listed(_messages_in(found))
            answered += _listed(_messages_out(found))
        elif name == semconv.CONTENT_PROMPT_EVENT:
            asked += _listed(parsed(found.get(semconv.OLD_PROMPT)))
        elif name == semconv.CONTENT_COMPLETION_EVENT:
            answered += _listed(parsed(found.get(semconv.OLD_COMPLETION)))
        elif name == semconv.CHOICE_EVENT:
            answered.append(_message(None, found, body))
        else:
            asked.append(_message(semconv.MESSAGE_EVENTS.get(name), found, body))
    return asked or None, answered or None


def parsed(said: Any) -> Any:
    """What a text of JSON says, where it is an object or a list; anything else as it is."""
    if isinstance(said, str) and said[:1] in ("{", "["):
        try:
            return msgspec.json.decode(said)
        except (msgspec.MsgspecError, RecursionError):
            return said
    return said


def unflattened(found: Mapping[str, Any], prefix: str) -> Any:
    """The object behind ``<prefix>.0.message.role`` and its like; ``None`` when there is none."""
    tree: dict[str, Any] = {}
    begin = f"{prefix}."
    for key, said in found.items():
        if key.startswith(begin):
            _plant(tree, key[len(begin) :].split("."), said)
    return _listed_by_number(tree) if tree else None


def is_content(name: str) -> bool:
    """Whether an attribute is content, which is not repeated among the tags."""
    return name in PLAIN or name.startswith(PREFIXES)


def _messages_in(found: Mapping[str, Any]) -> Any:
    messages = parsed(found.get(semconv.INPUT_MESSAGES))
    system = parsed(found.get(semconv.SYSTEM_INSTRUCTIONS))
    if system is not None:
        return [{"role": "system", "parts": system}, *_listed(messages)]
    return _first_of(
        messages,
        unflattened(found, semconv.OI_INPUT_MESSAGES),
        unflattened(found, semconv.OLD_PROMPT),
        parsed(found.get(semconv.OLD_PROMPT)),
    )


def _messages_out(found: Mapping[str, Any]) -> Any:
    return _first_of(
        parsed(found.get(semconv.OUTPUT_MESSAGES)),
        unflattened(found, semconv.OI_OUTPUT_MESSAGES),
        unflattened(found, semconv.OLD_COMPLETION),
        parsed(found.get(semconv.OLD_COMPLETION)),
    )


def _other_input(found: Mapping[str, Any]) -> Any:
    names = (*semconv.TOOL_ARGUMENTS, semconv.RETRIEVAL_QUERY, semconv.OI_INPUT, semconv.TRACELOOP_INPUT, "user_prompt")
    said = first(found, *names)
    return parsed(first(found, semconv.OI_TOOL_PARAMETERS) if said is None else said)


def _other_output(found: Mapping[str, Any]) -> Any:
    said = first(found, *semconv.TOOL_RESULT, semconv.RETRIEVAL_DOCUMENTS, semconv.OI_OUTPUT, semconv.TRACELOOP_OUTPUT)
    return unflattened(found, semconv.OI_DOCUMENTS) if said is None else parsed(said)


def _message(role: str | None, found: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """A message of an event: what its body says, else its attributes."""
    said = parsed(body)
    told = dict(said) if isinstance(said, dict) else {} if said is None else {"content": said}
    for key, item in found.items():
        if not key.startswith("gen_ai.") and key != semconv.EVENT_NAME:
            told.setdefault(key, parsed(item))
    if role is not None:
        told.setdefault("role", role)
    return told


def _first_of(*candidates: Any) -> Any:
    return next((found for found in candidates if found is not None), None)


def _listed(found: Any) -> list[Any]:
    return [] if found is None else found if isinstance(found, list) else [found]


def _plant(tree: dict[str, Any], path: list[str], said: Any) -> None:
    for name in path[:-1]:
        below = tree.get(name)
        if not isinstance(below, dict):
            below = tree[name] = {}
        tree = below
    tree.setdefault(path[-1], said)


def _listed_by_number(tree: Attributes) -> Any:
    found = {key: _listed_by_number(item) if isinstance(item, dict) else item for key, item in tree.items()}
    if all(key.isdecimal() for key in found):
        return [found[key] for key in sorted(found, key=int)]
    if len(found) == 1:
        ((key, item),) = found.items()
        if key in _WRAPPERS and isinstance(item, dict):
            return item
    return found
