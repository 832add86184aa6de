"""How values come in from the command line."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tracecraft_cli.given import DashedWords, parse_json, parse_value, read_value
from tracecraft_core.bodies import value_from_json, value_to_json
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def stored(value: str, *, text: bool = False) -> Any:
    return value_from_json(value_to_json(parse_value(value, text)))


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("47", 47),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("null", None),
        ('"quoted"', "quoted"),
        ("[1, 2]", [1, 2]),
        (' {"a": {"b": 1}} ', {"a": {"b": 1}}),
        ("plain words", "plain words"),
        ("", ""),
        ("True", "True"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("{broken", "{broken"),
        ("'single'", "'single'"),
        ("01", "01"),
        ("1 2", "1 2"),
        ("한국어 🙂", "한국어 🙂"),
    ],
)
def test_what_parses_as_json_is_that_json_and_anything_else_a_string(given_: str, expected: object) -> None:
    assert stored(given_) == expected
    assert type(stored(given_)) is type(expected)


@pytest.mark.parametrize("given_", ["47", "null", '{"a": 1}', '"quoted"', "words"])
def test_with_text_everything_is_a_string_as_it_stands(given_: str) -> None:
    assert stored(given_, text=True) == given_


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "0.1000000000000000055511151231257827", "-0"])
def test_a_number_is_stored_digit_by_digit(number: str) -> None:
    assert value_to_json(parse_value(number)) == number.encode()


def test_json_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(UsageError, match="nested too deep"):
        parse_value("[" * 100_000)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_whatever_json_one_writes_is_what_one_reads(value: object) -> None:
    assert stored(msgspec.json.encode(value).decode()) == value


@given(st.text())
def test_any_text_comes_back_with_text(value: str) -> None:
    assert stored(value, text=True) == value


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"words", "words"),
        (b"words\n", "words"),
        (b"words\n\n", "words\n"),
        (b"a\r\nb\n", "a\r\nb"),
        ("é".encode(), "é"),
    ],
)
def test_standard_input_is_read_as_utf8_without_the_newline_that_ends_it(
    monkeypatch: pytest.MonkeyPatch, data: bytes, expected: str
) -> None:
    stdin(monkeypatch, data)
    assert read_value("-") == expected


def test_standard_input_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_value("-")


def test_an_argument_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        read_value("\udcff")


def test_an_option_that_must_be_json_says_what_it_wants_with_an_example() -> None:
    with pytest.raises(UsageError, match=r"--data is not JSON .*; for example \{\"a\": 1\}"):
        parse_json("{a: 1}", "--data", '{"a": 1}')


@pytest.fixture
def dashed() -> Callable[..., tuple[int, str]]:
    @click.command(cls=DashedWords)
    @click.argument("word")
    @click.option("--limit", type=int)
    @click.option("-p", "--project")
    @click.option("--flag", is_flag=True)
    def command(**given_: object) -> None:
        click.echo(f"{given_['word']}|{given_['limit']}|{given_['project']}|{given_['flag']}", nl=False)

    def run(*args: str) -> tuple[int, str]:
        outcome = CliRunner().invoke(command, args)
        return outcome.exit_code, outcome.output

    return run


@pytest.mark.parametrize("word", ["-5", "-.5", "-0.25", "- an item\n- another", "-", "-1e5"])
def test_a_word_may_begin_with_a_dash(dashed: Callable[..., tuple[int, str]], word: str) -> None:
    assert dashed(word) == (0, f"{word}|None|None|False")
    assert dashed("--flag", word, "-p", "x") == (0, f"{word}|None|x|True")
    assert dashed("--", word) == (0, f"{word}|None|None|False")


def test_a_word_that_is_missing_is_still_an_error(dashed: Callable[..., tuple[int, str]]) -> None:
    code, output = dashed()
    assert code == 2
    assert "Missing argument 'WORD'" in output


def test_an_option_keeps_its_value_that_begins_with_a_dash(dashed: Callable[..., tuple[int, str]]) -> None:
    assert dashed("w", "--limit", "-5", "-p", "-1") == (0, "w|-5|-1|False")


@pytest.mark.parametrize("option", ["--limt", "-x", "--no"])
def test_an_option_that_does_not_exist_is_still_an_error(dashed: Callable[..., tuple[int, str]], option: str) -> None:
    code, output = dashed("w", option)
    assert code == 2
    assert f"No such option {option!r}" in output or f"No such option: {option}" in output


@pytest.mark.parametrize("value", [float("nan"), [1, {"a": float("-inf")}], object()])
def test_a_value_that_json_cannot_hold_is_refused_and_not_changed(value: object) -> None:
    with pytest.raises(UsageError, match="cannot be stored as JSON"):
        value_to_json(value)
