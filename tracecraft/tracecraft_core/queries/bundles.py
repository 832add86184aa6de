"""Bundles: a run's newest one, and the import of one."""

from __future__ import annotations

import msgspec

from tracecraft_core.queries.question import Answer, Question


class BundleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run's newest bundle."""

    sha256: str
    size: int
    root: str
    """Root of its hash tree, 64 hexadecimal digits."""
    first_seq: int
    last_seq: int
    made: str


class BundleAnswer(Answer, frozen=True, kw_only=True):
    """``runs.bundle`` (a `RunQuestion`): the bundle up to now, made if need be, and where to fetch it."""

    run: str
    bundle: BundleRow
    url: str
    expires: str


class ImportQuestion(Question, frozen=True, kw_only=True):
    """``runs.import`` → `Imported`: a bundle that was put into the artifact store."""

    sha256: str


class Imported(Answer, frozen=True, kw_only=True):
    """What the import did."""

    run: str
    root: str
    new: bool
    """False: it was here already, nothing changed."""
    entries: int
