"""Names of attributes, and what they mean: OpenTelemetry GenAI (old and new), OpenInference, Claude Code, Codex, ours.

Reading accepts every name ever used, in the order of a tuple; writing uses the first. Sources: the repository
open-telemetry/semantic-conventions-genai (everything in it has the status "development"), its predecessor up to
v1.36, the specification of Arize's OpenInference, and what the two coding agents send.

Tokens: in OpenTelemetry, OpenInference, OpenAI and Codex the input count *includes* what was read from and written to
a cache, and the output count includes reasoning. Claude Code counts disjointly, as Anthropic's API does.
"""

from __future__ import annotations

from typing import Final

from tracecraft_core.run_events import StepKind  # noqa: TC001  # part of the tables below

# -- resource --------------------------------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE: Final = "service.instance.id"
HOST_NAME: Final = "host.name"
PROCESS_PID: Final = "process.pid"
UNKNOWN_SERVICE: Final = "unknown_service"
"""Beginning of the name that an SDK makes up when nobody named the service."""

# -- ours; in the resource, or on a span or log record, which goes first --------------------------------------------
PROJECT: Final = "tracecraft.project"
"""The project of the run."""
EXPORTED_FROM: Final = "tracecraft.exported_from"
"""Of a resource: the project that ``runs export --otlp`` took it from, where it is already."""
RUN: Final = "tracecraft.run"
"""The run's id. On an exported span: the run that it is of."""
AGENT: Final = "tracecraft.agent"
"""The agent that did it."""
TASK: Final = "tracecraft.task"
"""The task that it works on."""
STEP_KIND: Final = "tracecraft.step.kind"
"""The kind of the step (`run_events.StepKind`)."""
COST: Final = "tracecraft.usage.cost"
"""What a model call cost, a float, in `CURRENCY`; OpenTelemetry has no name for it yet
(semantic-conventions-genai#443)."""
CURRENCY: Final = "tracecraft.usage.currency"
"""Three letters; USD when it is left out."""
PARAM_PREFIX: Final = "tracecraft.param."
"""A parameter of the run follows."""
TAG_PREFIX: Final = "tracecraft.tag."
"""A tag of the run, or on a span of the step, follows."""

STEP_NAME: Final = "tracecraft.step.name"
"""The name of the step, where the span's is made by the conventions (``chat gpt-5``)."""
STEP_STATUS: Final = "tracecraft.step.status"
"""``ok``, ``error``, ``lost`` or ``open``; of an agent ``running``, ``ok``, ``error``, ``ended`` or ``lost``."""
STEP_TOP: Final = "tracecraft.step.top"
"""True on a step that is inside of no other: the parent of its span is the run, or the agent."""
RUN_NAME: Final = "tracecraft.run.name"
RUN_STATUS: Final = "tracecraft.run.status"
RUN_PARENT: Final = "tracecraft.run.parent"
"""The run inside of which it is."""
RUN_PREFIX: Final = "tracecraft.run."
"""A fact of the run follows: purpose, totals."""
RUN_TAG_PREFIX: Final = "tracecraft.run.tag."
"""A tag of the run follows, on a span that is a step of it too."""
AGENT_ROLE: Final = "tracecraft.agent.role"
METRIC_PREFIX: Final = "tracecraft.metric."
"""The newest value of a metric of the run."""
OUTSIDE_STEPS: Final = "tracecraft.usage.outside"
"""On a span that was made for usage outside of steps of kind ``llm``: where it was logged, ``agent`` or ``step``."""
LINK: Final = "tracecraft.link"
"""What a link of a span is: ``message`` (to the step that sent it), ``parent`` (to the run around this one)."""
MESSAGE_PREFIX: Final = "tracecraft.message."
"""On such a link: ``id``, ``from``, ``to``, ``kind``."""
CUT_SUFFIX: Final = ".cut"
"""On ``input.value`` and ``output.value``: why it is only the beginning."""

# -- ours; tags of a step that came as a span, by which it leaves as the same span -----------------------------------
SPAN_KIND_TAG: Final = "otel.kind"
"""The span's kind (`SPAN_KINDS`); a step without this tag was no span."""
SPAN_ROOT_TAG: Final = "otel.root"
"""On the root of a trace, which is the run."""
SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
"""In the order of OTLP's numbers."""

# -- OpenTelemetry GenAI: the operation ------------------------------------------------------------------------------
OPERATION: Final = "gen_ai.operation.name"
OPERATION_KINDS: Final[dict[str, StepKind]] = {
    "chat": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
    "fetch_response": "llm",
    "embeddings": "llm",
    "execute_tool": "tool_call",
    "retrieval": "retrieval",
    "search_memory": "retrieval",
    "invoke_agent": "task",
    "invoke_workflow": "task",
    "create_agent": "other",
    "plan": "task",
}
"""What an operation is as a step; one that is not here is ``other``."""
MODEL_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Operations whose usage is paid for; any other that has usage (``invoke_agent``) repeats that of its children."""

PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system")
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_DESCRIPTION: Final = "gen_ai.agent.description"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
CONVERSATION: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"

# -- OpenTelemetry GenAI: usage --------------------------------------------------------------------------------------
INPUT_TOKENS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
"""All of the input, cached or not."""
OUTPUT_TOKENS: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
"""All of the output, reasoning too."""
CACHE_READ_TOKENS: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.details.cache_read_tokens",
)
"""Part of the input."""
CACHE_WRITE_TOKENS: Final = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.details.cache_write_tokens",
)
"""Part of the input."""
REASONING_TOKENS: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.details.reasoning_tokens",
)
"""Part of the output."""
COSTS: Final = (COST, "gen_ai.usage.cost", "operation.cost", "gen_ai.usage.total_cost")
"""What the source says that a call cost, in USD but for the first."""

# -- OpenTelemetry GenAI: what went in and came out ------------------------------------------------------------------
INPUT_MESSAGES: Final = "gen_ai.input.messages"
"""JSON: ``[{"role": "user", "parts": [{"type": "text", "content": "…"}]}]``."""
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
"""The same with ``finish_reason``."""
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
"""JSON: a list of parts."""
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
OLD_PROMPT: Final = "gen_ai.prompt"
"""Up to v1.27: one text, or flattened as ``gen_ai.prompt.0.role`` and ``.content`` by some instrumentations."""
OLD_COMPLETION: Final = "gen_ai.completion"
MESSAGE_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
"""Events of a span (or log records in its context) up to v1.36, one for each message of the input; with its role."""
CHOICE_EVENT: Final = "gen_ai.choice"
"""The same for the output."""
CONTENT_PROMPT_EVENT: Final = "gen_ai.content.prompt"
"""Event of a span up to v1.27, with `OLD_PROMPT`."""
CONTENT_COMPLETION_EVENT: Final = "gen_ai.content.completion"
DETAILS_EVENT: Final = "gen_ai.client.inference.operation.details"
"""Event with `INPUT_MESSAGES` and `OUTPUT_MESSAGES` when they are not on the span."""

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_ARGUMENTS: Final = ("gen_ai.tool.call.arguments", "gen_ai.tool.arguments", "tool_arguments")
TOOL_RESULT: Final = ("gen_ai.tool.call.result", "gen_ai.tool.message", "tool_response")
RETRIEVAL_QUERY: Final = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"

# -- OpenTelemetry: errors -------------------------------------------------------------------------------------------
ERROR_TYPE: Final = "error.type"
ERROR_MESSAGE: Final = "error.message"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# -- OpenInference ---------------------------------------------------------------------------------------------------
OI_KIND: Final = "openinference.span.kind"
OI_KINDS: Final[dict[str, StepKind]] = {
    "LLM": "llm",
    "EMBEDDING": "llm",
    "TOOL": "tool_call",
    "RETRIEVER": "retrieval",
    "RERANKER": "retrieval",
    "AGENT": "task",
    "CHAIN": "task",
    "PROMPT": "other",
    "GUARDRAIL": "other",
    "EVALUATOR": "other",
    "DECISION": "other",
}
OI_MODEL_CALLS: Final = frozenset({"LLM", "EMBEDDING"})
"""Kinds whose usage is paid for."""
OI_SESSION: Final = "session.id"
OI_AGENT_NAME: Final = "agent.name"
OI_GRAPH_NODE: Final = "graph.node.id"
OI_MODEL: Final = "llm.model_name"
OI_EMBEDDING_MODEL: Final = "embedding.model_name"
OI_PROVIDER: Final = ("llm.provider", "llm.system")
OI_INPUT: Final = "input.value"
OI_INPUT_TYPE: Final = "input.mime_type"
OI_OUTPUT: Final = "output.value"
OI_OUTPUT_TYPE: Final = "output.mime_type"
OI_JSON: Final = "application/json"
OI_INPUT_MESSAGES: Final = "llm.input_messages"
"""Flattened: ``llm.input_messages.0.message.role``, ``….message.content``, ``….message.tool_calls.0.tool_call.…``."""
OI_OUTPUT_MESSAGES: Final = "llm.output_messages"
OI_TOOL_NAME: Final = "tool.name"
OI_TOOL_PARAMETERS: Final = "tool.parameters"
OI_DOCUMENTS: Final = "retrieval.documents"
OI_PROMPT_TOKENS: Final = "llm.token_count.prompt"
"""All of the input, cached or not."""
OI_COMPLETION_TOKENS: Final = "llm.token_count.completion"
"""All of the output, reasoning too."""
OI_CACHE_READ_TOKENS: Final = (
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.prompt_details.cache_input",
)
OI_CACHE_WRITE_TOKENS: Final = "llm.token_count.prompt_details.cache_write"
OI_REASONING_TOKENS: Final = "llm.token_count.completion_details.reasoning"
OI_COST: Final = "llm.cost.total"
"""USD."""

# -- OpenLLMetry (Traceloop), beside its GenAI attributes ------------------------------------------------------------
TRACELOOP_KIND: Final = "traceloop.span.kind"
TRACELOOP_KINDS: Final[dict[str, StepKind]] = {
    "workflow": "task",
    "task": "task",
    "agent": "task",
    "tool": "tool_call",
}
TRACELOOP_INPUT: Final = "traceloop.entity.input"
TRACELOOP_OUTPUT: Final = "traceloop.entity.output"
LLM_REQUEST_TYPE: Final = "llm.request.type"
"""``chat`` or ``completion``: the operation, before there was `OPERATION`."""

# -- Claude Code -----------------------------------------------------------------------------------------------------
CLAUDE_PREFIX: Final = "claude_code."
"""Beginning of the names of its spans, log records and metrics."""
CLAUDE_SESSION: Final = "session.id"
CLAUDE_SPAN_KINDS: Final[dict[str, StepKind]] = {
    "claude_code.interaction": "task",
    "claude_code.llm_request": "llm",
    "claude_code.tool": "tool_call",
}
CLAUDE_SCOPE: Final = "com.anthropic.claude_code"
"""Beginning of its scopes. In a log record the whole name is the body, and `EVENT_NAME` lacks the prefix."""
CLAUDE_API_REQUEST: Final = "claude_code.api_request"
"""Log record: one paid model call, with the five attributes below, disjoint, and ``cost_usd``, ``duration_ms``."""
CLAUDE_API_ERROR: Final = "claude_code.api_error"
CLAUDE_TOOL_RESULT: Final = "claude_code.tool_result"
CLAUDE_USER_PROMPT: Final = "claude_code.user_prompt"
CLAUDE_ASSISTANT: Final = "claude_code.assistant_response"
CLAUDE_INPUT_TOKENS: Final = "input_tokens"
CLAUDE_OUTPUT_TOKENS: Final = "output_tokens"
CLAUDE_CACHE_READ_TOKENS: Final = "cache_read_tokens"
CLAUDE_CACHE_WRITE_TOKENS: Final = "cache_creation_tokens"
CLAUDE_COST: Final = "cost_usd"
CLAUDE_REQUEST_ID: Final = "request_id"

# -- Codex -----------------------------------------------------------------------------------------------------------
CODEX_PREFIX: Final = "codex."
"""Beginning of the names of its log records, which stand in `EVENT_NAME`; the field for them has a line of source."""
CODEX_INTERNAL: Final = "codex_otel::"
"""Beginning of scopes in which it logs what it does with telemetry itself."""
CODEX_CONVERSATION: Final = "conversation.id"
CODEX_USER_PROMPT: Final = "codex.user_prompt"
CODEX_SSE: Final = "codex.sse_event"
"""Log record; of the kind `CODEX_COMPLETED` it has what one model call used."""
CODEX_KIND: Final = "event.kind"
CODEX_COMPLETED: Final = "response.completed"
CODEX_TOOL_RESULT: Final = "codex.tool_result"
CODEX_INPUT_TOKENS: Final = "input_token_count"
"""Cached ones included."""
CODEX_OUTPUT_TOKENS: Final = "output_token_count"
"""Reasoning included."""
CODEX_CACHE_READ_TOKENS: Final = "cached_token_count"
CODEX_CACHE_WRITE_TOKENS: Final = "cache_write_token_count"
CODEX_REASONING_TOKENS: Final = "reasoning_token_count"

EVENT_NAME: Final = "event.name"
"""Name of an event in a log record that does not have it in its own field."""
EVENT_SEQUENCE: Final = "event.sequence"
