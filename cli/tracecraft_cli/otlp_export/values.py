"""`Values`: what a step was given and gave, whole or as much as there is, read from the entries of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracecraft_core.queries import Entry, StepRow

INPUT = "step.input"
OUTPUT = "step.output"
ENDED = "step.ended"


@dataclass(slots=True)
class Value:
    """One of the two."""

    content: Any = None
    cut: str = ""
    """Why ``content`` is only the beginning; empty when it is whole."""
    sha256: str = ""
    """Of a value that lies in the artifact store, and that is not here (yet)."""
    size: int = 0
    """Its bytes."""


@dataclass(slots=True)
class Values:
    """What the log has of one step besides its row."""

    input: Value = field(default_factory=Value)
    output: Value = field(default_factory=Value)
    failure: Mapping[str, Any] = field(default_factory=dict)
    """``type``, ``message``, ``trace``."""
    tags: Mapping[str, str] = field(default_factory=dict)


def places(row: StepRow) -> list[int]:
    """The sequences of the entries that `read` wants."""
    ended = row.last_seq if row.status in ("ok", "error") else None
    return sorted({seq for seq in (row.input_seq, row.output_seq, ended) if seq is not None})


def ranges(seqs: Iterable[int], gap: int) -> list[tuple[int, int]]:
    """Sequences as ranges, first to last, that are asked for at once: between two of one range lie at most ``gap``."""
    found: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if found and seq - found[-1][1] <= gap:
            found[-1] = found[-1][0], seq
        else:
            found.append((seq, seq))
    return found


def read(row: StepRow, entries: Mapping[tuple[int, str], Entry]) -> Values:
    """The values of a step; ``entries``: by sequence and event. What is not among them has its preview."""
    found = Values(_value(row, INPUT, entries), _value(row, OUTPUT, entries))
    ended = _body(entries, row.last_seq, ENDED, row.step)
    if ended is not None:
        found.failure = ended.get("error") or {}
        found.tags = ended.get("tags") or {}
    return found


def _value(row: StepRow, event: str, entries: Mapping[tuple[int, str], Entry]) -> Value:
    seq, preview, blob = (
        (row.input_seq, row.input, row.input_blob) if event == INPUT else (row.output_seq, row.output, row.output_blob)
    )
    if seq is None:
        return Value()
    body = _body(entries, seq, event, row.step)
    if body is None:
        return Value(preview, cut="the log no longer has it" if preview is not None else "")
    if blob is None:
        return Value(body.get("value"))
    size = int((body.get("blob") or {}).get("size", 0))
    return Value(preview, cut=f"{size:,} bytes in the artifact store", sha256=blob, size=size)


def _body(entries: Mapping[tuple[int, str], Entry], seq: int | None, event: str, step: str) -> Mapping[str, Any] | None:
    entry = None if seq is None else entries.get((seq, event))
    body = None if entry is None else entry.body
    return body if isinstance(body, dict) and body.get("step") == step else None
