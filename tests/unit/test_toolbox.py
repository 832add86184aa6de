"""The toolbox without a bus: what the tools promise, how arguments are checked, how words of peers are cut."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft.integrations.toolbox import PROTOCOL, TOOLS, Toolbox, ToolProblem, as_text, bounds
from tracecraft.integrations.toolbox.catalog import ARGUMENTS
from tracecraft.integrations.toolbox.problem import LONGEST, held, problem_of
from tracecraft.integrations.toolbox.tool import decode, example
from tracecraft.integrations.toolbox.verbs import VERBS
from tracecraft_core import errors

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def _keys(schema: Any) -> set[str]:
    """Every keyword in a schema."""
    if isinstance(schema, dict):
        return {*schema, *(key for item in schema.values() for key in _keys(item))}
    return {key for item in schema for key in _keys(item)} if isinstance(schema, list) else set()


def test_there_are_at_most_sixteen_tools_and_each_has_code() -> None:
    assert len(TOOLS) == 16
    assert {tool.name for tool in TOOLS} == VERBS.keys() == ARGUMENTS.keys()
    assert TOOLS[0].long_name == "tracecraft_whoami"


@pytest.mark.parametrize(("me", "said"), [("alice", "bob holds S1"), ("bob", "bob (session s-1) holds S1")])
def test_a_refused_claim_says_the_session_of_the_holder_only_to_its_own_name(me: str, said: str) -> None:
    problem = held(errors.TaskHeld("S1", "bob", None, 21.2), "s-1", me=me)
    assert problem.message.startswith(f"claim refused: {said}, its lease ends in 21 s")
    assert problem.facts["session"] == "s-1"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_is_described_for_any_framework(tool: Any) -> None:
    for schema in (tool.parameters, tool.result):
        jsonschema.Draft202012Validator.check_schema(schema)
        json.dumps(schema)
    assert not {"$ref", "$defs", "anyOf", "oneOf"} & _keys(tool.parameters)
    assert tool.parameters["additionalProperties"] is False
    for name, said in tool.parameters["properties"].items():
        assert "type" in said, name
        assert said["description"], name
    assert 20 < len(tool.description) < 500
    assert not (tool.read_only and tool.destructive)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_what_a_schema_allows_is_taken_and_what_it_forbids_is_not(tool: Any) -> None:
    fitting = example(tool.parameters)
    jsonschema.validate(fitting, tool.parameters)
    decode(tool.name, ARGUMENTS[tool.name], fitting)
    for name in tool.parameters["required"]:
        lacking = {key: value for key, value in fitting.items() if key != name}
        with pytest.raises(
            ToolProblem, match=f"{tool.name}: missing the argument `{name}`; its arguments are: "
        ) as raised:
            decode(tool.name, ARGUMENTS[tool.name], lacking)
        assert (raised.value.code, raised.value.retry) == ("invalid_arguments", True)
    with pytest.raises(ToolProblem, match="there is no argument `nonsense`"):
        decode(tool.name, ARGUMENTS[tool.name], {**fitting, "nonsense": 1})
    with pytest.raises(ToolProblem, match="Expected `object`, got `array`"):
        decode(tool.name, ARGUMENTS[tool.name], [1])


@given(arguments=st.dictionaries(st.sampled_from(["task", "pattern", "wait", "lease", "other"]), ANY_JSON))
def test_checking_arguments_agrees_with_the_schema_that_is_promised(arguments: dict[str, Any]) -> None:
    claim = next(tool for tool in TOOLS if tool.name == "claim")
    said = {key: value for key, value in arguments.items() if value is not None}
    allowed = jsonschema.Draft202012Validator(claim.parameters).is_valid(said)
    try:
        decode("claim", ARGUMENTS["claim"], arguments)
        taken = True
    except ToolProblem:
        taken = False
    assert taken == allowed


def test_null_for_an_argument_that_may_be_left_out_means_left_out_and_is_a_value_elsewhere() -> None:
    assert decode("tasks", ARGUMENTS["tasks"], {"task": None, "limit": None}) == decode("tasks", ARGUMENTS["tasks"], {})
    assert decode("memory_set", ARGUMENTS["memory_set"], {"key": "k", "value": None}).value is None  # type: ignore[attr-defined]
    assert decode("whoami", ARGUMENTS["whoami"], None) == ARGUMENTS["whoami"]()


@given(value=ANY_JSON, width=st.integers(20, 400))
def test_a_value_is_shown_whole_or_in_pieces_that_make_it_up_again(value: Any, width: int) -> None:
    shown = bounds.value(value, width)
    assert len(bounds.json_text(bounds.either(shown))) <= 2 * width + 50
    text = bounds.json_text(value)
    if shown.value is not msgspec.UNSET:
        assert bounds.clean(text) == bounds.clean(bounds.json_text(value))
        return
    parts, following = [shown.part], shown.next
    while following is not None:
        piece = bounds.value(value, width, following)
        parts.append(piece.part)
        following = piece.next
    assert "".join(map(str, parts)) == bounds.clean(text)


@given(text=st.text())
def test_nothing_invisible_gets_through(text: str) -> None:
    shown = bounds.clean(text)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff\U000e0000-\U000e007f]", shown
    )


def test_a_value_that_is_too_deep_for_some_clients_is_shown_as_text() -> None:
    deep: Any = "\u202e"
    for _ in range(100):
        deep = [deep]
    shown = bounds.value(deep, 1_000)
    assert shown.part == "[" * 100 + '"\\u202e"' + "]" * 100


@pytest.mark.parametrize(
    ("error", "code", "retry", "words"),
    [
        (
            errors.TaskHeld("S1", "bob", "2026-11-22T12:03:01.5Z", 21.2),
            "held",
            True,
            "since 12:03:01 UTC, its lease ends in 21 s",
        ),
        (errors.TaskSettled("S1", "done", "bob"), "settled", False, "take another task with claim()"),
        (errors.TaskNotReady("S2", ("S1",)), "not_ready", True, "wait(tasks=[…])"),
        (errors.NothingLeft("task left to claim", ">"), "nothing_left", False, "add_task()"),
        (errors.Refused("nothing to claim right now"), "refused", True, "claim() with wait"),
        (
            errors.FileReserved("a", "*", "bob", None, None, "a"),
            "held",
            True,
            "nothing was reserved: a is reserved by bob",
        ),
        (errors.RevisionConflict("k", 1, 2), "conflict", True, "nothing was written"),
        (errors.ClaimLost("S1", "bob", "claimed"), "claim_lost", False, "bob has it now"),
        (errors.BusUnreachable("nats://x", "refused"), "bus_away", True, "Call again in some seconds"),
        (errors.OutcomeUnknown("s", 15), "outcome_unknown", False, "look with tasks()"),
        (errors.BridgeAway("x"), "store_away", True, "bridge"),
        (errors.InvalidName("task id", "a b", "has a blank", "S1"), "invalid_arguments", True, "for example 'S1'"),
        (errors.BodyTooLarge("it", 5, 4), "too_large", True, "over the limit"),
        (errors.WaitTimeout("S1", 5), "timeout", True, "timed out"),
        (errors.NotFound("run", "x"), "not_found", False, "no run 'x'"),
        (errors.NotPermitted("publish", "x"), "not_permitted", False, "may not publish"),
        (errors.LogFull("TC", "bytes"), "failed", False, "full"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_has_a_code_and_says_what_to_do(error: Exception, code: str, retry: bool, words: str) -> None:
    found = problem_of(error)
    assert (found.code, found.retry) == (code, retry)
    assert words in found.message
    json.dumps(found.as_dict())


def test_a_problem_is_bounded_and_has_nothing_invisible() -> None:
    found = ToolProblem("failed", "\x1b" + "x" * 5_000, retry=False)
    assert (len(found.message), found.message[:5]) == (LONGEST, "\\x1bx")


async def test_an_unknown_tool_and_a_toolbox_that_is_closed_are_problems_and_answers_never_raise() -> None:
    async with Toolbox(agent="a", server="nats://127.0.0.1:1") as box:
        with pytest.raises(ToolProblem, match="there is no tool 'rm'; there are: whoami, agents"):
            await box.call("rm")
        assert json.loads(await box.answer("rm"))["error"]["code"] == "unknown_tool"
        assert json.loads(await box.answer("tracecraft_whoami"))["bus"].startswith("no NATS server answers")
        assert json.loads(await box.answer("claim"))["error"]["code"] == "bus_away"
    assert json.loads(await box.answer("claim"))["error"]["code"] == "closed"


def test_settings_that_are_wrong_are_a_problem_at_the_call_and_not_before() -> None:
    with Toolbox(agent="two words") as box, pytest.raises(ToolProblem, match="agent 'two words'"):
        box.call_blocking("whoami")


def test_the_protocol_is_short_and_names_only_tools_that_there_are() -> None:
    assert len(PROTOCOL) < 2_000
    assert set(re.findall(r"(\w+)\(", PROTOCOL)) <= {tool.name for tool in TOOLS}


def test_a_result_as_text_keeps_every_letter() -> None:
    assert as_text({"a": "é\n"}) == '{"a": "é\\n"}'


def test_the_page_of_the_docs_has_every_tool_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/integrations/mcp.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [tool.name for tool in TOOLS]
