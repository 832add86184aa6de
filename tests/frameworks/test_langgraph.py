"""LangGraph and LangChain, the real packages against the stub model: what is recorded is what happened."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langgraph")

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

import tracecraft
from tests.frameworks.our_tools import assert_left, assert_refusals, script_claim, script_refusals
from tests.frameworks.page import run_page
from tests.support.stub_model import Usage, call, fail, say
from tracecraft.integrations.langgraph import TracecraftTracer, tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.frameworks.recorded_run import Recorded
    from tests.frameworks.truth import Truth
    from tests.support.stub_model import StubModel

MODEL = "gpt-4o"
FIRST = Usage(input=100, cache_read=20, output=5, reasoning=3)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def boom(x: int) -> str:
    """Fail."""
    raise ValueError(f"kaboom {x}")


def forgiving(request: Any, handler: Any) -> Any:
    from langchain_core.messages import ToolMessage

    try:
        return handler(request)
    except ValueError as error:
        return ToolMessage(content=str(error), tool_call_id=request.tool_call["id"], status="error")


def team(*, asynchronous: bool = False) -> Any:
    """Alice adds, fails, and hands over to Bob, who ends it."""
    from langchain.agents.middleware import wrap_tool_call

    @tool
    def transfer_to_bob() -> Command[str]:
        """Hand over to Bob."""
        return Command(goto="bob", graph=Command.PARENT, update={"messages": [AIMessage("over to bob")]})

    if asynchronous:

        @wrap_tool_call
        async def lenient(request: Any, handler: Any) -> Any:
            from langchain_core.messages import ToolMessage

            try:
                return await handler(request)
            except ValueError as error:
                return ToolMessage(content=str(error), tool_call_id=request.tool_call["id"], status="error")

        middleware = lenient
    else:
        middleware = wrap_tool_call(forgiving)
    chat = ChatOpenAI(model=MODEL)
    alice = create_agent(
        chat, [add, boom, transfer_to_bob], name="alice", system_prompt="You are Alice", middleware=[middleware]
    )
    bob = create_agent(chat, [], name="bob", system_prompt="You are Bob")
    graph = StateGraph(MessagesState)
    graph.add_node("alice", alice, destinations=("bob",))
    graph.add_node("bob", bob)
    graph.add_edge(START, "alice")
    graph.add_edge("bob", END)
    return graph.compile(name="team")


def script(model: StubModel) -> None:
    model.answer(
        call("add", {"a": 1, "b": 2}, FIRST),
        call("boom", {"x": 7}, Usage(input=120, output=4)),
        call("transfer_to_bob", {}, Usage(input=140, output=6)),
        system="You are Alice",
    )
    model.answer(say("it is 3", Usage(input=50, output=8)), system="You are Bob")


OUTLINE = [
    "task team (tester)",
    "  task alice (alice)",
    f"    llm {MODEL} (alice)",
    "    tool_call add (alice)",
    f"    llm {MODEL} (alice)",
    "    tool_call boom (alice) error",
    f"    llm {MODEL} (alice)",
    "    tool_call transfer_to_bob (alice)",
    "      handoff hand off to bob (alice)",
    "  task bob (bob)",
    f"    llm {MODEL} (bob)",
]


def without_inner_nodes(outline: list[str]) -> list[str]:
    """The tree without the nodes inside of an agent of LangChain (``model``, ``tools``), which are steps of it too."""
    kept: list[str] = []
    depths: list[int] = []
    for line in outline:
        depth = (len(line) - len(line.lstrip())) // 2
        depths = [one for one in depths if one < depth]
        if line.lstrip().startswith(("task model", "task tools")):
            depths.append(depth)
            continue
        kept.append("  " * (depth - len(depths)) + line.lstrip())
    return kept


def check(run: Any, truth: Truth) -> None:
    assert without_inner_nodes(run.outline()) == OUTLINE
    assert (run.name, run.status) == ("team", "finished")
    assert run.tokens == truth.tokens
    assert run.cost == truth.cost
    assert (run.step("add").input, run.step("add").output["content"]) == ({"a": 1, "b": 2}, "3")
    assert run.errors == [("boom", "ValueError: kaboom 7")]
    assert run.step("team").output["messages"][-1]["content"] == "it is 3"
    assert run.step(MODEL).input[0] == {"role": "system", "content": "You are Alice"}


def test_the_line_records_a_team(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    answer = team().invoke({"messages": [("user", "1 + 2?")]}, config={"callbacks": [TracecraftTracer()]})
    assert answer["messages"][-1].content == "it is 3"
    check(recorded(), truth)


async def test_the_same_with_asyncio_and_registered_twice(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    app = team(asynchronous=True).with_config(callbacks=[TracecraftTracer()])
    answer = await app.ainvoke({"messages": [("user", "1 + 2?")]}, config={"callbacks": [TracecraftTracer()]})
    assert answer["messages"][-1].content == "it is 3"
    check(await asyncio.to_thread(recorded), truth)


def test_inside_of_a_run_of_the_program_it_is_a_step(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    script(model)
    with tracecraft.run("experiment") as mine:
        team().invoke({"messages": [("user", "1 + 2?")]}, config={"callbacks": [TracecraftTracer()]})
        mine.log_metric("score", 1.0)
    run = recorded()
    assert (run.name, without_inner_nodes(run.outline())) == ("experiment", OUTLINE)
    assert run.tokens == truth.tokens


def test_an_interrupt_is_no_error_and_the_resumed_run_has_the_same_thread(recorded: Recorded) -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(str(interrupt({"question": "may I?"})))]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    app = graph.compile(checkpointer=InMemorySaver(), name="asking")
    config: Any = {"callbacks": [TracecraftTracer()], "configurable": {"thread_id": "t-9"}}
    app.invoke({"messages": [("user", "go")]}, config=config)
    app.invoke(Command(resume="yes"), config=config)

    waiting, resumed = recorded.runs(2)
    assert [run.status for run in (waiting, resumed)] == ["finished", "finished"]
    assert (waiting.errors, resumed.errors) == ([], [])
    assert waiting.detail.row.tags["interrupt"] == "true"
    assert [run.detail.row.tags["thread"] for run in (waiting, resumed)] == ["t-9", "t-9"]
    assert waiting.step("interrupt").input == [{"question": "may I?"}]


def test_a_node_that_breaks_fails_the_run(recorded: Recorded) -> None:
    def broken(state: MessagesState) -> dict[str, Any]:
        raise RuntimeError("the node broke")

    graph = StateGraph(MessagesState)
    graph.add_node("broken", broken)
    graph.add_edge(START, "broken")
    with pytest.raises(RuntimeError, match="the node broke"):
        graph.compile().invoke({"messages": []}, config={"callbacks": [TracecraftTracer()]})
    run = recorded()
    assert run.status == "failed"
    assert ("broken", "RuntimeError: the node broke") in run.errors


def test_a_tool_that_is_asked_for_and_never_called_is_forgotten_with_its_run(
    model: StubModel, recorded: Recorded
) -> None:
    model.answer(call("add", {"a": 1, "b": 2}), call("add", {"a": 3, "b": 4}))
    graph = StateGraph(MessagesState)
    graph.add_node("asks", lambda state: {"messages": [ChatOpenAI(model=MODEL).bind_tools([add]).invoke("go")]})
    graph.add_edge(START, "asks")
    graph.add_edge("asks", END)
    tracer = TracecraftTracer()
    for other in (TracecraftTracer(), None):  # a second one is told after the run was ended
        callbacks = [one for one in (other, tracer) if one is not None]
        graph.compile().invoke({"messages": []}, config={"callbacks": callbacks})
        assert tracer._callers == {}
    recorded.runs(2)


def test_a_model_that_is_asked_again_is_counted_once(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(fail(500, "down"), say("hello", Usage(input=10, output=2)))
    chain = ChatOpenAI(model=MODEL, max_retries=0).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
    chain.invoke("hi", config={"callbacks": [TracecraftTracer()]})
    run = recorded()
    assert [(step.kind, step.status) for step in run.of_kind("llm")] == [("llm", "error"), ("llm", "ok")]
    assert (run.status, run.tokens, run.cost) == ("finished", truth.tokens, truth.cost)


def test_streaming_counts_the_same(model: StubModel, truth: Truth, recorded: Recorded) -> None:
    model.answer(say("hello there", Usage(input=10, cache_read=4, output=2)))
    chat = ChatOpenAI(model=MODEL, stream_usage=True)
    assert "".join(str(part.content) for part in chat.stream("hi", config={"callbacks": [TracecraftTracer()]}))
    assert recorded().tokens == truth.tokens


def test_a_tool_writes_inside_of_its_step(model: StubModel, recorded: Recorded) -> None:
    @tool
    def note() -> str:
        """Write a note."""
        step = tracecraft.current_step()
        assert step is not None
        with step.step("write it down"):
            return "noted"

    model.answer(call("note", {}, Usage(input=1, output=1)), say("done", Usage(input=1, output=1)))
    app = create_agent(ChatOpenAI(model=MODEL), [note], name="writer")
    app.invoke({"messages": [("user", "note")]}, config={"callbacks": [TracecraftTracer()]})
    run = recorded()
    assert [child.name for child in run.step("note").children] == ["write it down"]
    assert tracecraft.current_step() is None


def test_agents_coordinate_with_our_tools(model: StubModel, recorded: Recorded, project: str) -> None:
    model.answer(
        call("tracecraft_memory_set", {"key": "findings", "value": {"papers": 47}}, Usage(input=1, output=1)),
        call("tracecraft_claim", {"task": "S1.parse"}, Usage(input=1, output=1)),
        call("tracecraft_claim", {"task": "not a name"}, Usage(input=1, output=1)),
        say("done", Usage(input=1, output=1)),
    )
    app = create_agent(ChatOpenAI(model=MODEL), tools(agent="researcher"), name="researcher")
    app.invoke({"messages": [("user", "go")]}, config={"callbacks": [TracecraftTracer()]})
    run = recorded()
    with tracecraft.connect(project=project, agent="reader") as session:
        assert session.memory.get("findings") == {"papers": 47}
        task = session.tasks.show("S1.parse")
        assert task is not None
        assert task.record.owner == "researcher"
    results = [request.results[-1] for request in model.requests[1:]]
    assert '"error"' in results[-1]
    assert "not a name" in results[-1]
    assert [step.name for step in run.of_kind("tool_call")] == [
        "tracecraft_memory_set",
        "tracecraft_claim",
        "tracecraft_claim",
    ]


def test_a_refused_tool_of_ours_is_an_error_of_its_step(
    model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model)
    app = create_agent(ChatOpenAI(model=MODEL), tools(agent="researcher"), name="researcher")
    app.invoke({"messages": [("user", "go")]}, config={"callbacks": [TracecraftTracer()]})
    assert_refusals(recorded())


async def test_a_refused_tool_of_ours_is_an_error_of_its_step_with_asyncio(
    model: StubModel, recorded: Recorded, boss: tracecraft.Session
) -> None:
    script_refusals(model)
    app = create_agent(ChatOpenAI(model=MODEL), tools(agent="researcher"), name="researcher")
    await app.ainvoke({"messages": [("user", "go")]}, config={"callbacks": [TracecraftTracer()]})
    assert_refusals(await asyncio.to_thread(recorded))


def test_without_a_bus_the_graph_is_the_same_and_the_run_arrives_later(
    model: StubModel, truth: Truth, recorded: Recorded, deliver: Callable[[], None]
) -> None:
    script(model)
    began = time.monotonic()
    answer = team().invoke({"messages": [("user", "1 + 2?")]}, config={"callbacks": [TracecraftTracer()]})
    assert answer["messages"][-1].content == "it is 3"
    assert time.monotonic() - began < 30
    deliver()
    check(recorded(), truth)


def test_the_programs_of_the_page_run(model: StubModel, recorded: Recorded, boss: tracecraft.Session) -> None:
    script_claim(model)
    model.answer(say("3", Usage(input=1, output=1)), forever=True)
    printed = run_page("langgraph")
    assert printed[0] == "3\n"
    assert [run.name for run in recorded.runs(2)] == ["adder", "researcher"]
    assert_left(boss, "researcher")
