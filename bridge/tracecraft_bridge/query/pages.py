"""Pages: opaque cursors, and as many rows as fit into one message."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tracecraft_bridge.query.refusal import bad_question
from tracecraft_core.queries import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

_R = TypeVar("_R")

MAX_BYTES: Final = 900 * 1024
"""Bytes of an answer; a message may have 1 MiB."""
ROWS_BYTES: Final = MAX_BYTES - 8 * 1024
"""Bytes of the rows of a page: the rest is for what is around them."""


def checked_limit(limit: int) -> int:
    """A question's limit; refuses one that makes no sense."""
    if not 1 <= limit <= MAX_PAGE:
        raise bad_question(f"limit is {limit}", f"a page has 1 to {MAX_PAGE} rows; pass 'next' as 'cursor' for more")
    return limit


def encode_cursor(*place: object) -> str:
    """A place in a list, as text for the next question."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode_cursor(cursor: str, *types: Any) -> tuple[Any, ...]:
    """The place that `encode_cursor` was given, whose values have these types; refuses anything else."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place: tuple[Any, ...] = msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=tuple.__class_getitem__(types)
        )
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise bad_question("the cursor is none of this question's", "pass 'next' of an answer unchanged") from None
    return place


def fitting(rows: Sequence[_R], limit: int = ROWS_BYTES) -> list[_R]:
    """The first of these rows, as many as fit; one at least, so that a list always goes on."""
    encode = msgspec.json.encode
    if len(encode(rows)) <= limit:
        return list(rows)
    fit: list[_R] = []
    size = 0
    for row in rows:
        size += len(encode(row)) + 1
        if size > limit and fit:
            break
        fit.append(row)
    return fit
