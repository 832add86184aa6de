"""Files: where to put them, where to get them, which there are."""

from __future__ import annotations

import msgspec

from tracecraft_core.queries.question import PAGE, Answer, Question


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run."""

    name: str
    sha256: str
    size: int
    media_type: str
    kind: str
    agent: str
    time: str
    run: str
    step: str | None = None


class PutQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.put`` → `Upload`: where to put a file. Asked again for the same content it resumes."""

    sha256: str
    size: int
    media_type: str = "application/octet-stream"


class Upload(Answer, frozen=True, kw_only=True):
    """How to put it. With ``exists`` there is nothing to do."""

    exists: bool
    id: str | None = None
    url: str | None = None
    """PUT the whole file here (small files)."""
    part_size: int | None = None
    """Large files go in parts of this size; ask ``artifacts.part`` for the address of each."""
    done: list[int] = msgspec.field(default_factory=list)
    """Numbers of the parts that are there already."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """To be sent with the PUT; they are signed, and so is the length: nothing longer or shorter is taken."""
    expires: str | None = None


class PartQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.part`` → `PartUrls`."""

    id: str
    parts: list[int]
    """From 1, at most 100."""


class PartUrls(Answer, frozen=True, kw_only=True):
    """Addresses to PUT parts to, by part number as text."""

    urls: dict[str, str]
    expires: str


class CommitQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.commit`` → `Committed`: the bridge reads the file back and compares the hash."""

    id: str


class Committed(Answer, frozen=True, kw_only=True):
    """The file is in the store."""

    sha256: str
    size: int


class GetQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.get`` → `Download`, by hash, or by run and name."""

    sha256: str | None = None
    run: str | None = None
    name: str | None = None
    failed: bool = False
    """The store did not give it: the bridge looks whether it is damaged."""
    place: int = 0
    """The byte from which on it did not give it."""


class Download(Answer, frozen=True, kw_only=True):
    """Where the file is; the URL opens nothing else and ends at ``expires``."""

    sha256: str
    size: int
    url: str
    expires: str
    name: str | None = None
    media_type: str = "application/octet-stream"
    damaged: bool = False
    """The store is well and cannot give it."""


class ArtifactsQuestion(Question, frozen=True, kw_only=True):
    """``artifacts.list`` → `ArtifactsPage`."""

    run: str | None = None
    limit: int = PAGE
    cursor: str | None = None


class ArtifactsPage(Answer, frozen=True, kw_only=True):
    """One page of files."""

    artifacts: list[ArtifactRow]
    next: str | None = None
