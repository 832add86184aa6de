"""How large a bundle may become when it is unpacked: told by the manifest, and refused before anything is unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import zstandard

from tracecraft_core.bundle import layout
from tracecraft_core.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracecraft_core.bundle.container import Place
    from tracecraft_core.bundle.layout import Member

MAX_CHUNK: Final = 8 * 1024 * 1024
"""Most bytes of a chunk of entries, unpacked: `layout.CHUNK_BYTES`, or one entry, whose body NATS holds to 1 MiB (more
in a bundle, where numbers are written out and bytes in base64)."""
MAX_RAW: Final = 256 * 1024 * 1024
"""Most bytes of any other member, unpacked."""
MAX_RATIO: Final = 256
"""Most bytes for each stored one, beyond those that are free; runs have 5 to 40."""
FREE: Final = {layout.CHECKPOINT: 64 * 1024 * 1024}
"""Bytes of a member that need no ratio, else `MAX_CHUNK`: a memory may well hold long values of one character."""
FREE_TOTAL: Final = 512 * 1024 * 1024
"""The same of all together: chunks are unpacked one by one, so these cost time and no memory."""


def check(places: Mapping[str, Place], members: Iterable[Member], what: str) -> None:
    """Raise `Damaged` for a bundle that would fill the memory or the time of its reader."""
    size = raw_size = 0
    for member in members:
        check_member(member, places.get(member.name), what)
        size, raw_size = size + member.size, raw_size + member.raw_size
    if raw_size > FREE_TOTAL + MAX_RATIO * size:
        raise Damaged(what, f"unpacked it would have {raw_size:,} bytes, more than {MAX_RATIO} for each of {size:,}")


def check_member(member: Member, place: Place | None, what: str) -> None:
    """Raise `Damaged` for a member that is not as large as the manifest says, or may not be."""
    where = f"{what}: {member.name}"
    if place is not None and place.size != member.size:
        raise Damaged(where, f"it has {place.size:,} bytes, the manifest says {member.size:,}")
    if min(member.size, member.raw_size) < 0:
        raise Damaged(where, "the manifest gives it a size below 0")
    if not member.name.endswith(layout.PACKED) and member.raw_size != member.size:
        raise Damaged(where, f"it is not packed, and the manifest says {member.raw_size:,} bytes of {member.size:,}")
    most = MAX_CHUNK if layout.is_chunk(member.name) else MAX_RAW
    if member.raw_size > most or member.size > most:
        raise Damaged(where, f"unpacked it would have {member.raw_size:,} bytes; at most {most:,} are allowed")
    if member.raw_size > FREE.get(member.name, MAX_CHUNK) + MAX_RATIO * member.size:
        raise Damaged(where, f"{member.raw_size:,} bytes from {member.size:,} are more than {MAX_RATIO} for each")


def unpacked(data: bytes, member: Member, what: str) -> bytes:
    """The content of a packed member. Raises `Damaged`, before it takes more memory than the manifest says."""
    where = f"{what}: {member.name}"
    try:
        if len(data) != member.size or zstandard.frame_content_size(data) != member.raw_size:
            raise Damaged(where, f"it does not have the {member.raw_size:,} bytes of the manifest")
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=max(1, member.raw_size), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Damaged(where, str(error)) from None
