"""The stub model speaks as the clients of OpenAI and Anthropic expect; pydantic-ai happens to bring both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stub_model import Reply, ToolCall, Usage, fail

if TYPE_CHECKING:
    from tests.support.stub_model import StubModel

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

USED = Usage(input=100, cache_read=20, cache_write=5, output=30, reasoning=7)
BOTH = Reply("let me see", (ToolCall("add", {"a": 1}), ToolCall("sub", {"b": 2})), USED)
HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_chat_completions(model: StubModel, stream: bool) -> None:
    model.answer(fail(429), fail(500), BOTH)
    with openai.OpenAI() as client:
        asked = {"model": "gpt-4o", "messages": HI}
        if stream:
            with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as heard:
                answer = heard.get_final_completion()
        else:
            answer = client.chat.completions.create(**asked)
    message, usage = answer.choices[0].message, answer.usage
    assert message.content == "let me see"
    assert [(one.id, one.function.name, one.function.arguments) for one in message.tool_calls] == [
        ("call_1", "add", '{"a": 1}'),
        ("call_2", "sub", '{"b": 2}'),
    ]
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (125, 20)
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (37, 7)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_responses(model: StubModel, stream: bool) -> None:
    model.answer(fail(503), BOTH)
    with openai.OpenAI() as client:
        if stream:
            with client.responses.stream(model="gpt-4o", input="hi") as heard:
                answer = heard.get_final_response()
        else:
            answer = client.responses.create(model="gpt-4o", input="hi")
    _, *calls = answer.output
    assert answer.output_text == "let me see"
    assert [(one.call_id, one.name, one.arguments) for one in calls] == [
        ("call_1", "add", '{"a": 1}'),
        ("call_2", "sub", '{"b": 2}'),
    ]
    assert (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens) == (125, 20)
    assert (answer.usage.output_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (37, 7)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_messages(model: StubModel, stream: bool) -> None:
    model.answer(fail(529), BOTH)
    with anthropic.Anthropic() as client:
        asked = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": HI}
        if stream:
            with client.messages.stream(**asked) as heard:
                answer = heard.get_final_message()
        else:
            answer = client.messages.create(**asked)
    text, *calls = answer.content
    assert text.text == "let me see"
    assert [(one.id, one.name, one.input) for one in calls] == [
        ("call_1", "add", {"a": 1}),
        ("call_2", "sub", {"b": 2}),
    ]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (100, 37)
    assert (answer.usage.cache_read_input_tokens, answer.usage.cache_creation_input_tokens) == (20, 5)


def test_the_truth_is_what_the_dialects_told(model: StubModel) -> None:
    model.answer(BOTH, forever=True)
    with openai.OpenAI() as one, anthropic.Anthropic() as other:
        one.responses.create(model="gpt-4o", input="hi")
        other.messages.create(model="claude-opus-5-5", max_tokens=100, messages=HI)
    assert model.usage() == Usage(input=205, cache_read=40, cache_write=5, output=67, reasoning=7)
