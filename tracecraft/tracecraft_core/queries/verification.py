"""Whether everything of a run is there, once."""

from __future__ import annotations

import msgspec

from tracecraft_core.queries.question import Answer, RunQuestion


class WriterReport(msgspec.Struct, frozen=True, kw_only=True):
    """What of one writer arrived."""

    writer: str
    agent: str
    received: int
    last_number: int
    final: int | None
    """Number of its last event; null when it never said that it was done."""
    missing: list[tuple[int, int]]
    """Ranges of numbers that did not arrive."""
    duplicates: int
    """Repeats that were recognised and not counted."""
    dropped: int
    host: str | None = None
    """The machine on which it wrote, when it said so; only of one that never said that it was done."""


class RunVerification(Answer, frozen=True, kw_only=True):
    """``runs.verify`` (a `RunQuestion`): is everything there, once?"""

    run: str
    status: str
    complete: bool
    """Every writer said that it was done, nothing is missing, nothing was dropped, no log gap, no lost file."""
    writers: list[WriterReport]
    unfinished: list[str]
    """Writers that never said that they were done: what they had not handed over when they died has no number here."""
    problems: list[tuple[int, str, str]]
    """Events that could not be read: sequence, subject, why."""
    gaps: list[tuple[int, int, str]]
    """Holes of the log inside the run: first and last sequence, why."""
    missing_blobs: list[str]
    """Hashes that events speak of and the artifact store does not have."""
    damaged_blobs: list[str]
    """Only with ``deep``: hashes whose content is another."""
    bundle: str | None
    """``ok``, what is wrong with it, or null when there is none."""
    entries: int = 0
    """Of the run in the log, those of its children too."""


class VerifyQuestion(RunQuestion, frozen=True, kw_only=True):
    """``runs.verify``."""

    deep: bool = False
    """Read every file again and compare its hash."""
