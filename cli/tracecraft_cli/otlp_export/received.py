"""Steps that were spans before: what the bridge's receiver noted of them, by which they leave as the same spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from tracecraft_core import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_cli.otlp_export.span import Kind
    from tracecraft_core.queries import StepRow

_RESTORED: Final = (
    *(semconv.OPERATION, semconv.AGENT_NAME, semconv.AGENT_DESCRIPTION, semconv.WORKFLOW_NAME, semconv.CONVERSATION),
    *(semconv.OI_KIND, semconv.OI_AGENT_NAME, semconv.OI_GRAPH_NODE, semconv.OI_SESSION),
    *(semconv.REQUEST_MODEL, semconv.RESPONSE_MODEL, semconv.TOOL_NAME, semconv.OI_TOOL_NAME),
)
"""Attributes that are texts and say what the span is; all others are tags only, as a tag does not tell a number."""


def is_span(tags: Mapping[str, str]) -> bool:
    """Whether a step with these tags came as a span: its name is that of the span."""
    return semconv.SPAN_KIND_TAG in tags


def is_root(row: StepRow, tags: Mapping[str, str]) -> bool:
    """Whether it was the root of a trace, which is the run itself."""
    return is_span(tags) and row.parent is None and semconv.SPAN_ROOT_TAG in tags


def kind(tags: Mapping[str, str]) -> Kind:
    """The kind that the span had."""
    said = tags.get(semconv.SPAN_KIND_TAG)
    return cast("Kind", said) if said in semconv.SPAN_KINDS else "internal"


def attributes(tags: Mapping[str, str]) -> dict[str, Any]:
    """Attributes that the span had, under their own names."""
    return {name: tags[name] for name in _RESTORED if name in tags} if is_span(tags) else {}
