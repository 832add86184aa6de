"""Decompression that stops in time: a body of a few kilobytes may unfold to gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

from tracecraft_bridge.otlp.refused import Refused

_GZIP: Final = 16 + zlib.MAX_WBITS


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """The body as it was before its ``Content-Encoding``. Raises `Refused`: 415, 413 above ``most`` bytes, 400."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, most)
    raise Refused(415, f"Content-Encoding {encoding!r} is not known here: send gzip, or nothing")


def _gunzip(body: bytes, most: int) -> bytes:
    found: list[bytes] = []
    size, rest = 0, body
    while rest:
        member = zlib.decompressobj(_GZIP)
        try:
            piece = member.decompress(rest, most + 1 - size)
        except zlib.error as error:
            raise Refused(400, f"the body is not gzip: {error}") from None
        size += len(piece)
        if size > most:
            raise Refused(413, f"the body has more than {most} bytes when it is decompressed: export smaller batches")
        if not member.eof:
            raise Refused(400, "the body is not gzip: it ends in the middle")
        found.append(piece)
        rest = member.unused_data.lstrip(b"\0")
    return b"".join(found)
