"""LangGraph and LangChain: ``app.invoke(input, config={"callbacks": [TracecraftTracer()]})``.

Everything that LangChain runs has an id and its parent's, so the tree is exact, also through nested graphs and agents
that are called inside of tools. Recorded are: the graph as a run (one for each `invoke`, also for a resumed one; the
tag ``thread`` joins them), its nodes as tasks, model calls, tools, retrievers, handoffs (``Command(goto=…)``) and
interrupts. The chains in between (prompts, sequences, branches) are passed through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.closing import flush
from tracecraft.integrations.extras import needs
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import Tree, failed
from tracecraft.recording.place import enter, step_out

with needs("langgraph"):
    from langchain_core.tools import StructuredTool


try:
    from langgraph.callbacks import GraphCallbackHandler as Handler
    from langgraph.errors import GraphBubbleUp, ParentCommand
    from langgraph.types import Command
except ImportError:  # LangChain without LangGraph
    from langchain_core.callbacks import BaseCallbackHandler as Handler

    GraphBubbleUp = ParentCommand = Command = None

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from uuid import UUID

    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from tracecraft.integrations.toolbox import Tool, Toolbox
    from tracecraft.session import Session

__all__ = ["TracecraftTracer", "flush", "tools"]

END: Final = "__end__"
TOOL_NODE: Final = "tools"
"""The usual name of the node that only runs what agents asked for."""
ATTEMPT: Final = "retry:attempt:"
"""Beginning of the tag with which LangChain marks another attempt."""


class TracecraftTracer(Handler):
    """A callback handler that records what a graph or a chain does; any number of them record it once.

    ``session`` is whose runs they are (default: those of `tracecraft.init`, else of the environment). Inside of
    ``with tracecraft.run(…)`` everything lies in that run.
    """

    raise_error = False
    run_inline = True
    """In the thread and context of what is told of, in order."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__()
        self._tree = Tree.shared("langgraph", session)
        self._callers: dict[str, tuple[str, UUID]] = {}
        """Who asked for a tool, and in which model call, by the id of the tool's call; until it is called."""
        self._inside: dict[UUID, Any] = {}
        self._handed: set[tuple[str, str, str]] = set()
        """Handoffs on their way (run, from, to): a command for the parent graph is told of at every level it passes."""

    # -- chains: graphs, nodes, and what is in between --------------------------------------------------------------

    @guarded
    def on_chain_start(
        self,
        serialized: Mapping[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        name: str | None = None,
        **_: Any,
    ) -> None:
        """A graph, a node of one, or some other chain begins."""
        facts = metadata or {}
        name = name or _class_name(serialized)
        agent = facts.get("lc_agent_name")
        if parent_run_id is None or parent_run_id not in self._tree:
            self._begin_root(run_id, name, inputs, facts, agent)
        elif facts.get("langgraph_node") == name and any(tag.startswith("graph:step:") for tag in tags or ()):
            actor = agent or self._actor(parent_run_id, name)
            self._handed = {one for one in self._handed if one[2] != name}
            self._tree.begin(run_id, parent_run_id, name, "task", agent=actor, input=plain(inputs))
        elif agent and agent == name:
            self._tree.begin_agent(run_id, parent_run_id, agent)
        else:
            self._tree.alias(run_id, parent_run_id)

    def _begin_root(self, run_id: UUID, name: str, inputs: Any, facts: Mapping[str, Any], agent: str | None) -> None:
        thread = facts.get("thread_id")
        tags = {} if thread is None else {"thread": thread}
        self._tree.begin_run(run_id, name, input=plain(inputs), tags=tags, agent=agent)

    def _actor(self, parent: UUID, node: str) -> str | None:
        """A node of the outermost graph is an agent of its own name; those inside of it are its doing."""
        if node == TOOL_NODE or node.startswith("__"):
            return None
        step, run = self._tree.step(parent), self._tree.run(parent)
        is_outermost = step is not None and run is not None and step.agent_name == run.agent_name
        return node if is_outermost else None

    @guarded
    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **_: Any) -> None:
        """It has ended; a node may have said where the work goes on."""
        if parent_run_id is not None and parent_run_id in self._tree:
            self._hand_over(run_id, outputs)
            self._tree.end(run_id, output=plain(outputs))
        else:
            self._end_run(run_id, output=plain(outputs))

    @guarded
    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **_: Any
    ) -> None:
        """It has failed, or was left: an interrupt and a command for the parent graph travel as exceptions."""
        if _is_left(error):
            if ParentCommand is not None and isinstance(error, ParentCommand):
                self._hand_over(run_id, error.args[0] if error.args else None)
            ending: dict[str, Any] = {}
        else:
            ending = {"error": error}
        if parent_run_id is not None and parent_run_id in self._tree:
            self._tree.end(run_id, **ending)
        else:
            self._end_run(run_id, **ending)

    def _end_run(self, key: Hashable, **ending: Any) -> None:
        """A run of the framework's may be over; what was asked for in it, and never called, is forgotten with it."""
        self._tree.end_run(key, **ending)
        for call, (_, asked) in list(self._callers.items()):
            if asked not in self._tree:
                self._callers.pop(call, None)

    def _hand_over(self, key: UUID, outputs: Any) -> None:
        step = self._tree.step(key)
        for command in outputs if isinstance(outputs, (list, tuple)) else (outputs,):
            if Command is None or not isinstance(command, Command) or step is None:
                continue
            for target in _targets(command.goto):
                handed = (step.run_id, step.agent_name, target)
                if handed not in self._handed:
                    self._handed.add(handed)
                    self._tree.handoff(("handoff", key, target), key, target, note=plain(command.update))

    # -- models -----------------------------------------------------------------------------------------------------

    @guarded
    def on_chat_model_start(
        self, serialized: Mapping[str, Any] | None, messages: list[list[BaseMessage]], **told: Any
    ) -> None:
        """A chat model is asked."""
        self._ask(serialized, [_message(one) for one in messages[0]] if messages else [], told)

    @guarded
    def on_llm_start(self, serialized: Mapping[str, Any] | None, prompts: list[str], **told: Any) -> None:
        """A model that completes text is asked."""
        self._ask(serialized, prompts, told)

    def _ask(self, serialized: Mapping[str, Any] | None, asked: Any, told: Mapping[str, Any]) -> None:
        run_id, parent, facts = told["run_id"], told.get("parent_run_id"), told.get("metadata") or {}
        wanted = told.get("invocation_params") or {}
        model = facts.get("ls_model_name") or wanted.get("model") or wanted.get("model_name")
        name = model or told.get("name") or _class_name(serialized)
        if parent is None or parent not in self._tree:
            self._tree.begin_run((run_id, "root"), name)
            parent = (run_id, "root")
        self._tree.begin(run_id, parent, name, "llm", agent=facts.get("lc_agent_name"), model=model, input=asked)

    @guarded
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, tags: Sequence[str] | None = None, **_: Any) -> None:
        """The model has answered; tokens come from its message, or from the provider's own words."""
        generations = [one for candidates in response.generations for one in candidates]
        messages = [one.message for one in generations if hasattr(one, "message")]
        agent = self._tree.agent(run_id)
        for message in messages:
            for call in getattr(message, "tool_calls", ()) or ():
                if agent is not None and call.get("id"):
                    self._callers[call["id"]] = agent, run_id
        self._use(run_id, messages, response.llm_output or {}, _attempt(tags))
        output = [_message(message) for message in messages] or [one.text for one in generations]
        self._tree.end(run_id, output=output[0] if len(output) == 1 else output, tags=_attempt_tag(tags))
        self._end_run((run_id, "root"))

    def _use(self, run_id: UUID, messages: list[Any], said: Mapping[str, Any], attempt: int) -> None:
        cause = {"cause": "retry"} if attempt > 1 else {}
        for message in messages[:1]:
            facts = getattr(message, "response_metadata", None) or {}
            usage = getattr(message, "usage_metadata", None)
            if usage:
                model = facts.get("model_name") or facts.get("model")
                own = message.id if message.id and not message.id.startswith(("lc_run", "run-")) else None
                provider = facts.get("model_provider")
                self._tree.usage(run_id, usage, model=model, provider=provider, request=own, **cause)
                return
        usage = said.get("token_usage") or said.get("usage")
        if usage:
            self._tree.usage(run_id, usage, model=said.get("model_name"), **cause)

    @guarded
    def on_llm_error(self, error: BaseException, *, run_id: UUID, tags: Sequence[str] | None = None, **_: Any) -> None:
        """The model has failed."""
        self._tree.end(run_id, error=error, tags=_attempt_tag(tags))
        self._end_run((run_id, "root"), error=error)

    # -- tools and retrievers -----------------------------------------------------------------------------------------

    @guarded
    def on_tool_start(
        self,
        serialized: Mapping[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        **_: Any,
    ) -> None:
        """A tool is called, on behalf of the agent whose model asked for it; what it writes itself lies in its step."""
        name = name or _class_name(serialized)
        caller = self._callers.pop(tool_call_id, None) if tool_call_id else None
        agent = (metadata or {}).get("lc_agent_name") if caller is None else caller[0]
        given = input_str if inputs is None else plain(inputs)
        if parent_run_id is None or parent_run_id not in self._tree:
            self._tree.begin_run((run_id, "root"), name)
            parent_run_id = (run_id, "root")  # type: ignore[assignment]
        known = run_id in self._tree
        self._tree.begin(run_id, parent_run_id, name, "tool_call", agent=agent, input=given)
        step = self._tree.step(run_id)
        if step is not None and not known:
            enter(step)
            self._inside[run_id] = step

    @guarded
    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """The tool has answered; a `Command` hands over, and a tool message may tell of an error."""
        self._hand_over(run_id, output)
        told = failed("ToolError", getattr(output, "content", "")) if getattr(output, "status", "") == "error" else None
        self._leave(run_id, plain(output), told)

    @guarded
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """The tool has failed, or interrupts the graph."""
        self._leave(run_id, {}, None) if _is_left(error) else self._leave(run_id, None, error)

    def _leave(self, run_id: UUID, output: Any, error: Any) -> None:
        step = self._inside.pop(run_id, None)
        if step is not None:
            step_out(step)
        shown = {} if output is None else {"output": output}
        self._tree.end(run_id, error=error, **shown)
        self._end_run((run_id, "root"), error=error)

    @guarded
    def on_retriever_start(
        self, serialized: Mapping[str, Any] | None, query: str, *, run_id: UUID, **told: Any
    ) -> None:
        """Documents are looked for."""
        parent, name = told.get("parent_run_id"), told.get("name") or _class_name(serialized)
        if parent is None or parent not in self._tree:
            self._tree.begin_run((run_id, "root"), name)
            parent = (run_id, "root")
        self._tree.begin(run_id, parent, name, "retrieval", input=query)

    @guarded
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **_: Any) -> None:
        """They are found."""
        found = [{"content": one.page_content, "metadata": plain(one.metadata)} for one in documents]
        self._leave(run_id, found, None)

    @guarded
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """It has failed."""
        self._leave(run_id, None, error)

    # -- interrupts ---------------------------------------------------------------------------------------------------

    @guarded
    def on_interrupt(self, event: Any) -> None:
        """The graph waits for somebody: its run is over so far, and a resumed one follows."""
        values = [plain(one.value) for one in event.interrupts]
        self._note(event, "interrupt", values)

    @guarded
    def on_resume(self, event: Any) -> None:
        """The graph goes on."""
        self._note(event, "resume", None)

    def _note(self, event: Any, what: str, value: Any) -> None:
        key = (event.run_id, what, getattr(event, "checkpoint_id", None))
        self._tree.begin(key, event.run_id, what, "other", input=value)
        self._tree.end(key)
        run = self._tree.run(event.run_id)
        if run is not None:
            run.set_tag(what, True)


def tools(toolbox: Toolbox | None = None, *, agent: str | None = None) -> list[StructuredTool]:
    """Shared memory, messages, claims and the rest as tools for a LangChain agent, acting as ``agent``.

    For example ``create_agent(model, [*tools(agent="writer"), search])``; ``toolbox`` is for one that is open already.
    """
    from tracecraft.integrations.toolbox import TOOLS, Toolbox

    box = toolbox or Toolbox(agent=agent)
    return [_structured(box, tool) for tool in TOOLS]


def _structured(box: Toolbox, tool: Tool) -> StructuredTool:
    def call(**arguments: Any) -> str:
        return box.answer_blocking(tool.name, arguments)

    async def acall(**arguments: Any) -> str:
        return await box.answer(tool.name, arguments)

    return StructuredTool(
        name=tool.long_name, description=tool.description, args_schema=tool.parameters, func=call, coroutine=acall
    )


def plain(value: Any) -> Any:
    """What LangChain passes around as plain data: messages by role and content, no live objects."""
    if hasattr(value, "tool_call_id") or hasattr(value, "response_metadata"):
        return _message(value)
    if Command is not None and isinstance(value, Command):
        return {"goto": list(_targets(value.goto)), "update": plain(value.update)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return value


def _message(message: Any) -> Any:
    if not hasattr(message, "content"):
        return plain(message) if isinstance(message, (Mapping, list, tuple)) else message
    said: dict[str, Any] = {"role": message.type, "content": message.content}
    for field in ("name", "tool_calls", "tool_call_id", "status"):
        value = getattr(message, field, None)
        if value and not (field == "status" and value == "success"):
            said[field] = value
    return said


def _targets(goto: Any) -> Iterator[str]:
    for one in goto if isinstance(goto, (list, tuple)) else (goto,):
        target = getattr(one, "node", one)
        if isinstance(target, str) and target and target != END:
            yield target


def _is_left(error: BaseException) -> bool:
    return GraphBubbleUp is not None and isinstance(error, GraphBubbleUp)


def _class_name(serialized: Mapping[str, Any] | None) -> str:
    words = serialized or {}
    return str(words.get("name") or (words.get("id") or ["chain"])[-1])


def _attempt(tags: Sequence[str] | None) -> int:
    numbers = [tag.removeprefix(ATTEMPT) for tag in tags or () if tag.startswith(ATTEMPT)]
    return next((int(number) for number in numbers if number.isdigit()), 1)


def _attempt_tag(tags: Sequence[str] | None) -> dict[str, int] | None:
    attempt = _attempt(tags)
    return {"attempt": attempt} if attempt > 1 else None
