"""How entries of the shared memory are shown: key, revision, value in one line, or whole as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tracecraft_cli.columns import columns
from tracecraft_cli.output import compact
from tracecraft_core.quotation import neutral, oneline

if TYPE_CHECKING:
    from tracecraft import Entry

DELETED = "(deleted)"


def as_json(entry: Entry) -> dict[str, Any]:
    """All that is known of an entry."""
    return dataclasses.asdict(entry)


def value(entry: Entry, used: int) -> str:
    """The value in what is left of the line behind ``used`` characters."""
    return DELETED if entry.deleted else oneline(compact(entry.value), max(20, columns() - used))


def line(entry: Entry) -> str:
    """A change in one line."""
    start = f"{neutral(entry.key)}  {entry.revision}  "
    return start + value(entry, len(start))
