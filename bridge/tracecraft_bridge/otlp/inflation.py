"""Decompression that stops in time: a body of a few kilobytes may unfold to gigabytes, or be a million members."""

from __future__ import annotations

import re
import zlib
from typing import Final

from tracecraft_bridge.otlp.refused import Refused

MOST_MEMBERS: Final = 1_000
"""Gzip members of one body; an exporter sends one, a tool that compresses by blocks a few hundred."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_PIECE: Final = 64 * 1024
"""Bytes that are looked at together: what is behind a member is copied, so it must not be the whole rest."""
_PADDING: Final = re.compile(rb"\0*")


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """The body as it was before its ``Content-Encoding``. Raises `Refused`: 415, 413 above ``most`` bytes, 400."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, most)
    raise Refused(415, f"Content-Encoding {encoding[:80]!r} is not known here: send gzip, or nothing")


def _gunzip(body: bytes, most: int) -> bytes:
    found: list[bytes] = []
    members = size = at = 0
    while at < len(body):
        members += 1
        if members > MOST_MEMBERS:
            raise Refused(413, f"the body has more than {MOST_MEMBERS} members of gzip: compress it in one")
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            given = body[at : at + _PIECE]
            if not given:
                raise Refused(400, "the body is not gzip: it ends in the middle")
            try:
                piece = member.decompress(given, most + 1 - size)
            except zlib.error as error:
                raise Refused(400, f"the body is not gzip: {error}") from None
            size += len(piece)
            if size > most:
                told = f"the body has more than {most} bytes when it is decompressed: export smaller batches"
                raise Refused(413, told)
            found.append(piece)
            at += len(given) - len(member.unused_data)
        padding = _PADDING.match(body, at)
        assert padding is not None  # none at all matches too
        at = padding.end()
    return b"".join(found)
