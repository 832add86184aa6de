"""The same bundle with the contents of its files inside, or without them; the rest stays as it is, byte for byte."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO, Final

from tracecraft_core import run_events
from tracecraft_core.bundle import layout
from tracecraft_core.bundle.writer import MemberWriter
from tracecraft_core.facts import fact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tracecraft_core.bundle.reader import BundleReader

PIECE: Final = 1 << 20
"""Bytes that are copied at a time."""


def hashes(reader: BundleReader) -> list[str]:
    """The contents that the entries speak of: files, and values too large for an event."""
    found: set[str] = set()
    for entry in reader.entries():
        body = fact(entry).body
        if isinstance(body, run_events.Artifact):
            found.add(body.sha256)
        elif isinstance(body, run_events.StepData) and body.blob is not None:
            found.add(body.blob.sha256)
    return sorted(found)


def repack(reader: BundleReader, out: BinaryIO, files: Mapping[str, Path]) -> None:
    """Write the bundle anew with these contents, by SHA-256, inside; with none, as the bridge made it."""
    writer = MemberWriter(out)
    kept = [name for name in reader.places if not name.startswith(layout.ARTIFACTS)]
    writer.add(kept[0], reader.content(kept[0]))
    for sha256, path in sorted(files.items()):
        crc = 0
        for piece in _pieces(path):
            crc = zlib.crc32(piece, crc)
        writer.stream(layout.artifact_name(sha256), path.stat().st_size, crc, _pieces(path))
    for name in kept[1:]:
        writer.add(name, reader.content(name))
    writer.close()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
