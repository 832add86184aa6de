"""Entries of the log."""

from __future__ import annotations

from typing import Any

import msgspec

from tracecraft_core.queries.question import MAX_PAGE, Answer, Question


class EntriesQuestion(Question, frozen=True, kw_only=True):
    """``log.entries`` → `EntriesPage`: entries of the log, in its order."""

    run: str | None = None
    """Those of this run, and what happened in the project meanwhile (memory, tasks, messages, agents)."""
    only_run: bool = False
    """With ``run``: only what names the run."""
    families: list[str] | None = None
    """Only these: ``msg``, ``all``, ``receipt``, ``agent``, ``run``, ``memory``, ``task``, ``other``."""
    first_seq: int = 0
    last_seq: int | None = None
    epoch: int | None = None
    limit: int = MAX_PAGE
    cursor: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log, as it stands in a bundle too."""

    seq: int
    time: str
    subject: str
    headers: dict[str, Any] = {}
    body: Any = None
    """JSON; null when the body is empty or no JSON."""
    raw: str | None = None
    """Base64 of a body that is no JSON."""


class EntriesPage(Answer, frozen=True, kw_only=True):
    """One page of entries."""

    entries: list[Entry]
    next: str | None = None
