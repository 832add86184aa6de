"""``KEY=VALUE`` on the command line: parameters and tags of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracecraft_cli.given import parse_value
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def params(given: Iterable[str]) -> dict[str, Any]:
    """Parameters: each value any JSON, or text where it is none. Raises `UsageError`."""
    return {key: parse_value(value) for key, value in _pairs("--param", given, "lr=0.001")}


def tags(given: Iterable[str]) -> dict[str, str]:
    """Tags: each value a text. Raises `UsageError`."""
    return dict(_pairs("--tag", given, "team=vision"))


def _pairs(option: str, given: Iterable[str], example: str) -> list[tuple[str, str]]:
    found = [word.partition("=") for word in given]
    wrong = next((key + sign + value for key, sign, value in found if not key or not sign), None)
    if wrong is not None:
        raise UsageError(f"{option} {wrong!r} is not KEY=VALUE; for example {option} {example}")
    return [(key, value) for key, _, value in found]
