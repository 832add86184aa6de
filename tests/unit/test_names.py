"""What may be a name: each character and place, for tokens, keys and patterns."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft.integrations.actors import Actors
from tracecraft.transcripts import naming as transcripts
from tracecraft_cli.autoresearch import naming as autoresearch
from tracecraft_core import names
from tracecraft_core.errors import InvalidName
from tracecraft_core.subjects import RESERVED_PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = [names.project, names.agent, names.session]
KEYS = [names.task, names.memory_key]
TOKEN_CHARACTERS = string.ascii_letters + string.digits + "_-"
KEY_CHARACTERS = TOKEN_CHARACTERS + "=/"
FORBIDDEN_EVERYWHERE = [
    " ",
    "\t",
    "\n",
    "\r",
    "\0",
    "*",
    ">",
    "$",
    ":",
    "\\",
    '"',
    "'",
    "é",
    "한",
    "\u202e",
    "\x1b",
    "🙂",
]


@pytest.mark.parametrize("check", TOKENS)
@pytest.mark.parametrize("character", [*FORBIDDEN_EVERYWHERE, ".", "/", "="])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_forbidden_character_in_a_token_is_named_with_its_place(
    check: Callable[[str], str], character: str, place: int
) -> None:
    value = "abcd"[:place] + character + "abcd"[place:]
    with pytest.raises(InvalidName, match=f"at position {place + 1} is not allowed") as caught:
        check(value)
    assert repr(character) in str(caught.value)
    assert caught.value.value == value


@pytest.mark.parametrize("check", KEYS)
@pytest.mark.parametrize("character", FORBIDDEN_EVERYWHERE)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_forbidden_character_in_a_key_is_named_with_its_place(
    check: Callable[[str], str], character: str, place: int
) -> None:
    value = "a.cd"[:place] + character + "a.cd"[place:]
    with pytest.raises(InvalidName, match=f"at position {place + 1} is not allowed"):
        check(value)


@pytest.mark.parametrize("check", [*TOKENS, *KEYS, names.pattern])
def test_an_empty_name_is_refused_as_empty(check: Callable[[str], str]) -> None:
    with pytest.raises(InvalidName, match="is empty; for example"):
        check("")


@pytest.mark.parametrize("check", [*KEYS, names.pattern])
@pytest.mark.parametrize("value", [".", ".a", "a.", "a..b", "a...b"])
def test_an_empty_token_in_a_key_is_refused(check: Callable[[str], str], value: str) -> None:
    with pytest.raises(InvalidName, match="empty token"):
        check(value)


@pytest.mark.parametrize("check", TOKENS)
def test_a_token_may_have_64_characters_and_not_one_more(check: Callable[[str], str]) -> None:
    assert check("x" * 64) == "x" * 64
    with pytest.raises(InvalidName, match="has 65 characters, at most 64"):
        check("x" * 65)


def test_the_project_of_tracecraft_itself_is_nobodys() -> None:
    with pytest.raises(InvalidName, match=r"project '_tracecraft': is reserved .* for example 'my-research'"):
        names.project(RESERVED_PROJECT)
    assert names.project(f"{RESERVED_PROJECT}-2") == "_tracecraft-2"
    assert names.agent(RESERVED_PROJECT) == RESERVED_PROJECT


@pytest.mark.parametrize("check", KEYS)
def test_a_key_may_have_256_characters_and_not_one_more(check: Callable[[str], str]) -> None:
    assert check("x" * 256) == "x" * 256
    with pytest.raises(InvalidName, match="has 257 characters, at most 256"):
        check("x" * 257)


def test_the_message_about_a_long_name_is_short() -> None:
    with pytest.raises(InvalidName) as caught:
        names.memory_key("x" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", ["a*", "*a", "a.b*", ">.a", "a.>.b", ">>", "a.**"])
def test_a_wildcard_that_is_not_a_whole_token_is_refused(value: str) -> None:
    with pytest.raises(InvalidName):
        names.pattern(value)


@pytest.mark.parametrize("value", [">", "*", "a.>", "*.b", "a.*.c", "a.b=/-_", "*.>"])
def test_wildcards_for_whole_tokens_are_a_pattern(value: str) -> None:
    assert names.pattern(value) == value


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        (">", "a", True),
        (">", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.b", True),
        ("a.>", "b.a", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*.>", "a.b", False),
        ("a.*.>", "a.b.c.d", True),
    ],
)
def test_a_pattern_matches_as_the_server_would(pattern: str, key: str, expected: bool) -> None:
    assert names.matches(pattern, key) is expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("Süd", "Sud", id="accent"),
        pytest.param("my app (2)", "my-app-2", id="odd"),
        pytest.param("x" * 100, "x" * 64, id="long"),
        pytest.param("研究员", "agent-fb2f4efd", id="no latin letters"),
    ],
)
def test_any_text_is_one_name_by_whichever_door_it_comes(text: str, name: str) -> None:
    assert names.agent_from_text(text) == name
    assert Actors().name(text) == name
    assert transcripts.agent_name("claude", f"/srv/{text}") == f"{name[:40]}-claude"
    assert autoresearch.experiment("r", f"a/{text}").startswith(f"ar-{names.from_text(text, 32) or 'x'}-")


@given(st.text(), st.integers(1, 64))
def test_any_text_has_a_name_that_may_be_one(text: str, most: int) -> None:
    for name in (names.from_text(text, most), names.agent_from_text(text, most)):
        assert not name or len(names.agent(name)) <= most


@given(st.text(st.sampled_from(TOKEN_CHARACTERS), min_size=1, max_size=64).filter(RESERVED_PROJECT.__ne__))
def test_every_token_of_allowed_characters_is_accepted_unchanged(value: str) -> None:
    assert [check(value) for check in TOKENS] == [value] * 3


@given(st.text(max_size=80))
def test_a_token_is_accepted_exactly_when_design_section_3_says_so(value: str) -> None:
    allowed = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None and not value.endswith("\n")
    allowed = allowed and value != RESERVED_PROJECT
    try:
        accepted = names.project(value) == value
    except InvalidName:
        accepted = False
    assert accepted is allowed


@given(st.text(st.sampled_from(KEY_CHARACTERS + ". *>\n"), max_size=20) | st.text(max_size=20))
def test_a_key_is_accepted_exactly_when_design_section_3_says_so(value: str) -> None:
    tokens = value.split(".")
    allowed = all(token and set(token) <= set(KEY_CHARACTERS) for token in tokens)
    try:
        accepted = names.memory_key(value) == value
    except InvalidName:
        accepted = False
    assert accepted is allowed


KEY = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(KEY, st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_key_matches_every_pattern_that_stars_some_of_its_tokens(key: str, stars: list[bool]) -> None:
    pattern = ".".join("*" if star else token for token, star in zip(key.split("."), stars, strict=False))
    assert names.matches(names.pattern(pattern), key)
    assert not names.matches(pattern, f"{key}.x")
    assert not names.matches(f"{pattern}.>", key)
    assert names.matches(f"{pattern}.>", f"{key}.x")
