"""What is logged becomes JSON at the call, whatever it is; logging never raises for data."""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tracecraft.recording import images
from tracecraft.recording.traceparent import parse, root
from tracecraft.recording.usage import amount, read, tokens
from tracecraft_core import values
from tracecraft_core.errors import UsageError


class Stubborn:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclass
class Point:
    x: float
    y: Any


class Model:
    def model_dump(self, mode: str) -> dict[str, str]:
        return {"mode": mode}


def endless() -> list[Any]:
    loop: list[Any] = [1]
    loop.append(loop)
    return loop


def encoded(value: Any) -> Any:
    return json.loads(values.encode(value))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": [1, "ä", None, True]}, {"a": [1, "ä", None, True]}),
        ({"a": [float("nan"), -float("inf")]}, {"a": ["NaN", "-Infinity"]}),
        ("\ud800", "\\ud800"),
        ({(1, 2): 3, None: 4}, {"(1, 2)": 3, "None": 4}),
        (b"abc", {"$repr": "b'abc'", "type": "bytes"}),
        (Point(1.5, Path("/tmp")), {"x": 1.5, "y": "/tmp"}),
        (Model(), {"mode": "json"}),
        (np.float32(0.5), 0.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([float("nan")]), ["NaN"]),
        ({"n": 2**80}, {"n": 2**80}),
        ({"a\0": "\0\0\\u0000\\\0"}, {"a\\x00": "\\x00\\x00\\u0000\\\\x00"}),
        (Point(1.0, "\0"), {"x": 1.0, "y": "\\x00"}),
    ],
)
def test_a_value_is_recorded_as_what_it_is(value: Any, wanted: Any) -> None:
    assert encoded(value) == wanted


def test_what_json_cannot_hold_is_recorded_by_its_representation() -> None:
    assert encoded({"file": io.BytesIO}) == {"file": {"$repr": "<class '_io.BytesIO'>", "type": "type"}}
    assert encoded([Stubborn()])[0]["$repr"] == "<its repr raised RuntimeError>"
    assert encoded(np.zeros((200, 200)))["shape"] == [200, 200]


def test_an_integer_that_python_will_not_write_down_is_a_note() -> None:
    found = encoded({"n": 10**5_000, "m": -(2**4_096)})
    assert found["n"]["type"] == found["m"]["type"] == "int"
    assert found["n"]["$repr"].startswith("0x")
    assert values.as_text(10**5_000).startswith("0x")
    assert encoded(2**4_096 - 1) == 2**4_096 - 1


class Shy(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no")


def test_a_key_or_a_dictionary_that_cannot_be_shown_costs_nothing_else() -> None:
    assert encoded({Stubborn(): float("nan")}) == {"<its repr raised RuntimeError>": "NaN"}
    assert encoded({1: Shy(), 2: float("nan")})["$repr"] == "{1: {}, 2: nan}"


def test_a_value_that_contains_itself_ends_somewhere() -> None:
    assert "$repr" in values.encode(endless()).decode()


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (
            {
                "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 80},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            (20, 80, 0, 20, 30),
        ),
        (
            {
                "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
                "input_tokens_details": {"cached_tokens": 80}, "output_tokens_details": {"reasoning_tokens": 30},
            },
            (20, 80, 0, 20, 30),
        ),
        (
            {
                "input_tokens": 100, "output_tokens": 50,
                "cache_read_input_tokens": 80, "cache_creation_input_tokens": 10,
            },
            (100, 80, 10, 50, 0),
        ),
        (
            {
                "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
                "input_token_details": {"cache_read": 70, "cache_creation": 10},
                "output_token_details": {"reasoning": 5},
            },
            (20, 70, 10, 45, 5),
        ),
        ({"inputTokens": 9, "outputTokens": 4, "cacheReadInputTokens": 3}, (9, 3, 0, 4, 0)),
        (
            SimpleNamespace(
                prompt_token_count=100, candidates_token_count=40, thoughts_token_count=7, cached_content_token_count=60
            ),
            (40, 60, 0, 40, 7),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}, (0, 8, 0, 1, 0)),
    ],
    ids=["openai-chat", "openai-responses", "anthropic", "langchain", "bedrock", "google", "more-cached-than-sent"],
)  # fmt: skip
def test_tokens_are_taken_apart_into_disjoint_buckets(usage: Any, wanted: tuple[int, ...]) -> None:
    seen = read(usage)
    assert (seen.input, seen.cache_read, seen.cache_write, seen.output, seen.reasoning) == wanted


def test_a_whole_response_tells_model_and_request_too() -> None:
    response = SimpleNamespace(
        id="msg_1", model="claude-x", usage=SimpleNamespace(input_tokens=3, output_tokens=2, cost=0.5)
    )
    seen = read(response)
    assert (seen.request, seen.model, seen.input, seen.cost) == ("msg_1", "claude-x", 3, 0.5)


def test_what_is_no_usage_is_refused() -> None:
    with pytest.raises(UsageError, match=r"log_usage\(input=1200"):
        read({"tokens": 3})


def pixels(png: bytes) -> tuple[int, int, int, bytes]:
    """Width, height, colour type and the unfiltered bytes of a PNG as `images` makes them."""
    width, height, _, colour = struct.unpack(">IIBB", png[16:26])
    start = png.index(b"IDAT") + 4
    size = struct.unpack(">I", png[start - 8 : start - 4])[0]
    return width, height, colour, zlib.decompress(png[start : start + size])


def test_arrays_become_png_without_pillow() -> None:
    png, media_type = images.encode(np.array([[0.0, 0.5, 2.0], [1.0, -1.0, 0.0]]))
    assert media_type == "image/png"
    assert pixels(png) == (3, 2, 0, bytes([0, 0, 128, 255, 0, 255, 0, 0]))
    colour, _ = images.encode(np.full((1, 2, 3), 7, dtype="uint8"))
    assert pixels(colour) == (2, 1, 2, bytes([0, *[7] * 6]))


def test_a_png_of_ours_is_read_by_others() -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image")
    png, _ = images.encode(np.eye(4, dtype=bool))
    assert matplotlib_image.imread(io.BytesIO(png)).tolist() == np.eye(4).tolist()


@pytest.mark.parametrize("image", [object(), b"no image", np.zeros(3), np.zeros((2, 2, 5)), np.array([["a"]])])
def test_what_is_no_image_is_refused(image: Any) -> None:
    with pytest.raises(UsageError, match="image"):
        images.encode(image)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4b-00-1",
    ],
)
def test_a_traceparent_that_is_none_is_passed_over(text: str) -> None:
    assert parse(text) is None


def test_the_place_of_a_run_is_told_from_that_of_a_step() -> None:
    place = root("4bf92f3577b34da6a3ce929d0e0e4736")
    found = parse(str(place))
    assert found == place
    assert found is not None
    assert found.is_root
    step = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert step is not None
    assert not step.is_root


@pytest.mark.parametrize("wrong", [1.5, "5", True, -1, float("nan"), 10**30])
def test_a_number_of_tokens_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="tokens"):
        read({"prompt_tokens": wrong, "completion_tokens": 1})
    with pytest.raises(UsageError, match="cached_tokens="):
        read({"input_tokens": 5, "input_tokens_details": {"cached_tokens": wrong}})
    with pytest.raises(UsageError, match="input="):
        tokens("input", wrong)


@pytest.mark.parametrize("wrong", ["1", True, -0.5, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="cost="):
        read({"prompt_tokens": 1, "completion_tokens": 1, "cost": wrong})
    with pytest.raises(UsageError, match="cost="):
        amount(wrong)


def test_whole_numbers_of_any_type_are_tokens() -> None:
    assert (tokens("input", 5.0), tokens("input", 0), read({"prompt_tokens": 5.0}).input) == (5, 0, 5)
    assert (amount(1), amount(0.25)) == (1.0, 0.25)
