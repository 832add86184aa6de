"""Images as files: what `log_image` takes, as bytes with their media type."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Final

from tracecraft_core.errors import UsageError

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_COLOUR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour type for a number of channels: grey, grey with alpha, RGB, RGBA."""


def encode(image: Any) -> tuple[bytes, str]:
    """An image as the bytes of a file, and its media type.

    Takes the bytes of an image file, a figure of matplotlib, an image of Pillow, or an array of NumPy: height x width,
    or height x width x 1 to 4 channels, whole numbers from 0 to 255 or fractions from 0 to 1. Raises `UsageError`.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image), _media_type(bytes(image))
    drawn = io.BytesIO()
    if callable(getattr(image, "savefig", None)):
        image.savefig(drawn, format="png")
    elif hasattr(image, "__array_interface__") and hasattr(image, "astype"):
        drawn.write(_array(image))
    elif callable(getattr(image, "save", None)):
        image.save(drawn, format="PNG")
    else:
        raise UsageError(
            f"{type(image).__name__} is no image: give the path or the bytes of an image file, "
            "a matplotlib figure, a Pillow image, or a NumPy array"
        )
    return drawn.getvalue(), "image/png"


def _media_type(data: bytes) -> str:
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if b"<svg" in data[:1024]:
        return "image/svg+xml"
    raise UsageError("these bytes are no image file: PNG, JPEG, GIF, WebP, BMP, TIFF and SVG are known")


def _array(array: Any) -> bytes:
    """A PNG of an array, by the standard library alone (https://www.w3.org/TR/png-3/)."""
    shape = tuple(array.shape)
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in _COLOUR_TYPES or 0 in shape:
        raise UsageError(
            f"an array of shape {shape} is no image: height x width, or height x width x 1 to 4 channels, is expected"
        )
    return _png(_bytes(array), shape[1], shape[0], channels)


def _bytes(array: Any) -> bytes:
    kind = array.dtype.kind
    if kind == "f":
        array = (array.clip(0.0, 1.0) * 255).round()
    elif kind == "b":
        array = array * 255
    elif kind in "iu":
        array = array.clip(0, 255)
    else:
        raise UsageError(f"an array of {array.dtype} is no image: numbers are expected")
    pixels: bytes = array.astype("uint8").tobytes()
    return pixels


def _png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    line = width * channels
    raw = b"".join(b"\0" + pixels[start : start + line] for start in range(0, height * line, line))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(raw, 6)) + _chunk(b"IEND", b"")
    return _SIGNATURES[0][0] + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
