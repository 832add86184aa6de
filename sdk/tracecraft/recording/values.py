"""Any Python value as JSON: `tracecraft_core.values`, under the name that it has in recording."""

from __future__ import annotations

from tracecraft_core.values import (
    DEEPEST,
    LARGEST_ARRAY,
    LONGEST_REPR,
    as_tag,
    as_text,
    encode,
    note,
    plain,
    storable,
    text,
)

__all__ = [
    "DEEPEST",
    "LARGEST_ARRAY",
    "LONGEST_REPR",
    "as_tag",
    "as_text",
    "encode",
    "note",
    "plain",
    "storable",
    "text",
]
