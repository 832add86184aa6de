"""The ZIP around a bundle: members stored, one after the other, no times, no comments, no gaps.

The same members always make the same bytes, so that a reader can tell every changed byte, in the headers too. Any ZIP
tool opens it (APPNOTE.TXT 6.3.10, with ZIP64 from 4 GiB or 65,535 members on).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracecraft_core.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX32: Final = 0xFFFFFFFF
MAX16: Final = 0xFFFF
DAY: Final = 0x21
"""1980-01-01, the first day that ZIP knows."""

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_END64: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR: Final = struct.Struct("<4sIQI")
END_BYTES: Final = _END.size
LOCATOR_BYTES: Final = _LOCATOR.size
END64_BYTES: Final = _END64.size


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is."""

    name: str
    size: int
    crc: int
    offset: int
    """Of its header."""

    @property
    def data(self) -> int:
        """Offset of its content."""
        return self.offset + len(local_header(self))

    @property
    def end(self) -> int:
        """Offset behind its content."""
        return self.data + self.size


@dataclass(frozen=True, slots=True)
class End:
    """What the end of the file says of the directory."""

    members: int
    size: int
    offset: int


def local_header(place: Place) -> bytes:
    """What stands before a member's content."""
    extra = struct.pack("<HHQQ", 1, 16, place.size, place.size) if place.size >= MAX32 else b""
    size = min(place.size, MAX32)
    name = place.name.encode("ascii")
    fields = (45 if extra else 20, 0, 0, 0, DAY, place.crc, size, size, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name + extra


def directory(places: Iterable[Place], offset: int) -> bytes:
    """The directory and the end of the file, when the directory begins at an offset."""
    entries = [_entry(place) for place in places]
    size = sum(map(len, entries))
    return b"".join(entries) + _end(End(len(entries), size, offset))


def _entry(place: Place) -> bytes:
    large = [value for value in (place.size, place.size, place.offset) if value >= MAX32]
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    version = 45 if extra else 20
    size, name = min(place.size, MAX32), place.name.encode("ascii")
    fields = (version, version, 0, 0, 0, DAY, place.crc, size, size, len(name), len(extra), 0, 0, 0, 0)
    return _CENTRAL.pack(b"PK\x01\x02", *fields, min(place.offset, MAX32)) + name + extra


def _end(end: End) -> bytes:
    count, size, offset = end.members, end.size, end.offset
    large = count >= MAX16 or size >= MAX32 or offset >= MAX32
    before = b""
    if large:
        before = _END64.pack(b"PK\x06\x06", END64_BYTES - 12, 45, 45, 0, 0, count, count, size, offset)
        before += _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
    few = min(count, MAX16)
    return before + _END.pack(b"PK\x05\x06", 0, 0, few, few, min(size, MAX32), min(offset, MAX32), 0)


def read_end(tail: bytes, what: str) -> End:
    """The end of the file, from its last bytes. Raises `Damaged`."""
    try:
        mark, *_, count, size, offset, comment = _END.unpack(tail[-END_BYTES:])
        if mark != b"PK\x05\x06" or comment:
            raise Damaged(what, "it does not end like a bundle: cut off, or something else")
        if count == MAX16 or size == MAX32 or offset == MAX32:
            return _read_end64(tail, what)
    except struct.error:
        raise Damaged(what, "it is too short for a bundle") from None
    return End(count, size, offset)


def _read_end64(tail: bytes, what: str) -> End:
    begin = len(tail) - END_BYTES - LOCATOR_BYTES - END64_BYTES
    mark, *_, count, size, offset = _END64.unpack(tail[max(begin, 0) : begin + END64_BYTES])
    if mark != b"PK\x06\x06":
        raise Damaged(what, "the end of its directory is not one")
    return End(count, size, offset)


def read_directory(data: bytes, end: End, what: str) -> list[Place]:
    """The members, from the bytes of the directory. Raises `Damaged`."""
    places, at = list[Place](), 0
    try:
        for _ in range(end.members):
            place, at = _read_entry(data, at, what)
            places.append(place)
    except (struct.error, UnicodeDecodeError):
        raise Damaged(what, "its directory cannot be read") from None
    return places


def _read_entry(data: bytes, at: int, what: str) -> tuple[Place, int]:
    fields = _CENTRAL.unpack_from(data, at)
    mark, crc, size, names, extras, offset = fields[0], fields[7], fields[9], fields[10], fields[11], fields[16]
    if mark != b"PK\x01\x02":
        raise Damaged(what, "its directory cannot be read")
    begin = at + _CENTRAL.size
    name = data[begin : begin + names].decode("ascii")
    large = data[begin + names : begin + names + extras]
    if size == MAX32:
        size = struct.unpack_from("<Q", large, 4)[0]
    if offset == MAX32:
        offset = struct.unpack_from("<Q", large, len(large) - 8)[0]
    return Place(name, size, crc, offset), begin + names + extras
