"""Whether a bundle is what its writer made: every byte of the file counts, in the headers too."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import msgspec

from tracecraft_core.bundle import container, layout, rules, tree
from tracecraft_core.bundle.layout import Signature
from tracecraft_core.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracecraft_core.bundle.container import End, Place
    from tracecraft_core.bundle.layout import ChunkStats, Manifest, Member
    from tracecraft_core.queries import Entry


class Opened(Protocol):
    """What of a reader the checks need."""

    manifest: Manifest
    chunks: list[ChunkStats]
    places: Mapping[str, Place]
    end: End
    size: int

    def bytes_at(self, offset: int, length: int) -> bytes:
        """A range of the file."""

    def content(self, name: str) -> bytes:
        """A member as it is stored."""

    def raw(self, name: str) -> bytes:
        """A member, unpacked."""

    def artifacts(self) -> list[str]:
        """Hashes of the files inside."""

    def artifact(self, sha256: str) -> Iterator[bytes]:
        """A file's content."""

    def chunk(self, number: int) -> list[Entry]:
        """The entries of a chunk."""


def problems(reader: Opened) -> list[str]:
    """Everything that is wrong, in words; a problem with one member does not hide those of the others."""
    found = [*_container(reader), *_members(reader), *_artifacts(reader), *_signature(reader)]
    found += rules.manifest_problems(reader.manifest)
    found = found or [*_chunks(reader)]
    return found or [*_entries(reader)]


def _container(reader: Opened) -> Iterator[str]:
    """Headers and directory must be what the writer makes of these members, with nothing between them."""
    places, at = list(reader.places.values()), 0
    for place in places:
        header = container.local_header(place)
        if place.offset != at or reader.bytes_at(place.offset, len(header)) != header:
            yield f"{place.name}: what stands before it is damaged"
            return
        at = place.end
    expected = container.directory(places, at)
    if at != reader.end.offset or at + len(expected) != reader.size:
        yield "the directory is not where it belongs"
    elif reader.bytes_at(at, len(expected)) != expected:
        yield "the directory is damaged"


def _members(reader: Opened) -> Iterator[str]:
    known = [member.name for member in reader.manifest.members]
    extra = {layout.MANIFEST, layout.SIGNATURE}
    stored = [name for name in reader.places if name not in extra and not name.startswith(layout.ARTIFACTS)]
    if stored != known:
        odd = sorted(set(stored) ^ set(known)) or known
        yield f"the members are not those of the manifest: {', '.join(odd[:5])}"
    for member in reader.manifest.members:
        yield from _member(reader, member)
    leaves = [tree.leaf(member.name, member.raw_sha256) for member in reader.manifest.members]
    if tree.root(leaves) != reader.manifest.root:
        yield f"the root of the hash tree is {tree.root(leaves)}, the manifest says {reader.manifest.root}"


def _member(reader: Opened, member: Member) -> Iterator[str]:
    try:
        data, raw = reader.content(member.name), reader.raw(member.name)
    except Damaged as error:
        yield f"{member.name}: {error.problem}"
        return
    if hashlib.sha256(data).hexdigest() != member.sha256:
        yield f"{member.name}: its hash is another"
    if hashlib.sha256(raw).hexdigest() != member.raw_sha256:
        yield f"{member.name}: the hash of what is in it is another"


def _artifacts(reader: Opened) -> Iterator[str]:
    for sha256 in reader.artifacts():
        digest = hashlib.sha256()
        try:
            for piece in reader.artifact(sha256):
                digest.update(piece)
        except Damaged as error:
            yield f"{layout.artifact_name(sha256)}: {error.problem}"
        else:
            if digest.hexdigest() != sha256:
                yield f"{layout.artifact_name(sha256)}: its hash is another"


def _signature(reader: Opened) -> Iterator[str]:
    if layout.SIGNATURE not in reader.places:
        return
    from tracecraft_core.bundle.writer import signed_by

    try:
        signature = msgspec.json.decode(reader.content(layout.SIGNATURE), type=Signature)
        if not signed_by(reader.content(layout.MANIFEST), signature):
            yield f"the signature of {signature.key} is not over this manifest"
    except (Damaged, msgspec.MsgspecError) as error:
        yield f"{layout.SIGNATURE}: {error}"


def _chunks(reader: Opened) -> Iterator[str]:
    """The chunks must be those of the statistics, one behind the other; a large one has a single entry."""
    stored = [member for member in reader.manifest.members if layout.is_chunk(member.name)]
    if [member.name for member in stored] != [layout.chunk_name(chunk.first_seq) for chunk in reader.chunks]:
        yield f"{layout.STATS}: its chunks are not those of the bundle"
    for member, chunk in zip(stored, reader.chunks, strict=False):
        if member.raw_size > layout.CHUNK_BYTES and chunk.entries != 1:
            yield f"{member.name}: {member.raw_size:,} bytes in {chunk.entries} entries; one alone may be so large"


def _entries(reader: Opened) -> Iterator[str]:
    """The entries must be in order, in their range, as many as the manifest says, and of its project and runs."""
    manifest = reader.manifest
    runs, before, count = frozenset(manifest.runs), manifest.first_seq - 1, 0
    for number, chunk in enumerate(reader.chunks):
        entries = reader.chunk(number)
        name = layout.chunk_name(chunk.first_seq)
        found = [entries[0].seq, entries[-1].seq, len(entries)] if entries else []
        if found != [chunk.first_seq, chunk.last_seq, chunk.entries]:
            yield f"{name}: its entries are not those of {layout.STATS}"
            return
        for entry in entries:
            if entry.seq <= before:
                yield f"entry {entry.seq} comes after {before}"
                return
            problem = rules.entry_problem(entry, manifest.project, runs)
            if problem is not None:
                yield f"entry {entry.seq}: {problem}"
                return
            before, count = entry.seq, count + 1
    if count != manifest.entries or before > manifest.last_seq:
        yield f"{count} entries up to {before}; the manifest says {manifest.entries} up to {manifest.last_seq}"
