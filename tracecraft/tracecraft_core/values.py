"""Any Python value as JSON, at the call: what is logged does not change when its owner changes it later.

Logging never raises into the caller for data. What JSON cannot hold is recorded as a note with its representation,
``{"$repr": "<Socket ...>", "type": "socket.Socket"}``; NaN and infinities as the strings of `run_events.Metric`.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any, Final

import msgspec

LONGEST_REPR: Final = 2_000
"""Characters of a representation that are kept."""
LARGEST_ARRAY: Final = 10_000
"""Elements of an array that are recorded one by one; a larger one is noted by its shape."""
LARGEST_INT: Final = 4_096
"""Bits of an integer that is recorded as a number; Python refuses to write down much longer ones."""
DEEPEST: Final = 64
"""Levels of nesting that are recorded; what lies deeper is noted by its representation."""

_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def encode(value: Any) -> bytes:
    """A value as JSON; never raises for what the value is."""
    return storable(_encode(value))


def storable(body: bytes) -> bytes:
    """JSON without NUL, which PostgreSQL has no place for: it is spelled out, as ``\\x00``."""
    return _NUL.sub(rb"\1\\\\x00", body) if b"\\u0000" in body else body


def _encode(value: Any) -> bytes:
    try:
        body = _encoder.encode(value)
    except Exception:
        return _encode_plain(value)
    if isinstance(value, (bytes, bytearray, memoryview)) or (b"null" in body and _has_null_number(value)):
        return _encode_plain(value)
    return body


def _encode_plain(value: Any) -> bytes:
    try:
        return _encoder.encode(plain(value))
    except Exception:  # a dictionary, for example, whose items() fails
        return _encoder.encode(note(value))


def note(value: Any) -> dict[str, str]:
    """What is recorded of a value that JSON cannot hold."""
    kind, shown = type(value), _shown(value)
    if len(shown) > LONGEST_REPR:
        shown = f"{shown[:LONGEST_REPR]}… ({len(shown):,} characters)"
    return {"$repr": text(shown), "type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}


def _shown(value: Any) -> str:
    try:
        return hex(value) if type(value) is int and value.bit_length() > LARGEST_INT else repr(value)
    except Exception as error:
        return f"<its repr raised {type(error).__name__}>"


def as_text(value: Any) -> str:
    """Anything as text; never raises."""
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except Exception:
        return note(value)["$repr"]


def as_tag(value: Any) -> str:
    """The value of a tag as text: true, false and nothing are spelled as in JSON; never raises."""
    with contextlib.suppress(Exception):
        if value.shape == ():
            value = value.tolist()  # a scalar of NumPy
    if value is None or isinstance(value, bool):
        return _encoder.encode(value).decode()
    return as_text(value)


def plain(value: Any, depth: int = 0) -> Any:
    """A value made of what JSON has, slower than `encode` but for every value."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= LARGEST_INT else note(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _number(value)
    if isinstance(value, str):
        return text(value)
    if depth >= DEEPEST:
        return note(value)
    if isinstance(value, dict):
        return {
            text(key if isinstance(key, str) else _shown(key)): plain(item, depth + 1) for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    return _plain_object(value, depth)


def _plain_object(value: Any, depth: int) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return note(bytes(value[:LONGEST_REPR]))
    try:
        simpler = _simpler(value)
        return msgspec.to_builtins(value, str_keys=True) if simpler is value else plain(simpler, depth + 1)
    except Exception:
        return note(value)


def _simpler(value: Any) -> Any:
    """What a foreign object says it is made of: a model of pydantic, an array or a scalar of NumPy, a path."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    listed = getattr(value, "tolist", None)
    if callable(listed):
        size = getattr(value, "size", 0)
        if isinstance(size, int) and size > LARGEST_ARRAY:
            return {**note(value), "shape": list(getattr(value, "shape", ()))}
        return listed()
    if hasattr(value, "__fspath__"):
        return str(value)
    return value


def _for_msgspec(value: Any) -> Any:
    simpler = _simpler(value)
    return note(value) if simpler is value else simpler


_encoder: Final = msgspec.json.Encoder(enc_hook=_for_msgspec)


def _has_null_number(value: Any) -> bool:
    """Whether there is a float that JSON has no number for; msgspec writes it as null."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += item
        elif not isinstance(item, (str, int, type(None))):
            return True  # look inside of it with `plain`
    return False


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text(value: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold: what they cannot is spelled out."""
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-8", "backslashreplace").decode()
    return value.replace("\0", "\\x00")
