"""A small team of agents in a framework, run again and again: ``python framework_team.py FRAMEWORK with|without RUNS``.

Two agents, three model calls, a tool and a handoff, against the stub model of the environment. Prints JSON: the seconds
of every run, and of everything until the program may end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "gpt-4o"


def langgraph(recorded: bool) -> Callable[[], Any]:
    """A graph of two agents of LangChain."""
    from langchain.agents import create_agent
    from langgraph.graph import END, START, MessagesState, StateGraph

    from tracecraft.integrations.langgraph import TracecraftTracer

    one = create_agent(f"openai:{MODEL}", [add], name="alice", system_prompt="You are Alice")
    two = create_agent(f"openai:{MODEL}", [], name="bob", system_prompt="You are Bob")
    graph = StateGraph(MessagesState)
    graph.add_node("alice", one)
    graph.add_node("bob", two)
    graph.add_edge(START, "alice")
    graph.add_edge("alice", "bob")
    graph.add_edge("bob", END)
    app = graph.compile(name="team")
    config: Any = {"callbacks": [TracecraftTracer()]} if recorded else {}
    return lambda: app.invoke({"messages": [("user", "1 + 2?")]}, config=config)["messages"][-1].content


def pydantic_ai(recorded: bool) -> Callable[[], Any]:
    """An agent that asks another one in a tool."""
    from pydantic_ai import Agent

    from tracecraft.integrations.pydantic_ai import Tracecraft

    def capabilities() -> list[Any]:
        return [Tracecraft()] if recorded else []

    bob = Agent(f"openai:{MODEL}", name="bob", system_prompt="You are Bob", capabilities=capabilities())
    alice = Agent(
        f"openai:{MODEL}", name="alice", tools=[add], system_prompt="You are Alice", capabilities=capabilities()
    )

    async def both() -> str:
        await alice.run("1 + 2?")
        return str((await bob.run("sure?")).output)

    return runner(both)


def openai_agents(recorded: bool) -> Callable[[], Any]:
    """An agent that hands over to another one."""
    from agents import Agent, Runner, function_tool, set_trace_processors

    from tracecraft.integrations.openai_agents import TracecraftProcessor

    set_trace_processors([TracecraftProcessor()] if recorded else [])
    bob = Agent(name="bob", model=MODEL, instructions="You are Bob")
    alice = Agent(name="alice", model=MODEL, instructions="You are Alice", tools=[function_tool(add)])

    async def both() -> str:
        await Runner.run(alice, "1 + 2?")
        return str((await Runner.run(bob, "sure?")).final_output)

    return runner(both)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def runner(both: Callable[[], Any]) -> Callable[[], Any]:
    """Coroutines on one loop, as a server has it."""
    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(both())


def main() -> None:
    """Run, and print what it took."""
    framework, recorded, runs = sys.argv[1], sys.argv[2] == "with", int(sys.argv[3])
    team = {"langgraph": langgraph, "pydantic_ai": pydantic_ai, "openai_agents": openai_agents}[framework](recorded)
    team()  # imports, connections
    took, answers, began = [], set(), time.perf_counter()
    for _ in range(runs):
        start = time.perf_counter()
        answers.add(str(team()))
        took.append(time.perf_counter() - start)
    worked = time.perf_counter() - began
    if recorded:
        from tracecraft import integrations

        integrations.flush()
    print(json.dumps({"took": took, "answers": sorted(answers), "end": time.perf_counter() - began - worked}))


if __name__ == "__main__":
    main()
