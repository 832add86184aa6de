"""What a bundle consists of: the names of its members, in their order, and what the manifest says."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tracecraft_core.queries import Tokens

MEDIA_TYPE: Final = "application/vnd.tracecraft.bundle+zip"
FORMAT: Final = 1
"""Raised when an old reader would misread; new members alone do not raise it."""
CHUNK_BYTES: Final = 1024 * 1024
"""Most bytes of entries in a chunk before compression; a single entry may be larger."""
TAIL_BYTES: Final = 256 * 1024
"""What a reader fetches first: directory and manifest, and mostly the skeleton too."""

MIMETYPE: Final = "mimetype"
ARTIFACTS: Final = "artifacts/"
"""Contents of files, by SHA-256; only with ``--with-artifacts``, outside the hash tree: their name is their hash."""
EVENTS: Final = "events/"
PACKED: Final = ".zst"
"""End of the name of a member that is a zstd frame."""
CHECKPOINT: Final = "checkpoint.json.zst"
METRICS: Final = "metrics.jsonl.zst"
STATS: Final = "events/stats.json"
SKELETON: Final = "skeleton.json.zst"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member, as it is stored and as it is when unpacked."""

    name: str
    size: int
    sha256: str
    raw_size: int
    raw_sha256: str
    """What the hash tree is made of: compression may differ between versions of zstd, contents do not."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The run in a few numbers, made of its own entries alone."""

    name: str = ""
    status: str = "running"
    agent: str = ""
    purpose: str = "original"
    parent: str | None = None
    forked_from: str | None = None
    started: str | None = None
    """Times are RFC 3339, UTC, of the server."""
    ended: str | None = None
    steps: int = 0
    errors: int = 0
    points: int = 0
    tokens: Tokens = Tokens()
    reported_cost: float | None = None
    """USD that the sources themselves said; prices of lists are in the bridge."""
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    """Newest value of each metric of the run."""
    reason: str | None = None
    """Why it failed or crashed."""
    artifacts: dict[str, str] = {}
    """SHA-256 of each file, by name; of the run and its children, whose names begin with their run and ``:``."""


class ChunkStats(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one chunk of entries, so that a reader knows which ones to open."""

    first_seq: int
    last_seq: int
    entries: int
    first_time: str
    last_time: str
    counts: dict[str, int]
    """By family, and ``run.<event>`` for events of runs."""
    agents: list[str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest.json``."""

    format: int = FORMAT
    project: str
    run: str
    runs: list[str]
    """The run, then the runs inside of it."""
    first_seq: int
    last_seq: int
    entries: int
    first_time: str | None
    last_time: str | None
    summary: Summary
    members: list[Member]
    """In their order in the file; without artifacts, this one and the signature."""
    root: str
    """Root of the hash tree over the members, 64 hexadecimal digits."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """``signature.json``: an NKey's signature over the bytes of the manifest, and so over the root."""

    key: str
    """Public NKey."""
    signature: str
    """Base64."""


def chunk_name(first_seq: int) -> str:
    """Name of the chunk that begins with a sequence."""
    return f"{EVENTS}{first_seq}.jsonl.zst"


def is_chunk(name: str) -> bool:
    """Whether a member holds entries."""
    return name.startswith(EVENTS) and name != STATS


def artifact_name(sha256: str) -> str:
    """Name of a file's content."""
    return f"{ARTIFACTS}{sha256}"
