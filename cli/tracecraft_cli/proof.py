"""What a verification found, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft_cli.amounts import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracecraft_core.queries import RunVerification, WriterReport

SHOWN = 10
"""Problems of one kind that are shown."""


def lines(found: RunVerification, project: str) -> Iterator[str]:
    """The head, what is wrong, and the verdict."""
    amount = f"{counted(found.entries, 'event')} of {counted(len(found.writers), 'writer')}"
    yield f"run {found.run} ({found.status}): {amount}"
    for writer in found.writers:
        yield from _writer(writer, project)
    yield from _some([f"log: {first} to {last} are missing, {reason}" for first, last, reason in found.gaps])
    yield from _some([f"event {seq} {subject}: {problem}" for seq, subject, problem in found.problems])
    yield from _some([f"file {sha256}: the artifact store does not have it" for sha256 in found.missing_blobs])
    yield from _some([f"file {sha256}: its content is another" for sha256 in found.damaged_blobs])
    if found.bundle is not None and found.bundle != "ok":
        yield f"  bundle: {found.bundle}"
    yield _verdict(found)


def _some(told: Sequence[str]) -> Iterator[str]:
    """The first ones, and how many there are besides."""
    yield from (f"  {line}" for line in told[:SHOWN])
    if len(told) > SHOWN:
        yield f"  ... {_more(len(told))}"


def _more(number: int) -> str:
    return f"and {number - SHOWN:,} more (--json has all)"


def _writer(writer: WriterReport, project: str) -> Iterator[str]:
    name = f"  writer {writer.writer} ({writer.agent})"
    if writer.missing:
        ranges = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in writer.missing[:SHOWN])
        more = f", {_more(len(writer.missing))}" if len(writer.missing) > SHOWN else ""
        yield f"{name}: numbers {ranges} are missing{more}"
    if writer.final is None:
        yield (
            f"{name}: it never said that it was done; what it recorded after number {writer.last_number}, if anything, "
            f"is not here and can only be in the spool of {writer.host or 'its machine'}: "
            f"'tracecraft spool flush -p {project}' there delivers it"
        )
    elif writer.final > writer.last_number:
        yield f"{name}: it ended with number {writer.final}, the last one here is {writer.last_number}"
    if writer.dropped:
        yield f"{name}: it had to drop {counted(writer.dropped, 'event')}, its spool was full"
    if writer.duplicates:
        yield f"{name}: {counted(writer.duplicates, 'repeat')} recognised and not counted"


def _verdict(found: RunVerification) -> str:
    if found.complete:
        return "complete: nothing is missing, nothing is there twice"
    return "still running" if found.status == "running" else "not complete"
