"""Opens a bundle with few reads: the tail with directory and manifest, the skeleton, each chunk when it is wanted."""

from __future__ import annotations

import bisect
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tracecraft_core import cut
from tracecraft_core.bundle import bounds, container, layout
from tracecraft_core.bundle.layout import ChunkStats, Manifest
from tracecraft_core.bundle.rollups import MetricRollup
from tracecraft_core.bundle.skeleton import Skeleton
from tracecraft_core.bundle.source import FileSource
from tracecraft_core.bundle.verification import problems
from tracecraft_core.errors import Damaged
from tracecraft_core.queries import Entry, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracecraft_core.bundle.container import Place
    from tracecraft_core.bundle.source import Source

_T = TypeVar("_T")

KEPT: Final = 8
"""Chunks that are kept unpacked; one that is larger than others may be is kept alone."""


class BundleReader:
    """An open bundle; made by `open`. Not for several threads at once."""

    def __init__(self, source: Source, what: str) -> None:
        self.source, self.what = source, what
        self._tail, self.size = source.tail(layout.TAIL_BYTES)
        self.end = container.read_end(self._tail, what)
        directory = self._bytes(self.end.offset, self.end.size)
        self.places: Mapping[str, Place] = {
            place.name: place for place in container.read_directory(directory, self.end, what)
        }
        self._prefetch()
        self.manifest: Manifest = self._decode(layout.MANIFEST, self.content(layout.MANIFEST), Manifest)
        if self.manifest.format > layout.FORMAT:
            raise Damaged(what, f"its format is {self.manifest.format}, this tracecraft knows {layout.FORMAT}")
        bounds.check(self.places, self.manifest.members, what)
        self._members = {member.name: member for member in self.manifest.members}
        self.skeleton: Skeleton = self._decode(layout.SKELETON, self.raw(layout.SKELETON), Skeleton)
        if not self.skeleton.matches():
            raise Damaged(what, f"{layout.SKELETON} does not hold together")
        self.chunks: list[ChunkStats] = self._decode(layout.STATS, self.raw(layout.STATS), list[ChunkStats])
        self._firsts = [chunk.first_seq for chunk in self.chunks]
        self._kept: OrderedDict[int, list[Entry]] = OrderedDict()
        self._state: State | None = None

    @classmethod
    def open(cls, where: str | Path | Source) -> BundleReader:
        """Open a file or a source. Raises `Damaged`, `OSError`, and what the source raises."""
        if isinstance(where, (str, Path)):
            source: Source = FileSource(Path(where))
            try:
                return cls(source, str(where))
            except BaseException:
                source.close()
                raise
        return cls(where, "the bundle")

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    @property
    def checkpoint(self) -> State:
        """The state before the first entry."""
        found: State = self._decode(layout.CHECKPOINT, self.raw(layout.CHECKPOINT), State)
        return found

    def metrics(self) -> list[MetricRollup]:
        """Curves to draw."""
        lines = self.raw(layout.METRICS)
        return [self._decode(layout.METRICS, line, MetricRollup) for line in lines.splitlines()]

    def entries(self, first: int = 0, last: int | None = None) -> Iterator[Entry]:
        """Entries from one sequence to another, both included, in order."""
        for place in range(max(0, bisect.bisect_right(self._firsts, first) - 1), len(self.chunks)):
            if last is not None and self._firsts[place] > last:
                return
            for entry in self._chunk(place):
                if first <= entry.seq and (last is None or entry.seq <= last):
                    yield entry

    def chunk(self, number: int) -> list[Entry]:
        """The entries of a chunk, by its place in ``chunks``. Raises `Damaged`."""
        return self._chunk(number)

    def entry(self, seq: int) -> Entry | None:
        """One entry, or ``None`` when it is not of this run."""
        return next(self.entries(seq, seq), None)

    def state_at(self, seq: int) -> State:
        """Everything as it was when the log ended with ``seq``; going forward reads only what is new.

        Raises `UsageError` for what lies outside of the run.
        """
        cut.check_range(seq, self.manifest.first_seq - 1, self.manifest.last_seq)
        before = self._state
        if before is None or before.seq > seq:
            before = self.checkpoint
        entries = self.entries(before.seq + 1, seq)
        self._state = cut.fold(before, entries, seq, runs=frozenset(self.manifest.runs))
        return self._state

    def artifacts(self) -> list[str]:
        """Hashes of the files whose contents are inside."""
        return [name.removeprefix(layout.ARTIFACTS) for name in self.places if name.startswith(layout.ARTIFACTS)]

    def artifact(self, sha256: str, piece: int = 1 << 20) -> Iterator[bytes]:
        """A file's content, in pieces. Raises `Damaged` at its end when it is not what its name says."""
        place = self._place(layout.artifact_name(sha256))
        crc = 0
        for offset in range(place.data, place.end, piece):
            data = self._bytes(offset, min(piece, place.end - offset))
            crc = zlib.crc32(data, crc)
            yield data
        if crc != place.crc:
            raise Damaged(f"{self.what}: {place.name}", "its checksum is another")

    def verify(self) -> list[str]:
        """What is wrong with the bundle, in words; nothing when it is whole. Reads all of it, repairs nothing."""
        return problems(self)

    def content(self, name: str) -> bytes:
        """A member as it is stored. Raises `Damaged`."""
        place = self._place(name)
        if place.size > bounds.MAX_RAW:
            raise Damaged(
                f"{self.what}: {name}", f"it has {place.size:,} bytes; at most {bounds.MAX_RAW:,} are allowed"
            )
        data = self._bytes(place.data, place.size)
        if len(data) != place.size or zlib.crc32(data) != place.crc:
            raise Damaged(f"{self.what}: {name}", "its checksum is another")
        return data

    def raw(self, name: str) -> bytes:
        """A member of the manifest, unpacked. Raises `Damaged`."""
        member = self._members.get(name)
        if member is None:
            raise Damaged(f"{self.what}: {name}", "the manifest does not know it")
        data = self.content(name)
        return bounds.unpacked(data, member, self.what) if name.endswith(layout.PACKED) else data

    def bytes_at(self, offset: int, length: int) -> bytes:
        """A range of the file."""
        return self._bytes(offset, length)

    def _prefetch(self) -> None:
        """Fetch what every opening needs in one read, when the tail does not reach so far."""
        wanted = [self._place(name) for name in (layout.STATS, layout.SKELETON, layout.MANIFEST)]
        first = min(place.offset for place in wanted)
        known = self.size - len(self._tail)
        if not 0 <= first < known or any(place.end > self.end.offset for place in wanted):
            return
        self._tail = self.source.read(first, known - first) + self._tail

    def _place(self, name: str) -> Place:
        place = self.places.get(name)
        if place is None:
            raise Damaged(self.what, f"{name} is not in it")
        return place

    def _bytes(self, offset: int, length: int) -> bytes:
        known = self.size - len(self._tail)
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Damaged(self.what, "its directory points outside of it")
        if offset >= known:
            return self._tail[offset - known : offset - known + length]
        return self.source.read(offset, length)

    def _chunk(self, number: int) -> list[Entry]:
        kept = self._kept.get(number)
        if kept is None:
            name = layout.chunk_name(self._firsts[number])
            raw = self.raw(name)
            if len(raw) > layout.CHUNK_BYTES:
                self._kept.clear()
            kept = self._kept[number] = [self._decode(name, line, Entry) for line in raw.splitlines()]
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return kept

    def _decode(self, name: str, data: bytes, kind: Any) -> Any:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Damaged(f"{self.what}: {name}", f"cannot be read: {error}") from None
