"""Spans of a run: of itself, of its agents, of its steps, and of usage that no model call has.

The run is ``invoke_workflow``, an agent ``invoke_agent``, a step ``chat``, ``execute_tool``, ``retrieval`` or itself.
A step that came as a span (`received`) is that span again, and the root of a trace is the run.
Usage stands on spans of model calls only, each token once: whoever adds up the spans of a trace has the run's totals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.otlp_export import messages, received, usage
from tracecraft_cli.otlp_export.span import MOST_LINKS, Event, Link, Span, nanoseconds, span_id, step_id
from tracecraft_core import ids, semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracecraft_cli.otlp_export.values import Value, Values
    from tracecraft_core.queries import AgentRow, RunDetail, RunRow, StepRow, Tokens

_OI_KINDS: Final = {"llm": "LLM", "tool_call": "TOOL", "retrieval": "RETRIEVER"}
"""OpenInference's kind of a step; any other is a ``CHAIN``."""
_LANGFUSE: Final = {"LLM": "generation", "TOOL": "tool", "RETRIEVER": "retriever", "AGENT": "agent", "CHAIN": "chain"}
_WELL: Final = ("finished", "ok", "ended")
_OPEN: Final = ("running", "open")
_UNENDED: Final = ("open", "lost")
_PROVIDERS: Final = {
    "claude": "anthropic",
    "gpt": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "deepseek": "deepseek",
    "grok": "x_ai",
    "command": "cohere",
}
"""Who makes a model, by the beginning of its name, where nobody said."""


@dataclass(frozen=True)
class Traced:
    """A run with its place in a trace."""

    detail: RunDetail
    parent_span: str | None = None
    """The remote span inside of which it was started."""
    received_root: str | None = None
    """The root span that the run was received with, once it is known."""

    @property
    def trace(self) -> str:
        """The trace id."""
        return self.detail.trace

    @property
    def root(self) -> str:
        """The span id of the run."""
        return self.received_root or root_id(self.detail.project, self.detail.row.run, self.detail.trace)

    @property
    def last(self) -> int:
        """When it ended, or was last heard; nanoseconds since 1970."""
        row = self.detail.row
        if row.ended is not None:
            return nanoseconds(row.ended)
        return nanoseconds(row.started) + round((row.seconds or 0.0) * 1e9)

    @cached_property
    def _agents(self) -> frozenset[str]:
        return frozenset(row.agent for row in self.detail.agents)

    @cached_property
    def ends(self) -> dict[str, int]:
        """When each agent ended."""
        return {row.agent: nanoseconds(row.ended) for row in self.detail.agents if row.ended is not None}

    def agent(self, name: str) -> str:
        """The span id of an agent; of one that the bridge did not list, as there are so many, that of the run."""
        return agent_id(self.detail.project, self.detail.row.run, name) if name in self._agents else self.root


@dataclass(slots=True)
class Extent:
    """From the beginning of the first of some spans to the end of the last; nanoseconds since 1970."""

    start: int
    end: int

    def around(self, span: Span) -> Extent:
        """With one more."""
        return Extent(min(self.start, span.start), max(self.end, span.end))


def root_id(project: str, run: str, trace: str) -> str:
    """The span id of a run: that of the ``traceparent`` which its programs get outside of a step.

    In a trace that began elsewhere there may be several runs, so it is made of the run's id there.
    """
    if trace == ids.trace(project, run):
        return trace[16:] if trace[16:].strip("0") else trace[:16]
    return span_id("run", project, run)


def agent_id(project: str, run: str, agent: str) -> str:
    """The span id of an agent in a run."""
    return span_id("agent", project, run, agent)


def run_span(traced: Traced, parent: Traced | None = None) -> Span:
    """The span of the run; ``parent`` is the run inside of which it is, when that is exported too."""
    row = traced.detail.row
    attributes: dict[str, Any] = {
        semconv.OPERATION: "invoke_workflow",
        semconv.WORKFLOW_NAME: row.name,
        **_run(traced, semconv.TAG_PREFIX),
    }
    if "session" in row.tags:
        attributes |= {semconv.CONVERSATION: row.tags["session"], semconv.OI_SESSION: row.tags["session"]}
    if row.params:
        attributes |= messages.plain(row.params, semconv.OI_INPUT, semconv.OI_INPUT_TYPE)
    if row.metrics:
        attributes |= messages.plain(row.metrics, semconv.OI_OUTPUT, semconv.OI_OUTPUT_TYPE)
    links = () if parent is None else (Link(trace=parent.trace, span=parent.root, attributes={semconv.LINK: "parent"}),)
    made = Span(
        trace=traced.trace,
        id=traced.root,
        name=_named("invoke_workflow", row.name),
        start=nanoseconds(row.started),
        end=traced.last,
        parent=traced.parent_span,
        attributes=_whose(traced, row.agent, "CHAIN") | attributes,
        links=() if traced.parent_span and parent is not None and parent.trace == traced.trace else links,
    )
    error = traced.detail.error or {}
    return _ended(made, row.status, {"message": row.reason or "", **error})


def with_run(span: Span, traced: Traced) -> Span:
    """The root that a run was received with, with what is known of the run."""
    return replace(
        span, parent=traced.parent_span, attributes={**span.attributes, **_run(traced, semconv.RUN_TAG_PREFIX)}
    )


def _run(traced: Traced, tag_prefix: str) -> dict[str, Any]:
    """What is said of a run."""
    detail, row = traced.detail, traced.detail.row
    found: dict[str, Any] = {
        semconv.RUN_NAME: row.name,
        semconv.RUN_STATUS: row.status,
        f"{semconv.RUN_PREFIX}purpose": row.purpose,
        **_total(row),
        **{f"{semconv.PARAM_PREFIX}{key}": value for key, value in row.params.items()},
        **{f"{tag_prefix}{key}": value for key, value in row.tags.items()},
        **{f"{semconv.METRIC_PREFIX}{key}": value for key, value in row.metrics.items()},
    }
    if row.parent:
        found[semconv.RUN_PARENT] = row.parent
    if detail.cut:
        found[f"{semconv.RUN_PREFIX}cut"] = detail.cut
    return found


def agent_span(traced: Traced, row: AgentRow, links: tuple[Link, ...] = (), within: Extent | None = None) -> Span:
    """The span of an agent's part, around its steps, which are ``within`` these times."""
    start, end = nanoseconds(row.started), traced.last if row.ended is None else nanoseconds(row.ended)
    if within is not None:
        start, end = min(start, within.start), max(end, within.end)
    attributes: dict[str, Any] = {
        semconv.OPERATION: "invoke_agent",
        semconv.AGENT_NAME: row.agent,
        semconv.OI_AGENT_NAME: row.agent,
        semconv.OI_GRAPH_NODE: row.agent,
        semconv.STEP_STATUS: row.status,
    }
    if row.model:
        attributes |= {semconv.REQUEST_MODEL: row.model, semconv.PROVIDER[0]: provider(None, row.model)}
    if row.role:
        attributes |= {semconv.AGENT_DESCRIPTION: row.role, semconv.AGENT_ROLE: row.role}
    made = Span(
        trace=traced.trace,
        id=traced.agent(row.agent),
        name=f"invoke_agent {row.agent}",
        start=start,
        end=max(start, end),
        parent=traced.root,
        attributes=_whose(traced, row.agent, "AGENT") | attributes,
    )
    return _ended(_linked(made, links), row.status, {})


def step_span(traced: Traced, row: StepRow, values: Values, links: tuple[Link, ...] = ()) -> Span:
    """The span of a step. One that is open ends where its run was last heard."""
    start = nanoseconds(row.started)
    end = traced.last if row.ended is None else nanoseconds(row.ended)
    if row.status in _UNENDED:  # it was over with its agent, where that said when
        end = min(end, traced.ends.get(row.agent, end))
    kind = _OI_KINDS.get(row.kind, "CHAIN")
    attributes: dict[str, Any] = {
        semconv.STEP_NAME: row.name,
        semconv.STEP_KIND: row.kind,
        semconv.STEP_STATUS: row.status,
        **({} if row.parent else {semconv.STEP_TOP: True}),
        **_content(row, values),
        **{f"{semconv.TAG_PREFIX}{key}": value for key, value in values.tags.items()},
    }
    if row.task:
        attributes[semconv.TASK] = row.task
    if row.kind == "llm":
        attributes |= _model(row.model, row.provider) | {semconv.OPERATION: "chat"}
        if usage.any_of(row.tokens, row.cost) and row.tokens is not None:
            attributes |= usage.attributes(row.tokens, row.cost)
    attributes |= received.attributes(values.tags)
    kind = kind if (said := attributes.get(semconv.OI_KIND)) not in _LANGFUSE else said
    was_span = received.is_span(values.tags)
    top = traced.root if was_span else traced.agent(row.agent)
    made = Span(
        trace=traced.trace,
        id=step_id(row.step),
        name=row.name if was_span else _name(row),
        start=start,
        end=max(start, end),
        parent=step_id(row.parent) if row.parent else top,
        kind=received.kind(values.tags) if was_span else "client" if row.kind == "llm" else "internal",
        attributes=_whose(traced, row.agent, kind) | attributes,
    )
    return _ended(_linked(made, links), row.status, values.failure or {"message": row.error or ""})


def usage_span(
    traced: Traced, row: StepRow | AgentRow | RunRow, tokens: Tokens, cost: float | None, parent: str, model: str | None
) -> Span:
    """A span of no length for usage that was logged outside of a model call, inside of ``parent``."""
    where = "step" if hasattr(row, "step") else "agent"
    end = traced.last if row.ended is None else nanoseconds(row.ended)
    attributes = {
        semconv.OPERATION: "chat",
        semconv.STEP_KIND: "llm",
        semconv.STEP_NAME: "usage",
        semconv.OUTSIDE_STEPS: where,
        **_model(model, getattr(row, "provider", None)),
        **usage.attributes(tokens, cost),
    }
    return Span(
        trace=traced.trace,
        id=span_id("usage", traced.detail.row.run, parent),
        name=f"chat {model}" if model else "chat",
        start=end,
        end=end,
        parent=parent,
        kind="client",
        status="ok",
        attributes=_whose(traced, row.agent, "LLM") | attributes,
    )


def provider(said: str | None, model: str | None) -> str:
    """``gen_ai.provider.name``, which every span of a model must have."""
    if said:
        return said
    bare = (model or "").rpartition("/")[2].lower()
    return next((name for word, name in _PROVIDERS.items() if bare.startswith(word)), "unknown")


def _model(model: str | None, said: str | None) -> dict[str, Any]:
    who = provider(said, model)
    found: dict[str, Any] = {semconv.PROVIDER[0]: who, semconv.OI_PROVIDER[1]: who}
    if model:
        found |= {semconv.REQUEST_MODEL: model, semconv.RESPONSE_MODEL: model, semconv.OI_MODEL: model}
    return found


def _name(row: StepRow) -> str:
    if row.kind == "llm":
        return f"chat {row.model}" if row.model else _named("chat", row.name)
    if row.kind == "tool_call":
        return _named("execute_tool", row.name)
    return _named("retrieval", row.name) if row.kind == "retrieval" else row.name


def _named(operation: str, name: str) -> str:
    """``<operation> <name>``, once, also for what an old record calls so already."""
    return name if name.startswith(f"{operation} ") else f"{operation} {name}"


def _content(row: StepRow, values: Values) -> dict[str, Any]:
    found = messages.plain(values.input.content, semconv.OI_INPUT, semconv.OI_INPUT_TYPE)
    found |= messages.plain(values.output.content, semconv.OI_OUTPUT, semconv.OI_OUTPUT_TYPE)
    found |= _cut(values.input, semconv.OI_INPUT) | _cut(values.output, semconv.OI_OUTPUT)
    if row.kind == "llm":
        found |= _said(values.input, "user", semconv.INPUT_MESSAGES, semconv.OI_INPUT_MESSAGES)
        found |= _said(values.output, "assistant", semconv.OUTPUT_MESSAGES, semconv.OI_OUTPUT_MESSAGES)
    elif row.kind == "tool_call":
        found |= {semconv.OPERATION: "execute_tool", semconv.TOOL_NAME: row.name, semconv.OI_TOOL_NAME: row.name}
        found[semconv.TOOL_TYPE] = "function"
        found |= _texts(values.input, semconv.TOOL_ARGUMENTS[0], semconv.OI_TOOL_PARAMETERS)
        found |= _texts(values.output, semconv.TOOL_RESULT[0])
    elif row.kind == "retrieval":
        found[semconv.OPERATION] = "retrieval"
        found |= _texts(values.input, semconv.RETRIEVAL_QUERY)
    return found


def _said(value: Value, role: str, name: str, flat: str) -> dict[str, Any]:
    if value.content is None:
        return {}
    read = messages.read(value.content, role)
    if role == "assistant":
        read = [{**one, "finish_reason": one.get("finish_reason", "stop")} for one in read]
    return {name: messages.compact(read), **messages.flattened(read, flat)}


def _texts(value: Value, *names: str) -> dict[str, Any]:
    return {} if value.content is None else dict.fromkeys(names, messages.text(value.content))


def _cut(value: Value, name: str) -> dict[str, Any]:
    return {f"{name}{semconv.CUT_SUFFIX}": value.cut} if value.cut else {}


def _whose(traced: Traced, agent: str, kind: str) -> dict[str, Any]:
    return {
        semconv.OI_KIND: kind,
        usage.LANGFUSE_TYPE: _LANGFUSE[kind],
        semconv.RUN: traced.detail.row.run,
        semconv.AGENT: agent,
    }


def _total(row: RunRow) -> dict[str, Any]:
    """The run's totals, by names that nobody adds to those of its model calls."""
    found: dict[str, Any] = {f"{semconv.RUN_PREFIX}steps": row.steps, f"{semconv.RUN_PREFIX}errors": row.errors}
    names = row.tokens.__struct_fields__
    found |= {f"{semconv.RUN_PREFIX}tokens.{name}": count for name in names if (count := getattr(row.tokens, name))}
    if row.cost is not None:
        found[f"{semconv.RUN_PREFIX}cost"] = row.cost
    if row.unpriced:
        found[f"{semconv.RUN_PREFIX}unpriced"] = row.unpriced
    return found


def _linked(span: Span, links: tuple[Link, ...]) -> Span:
    return replace(span, links=links[:MOST_LINKS], dropped_links=max(0, len(links) - MOST_LINKS)) if links else span


def _ended(span: Span, status: str, failure: Mapping[str, Any]) -> Span:
    """With how it ended: an error is a status, an attribute and an event."""
    if status in _OPEN:
        return span
    if status in _WELL:
        return replace(span, status="ok")
    kind = str(failure.get("type") or status)
    said = str(failure.get("message") or "")
    why = said or _WHY.get(status, status)
    facts = {semconv.EXCEPTION_TYPE: kind} | ({semconv.EXCEPTION_MESSAGE: said} if said else {})
    if failure.get("trace"):
        facts[semconv.EXCEPTION_STACKTRACE] = str(failure["trace"])
    return replace(
        span,
        status="error",
        message=why,
        attributes={**span.attributes, semconv.ERROR_TYPE: kind},
        events=(*span.events, Event(name=semconv.EXCEPTION_EVENT, time=span.end, attributes=facts)),
    )


_WHY: Final = {
    "lost": "its run was over before it ended",
    "killed": "it was interrupted",
    "error": "it did not end well",
}
