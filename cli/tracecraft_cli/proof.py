"""What a verification found, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft_core.queries import RunVerification, WriterReport

SHOWN = 10
"""Problems of one kind that are shown."""


def lines(found: RunVerification) -> Iterator[str]:
    """The head, what is wrong, and the verdict."""
    yield f"run {found.run} ({found.status}): {found.entries:,} events of {len(found.writers)} writers"
    for writer in found.writers:
        yield from _writer(writer)
    for first, last, reason in found.gaps[:SHOWN]:
        yield f"  log: {first} to {last} are missing, {reason}"
    for seq, subject, problem in found.problems[:SHOWN]:
        yield f"  event {seq} {subject}: {problem}"
    for sha256 in found.missing_blobs[:SHOWN]:
        yield f"  file {sha256}: the artifact store does not have it"
    for sha256 in found.damaged_blobs[:SHOWN]:
        yield f"  file {sha256}: its content is another"
    if found.bundle is not None and found.bundle != "ok":
        yield f"  bundle: {found.bundle}"
    yield _verdict(found)


def _writer(writer: WriterReport) -> Iterator[str]:
    name = f"  writer {writer.writer} ({writer.agent})"
    if writer.missing:
        ranges = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in writer.missing[:SHOWN])
        yield f"{name}: numbers {ranges} are missing"
    if writer.final is None:
        yield f"{name}: it never said that it was done; its last event here is number {writer.last_number}"
    elif writer.final > writer.last_number:
        yield f"{name}: it ended with number {writer.final}, the last one here is {writer.last_number}"
    if writer.dropped:
        yield f"{name}: it had to drop {writer.dropped:,} events, its spool was full"
    if writer.duplicates:
        yield f"{name}: {writer.duplicates:,} repeats were recognised and not counted"


def _verdict(found: RunVerification) -> str:
    if found.complete:
        return "complete: nothing is missing, nothing is there twice"
    return "still running" if found.status == "running" else "not complete"
