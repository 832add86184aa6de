"""A question from its bytes, and what is wrong with it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tracecraft_bridge.query.refusal import bad_question

if TYPE_CHECKING:
    from tracecraft_core.queries import Question

_Q = TypeVar("_Q", bound="Question")


def decode(body: bytes, kind: type[_Q]) -> _Q:
    """The question; an empty body is ``{}``. Refuses what is no JSON object, unknown fields, wrong types and NUL."""
    try:
        given = msgspec.json.decode(body or b"{}")
        if not isinstance(given, dict):
            raise bad_question(f"a question is a JSON object, not {type(given).__name__}")
        _refuse_unknown(given, kind.__struct_fields__)
        if b"\\u0000" in body and _has_nul(given):
            raise bad_question("a question has no NUL in it")
        return msgspec.convert(given, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_question(f"the question cannot be understood: {error}", "see docs/reference/queries.md") from None


def _refuse_unknown(given: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'no fields'}"
            raise bad_question(f"the question has no field {name!r}", hint)


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_has_nul(part) for part in value)
