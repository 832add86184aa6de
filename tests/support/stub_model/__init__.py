"""A model for tests, offline: it answers by a script, as OpenAI's and Anthropic's services do. Standard library only.

    with StubModel() as model:
        model.answer(call("add", {"a": 1, "b": 2}, Usage(input=100, output=5)), say("3"), system="You are Ann")
        …  # a client with base_url=model.openai_url, or ANTHROPIC_BASE_URL=model.url
        assert model.usage() == Usage(input=111, output=12)

Also a program, for other processes: ``python -m tests.support.stub_model --script FILE.json``.
"""

from tests.support.stub_model.request import Request
from tests.support.stub_model.script import Answer, Reply, Rule, ToolCall, Usage, call, fail, load_rules, say
from tests.support.stub_model.server import Exchange, StubModel

__all__ = [
    "Answer",
    "Exchange",
    "Reply",
    "Request",
    "Rule",
    "StubModel",
    "ToolCall",
    "Usage",
    "call",
    "fail",
    "load_rules",
    "say",
]
