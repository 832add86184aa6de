"""Writes a bundle, front to back, while the entries go by: memory grows with the steps, not with the entries."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
import zstandard

from tracecraft_core.bundle import container, layout, tree
from tracecraft_core.bundle.container import Place
from tracecraft_core.bundle.growth import SkeletonGrowth
from tracecraft_core.bundle.layout import ChunkStats, Manifest, Member, Signature
from tracecraft_core.bundle.recap import Recap
from tracecraft_core.bundle.rollups import Rollups
from tracecraft_core.facts import Fact, fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracecraft_core.queries import Entry, State

LEVEL: Final = 3
"""Of zstd: ten times smaller, and the disk is the slower part."""


class MemberWriter:
    """Appends members to a file that is at its beginning, and the directory at the end."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._at = 0
        self._places: list[Place] = []

    def add(self, name: str, data: bytes) -> None:
        """A member whose content is at hand."""
        self.stream(name, len(data), zlib.crc32(data), [data])

    def stream(self, name: str, size: int, crc: int, pieces: Iterable[bytes]) -> None:
        """A member whose content comes in pieces; its size and CRC-32 are known before."""
        place = Place(name, size, crc, self._at)
        self._out.write(container.local_header(place))
        for piece in pieces:
            self._out.write(piece)
        self._places.append(place)
        self._at = place.end

    def close(self) -> None:
        """Write the directory."""
        self._out.write(container.directory(self._places, self._at))


class BundleWriter:
    """Takes the entries of a run in the order of the log, then `finish`. The same entries make the same bytes.

    ``checkpoint`` is the state before the first of them, ``runs`` the run and then the runs inside of it, ``seed`` the
    seed of an NKey that signs the manifest.
    """

    def __init__(
        self,
        out: BinaryIO,
        *,
        project: str,
        runs: Sequence[str],
        first_seq: int,
        last_seq: int,
        checkpoint: State,
        seed: bytes | None = None,
    ) -> None:
        self._writer = MemberWriter(out)
        self._project, self._runs, self._range = project, list(runs), (first_seq, last_seq)
        self._checkpoint, self._seed = checkpoint, seed
        self._zstd = zstandard.ZstdCompressor(level=LEVEL)
        self._members: list[Member] = []
        self._chunk = _Chunk()
        self._stats: list[ChunkStats] = []
        self._growth, self._rollups, self._recap = SkeletonGrowth(), Rollups(), Recap(runs[0])
        self._encoder = msgspec.json.Encoder()
        self._store(layout.MIMETYPE, layout.MEDIA_TYPE.encode(), packed=False)

    def add(self, entry: Entry) -> None:
        """The next entry; its body may be a `msgspec.Raw`."""
        line = self._encoder.encode(entry)
        if self._chunk.size and self._chunk.size + len(line) + 1 > layout.CHUNK_BYTES:
            self._close_chunk()
        known = fact(entry)
        self._chunk.add(known, line)
        self._growth.take(known)
        self._recap.take(known, self._rollups.take(known))

    def finish(self) -> Manifest:
        """Write the rest; the file is whole when this returns, and still open."""
        self._close_chunk()
        self._store(layout.CHECKPOINT, msgspec.json.encode(self._checkpoint, order="sorted"))
        self._store(layout.METRICS, b"".join(msgspec.json.encode(each) + b"\n" for each in self._rollups.done()))
        self._store(layout.STATS, msgspec.json.encode(self._stats), packed=False)
        self._store(layout.SKELETON, msgspec.json.encode(self._growth.done()))
        manifest = self._manifest()
        written = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self._writer.add(layout.MANIFEST, written)
        if self._seed is not None:
            self._writer.add(layout.SIGNATURE, msgspec.json.encode(sign(written, self._seed)))
        self._writer.close()
        return manifest

    def _close_chunk(self) -> None:
        if not self._chunk.lines:
            return
        stats = self._chunk.stats()
        self._stats.append(stats)
        self._store(layout.chunk_name(stats.first_seq), b"".join(self._chunk.lines))
        self._chunk = _Chunk()

    def _store(self, name: str, raw: bytes, *, packed: bool = True) -> None:
        data = self._zstd.compress(raw) if packed else raw
        raw_sha256 = hashlib.sha256(raw).hexdigest()
        sha256 = hashlib.sha256(data).hexdigest() if packed else raw_sha256
        member = Member(name=name, size=len(data), sha256=sha256, raw_size=len(raw), raw_sha256=raw_sha256)
        self._members.append(member)
        self._writer.add(name, data)

    def _manifest(self) -> Manifest:
        return Manifest(
            project=self._project,
            run=self._runs[0],
            runs=self._runs,
            first_seq=self._range[0],
            last_seq=self._range[1],
            entries=sum(chunk.entries for chunk in self._stats),
            first_time=self._stats[0].first_time if self._stats else None,
            last_time=self._stats[-1].last_time if self._stats else None,
            summary=self._recap.done(),
            members=self._members,
            root=tree.root([tree.leaf(member.name, member.raw_sha256) for member in self._members]),
        )


class _Chunk:
    """Entries that have not been written yet."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self._first: Entry | None = None
        self._last: Entry | None = None
        self._counts: Counter[str] = Counter()
        self._agents: set[str] = set()

    def add(self, known: Fact, line: bytes) -> None:
        self.lines.append(line + b"\n")
        self.size += len(line) + 1
        self._first, self._last = self._first or known.entry, known.entry
        self._counts[f"run.{known.event}" if known.family == "run" else known.family] += 1
        if known.agent is not None:
            self._agents.add(known.agent)

    def stats(self) -> ChunkStats:
        assert self._first is not None
        assert self._last is not None
        return ChunkStats(
            first_seq=self._first.seq,
            last_seq=self._last.seq,
            entries=len(self.lines),
            first_time=self._first.time,
            last_time=self._last.time,
            counts=dict(sorted(self._counts.items())),
            agents=sorted(self._agents),
        )


def sign(manifest: bytes, seed: bytes) -> Signature:
    """The signature of a manifest by an NKey."""
    import nkeys

    pair = nkeys.from_seed(seed)
    return Signature(key=pair.public_key.decode(), signature=base64.b64encode(pair.sign(manifest)).decode())


def signed_by(manifest: bytes, signature: Signature) -> bool:
    """Whether the signature is the key's, over exactly this manifest (an NKey: prefix, 32 bytes of Ed25519, CRC-16)."""
    import nkeys
    from nacl.exceptions import CryptoError
    from nacl.signing import VerifyKey

    try:
        key = base64.b32decode(signature.key)
        if len(key) != 35 or nkeys.crc16(bytearray(key[:-2])) != int.from_bytes(key[-2:], "little"):
            return False
        VerifyKey(key[1:-2]).verify(manifest, base64.b64decode(signature.signature))
    except (ValueError, CryptoError):
        return False
    return True
