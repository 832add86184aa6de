"""Reading bodies that may be anything: broken, of wrong types, too deep, with what PostgreSQL cannot hold.

A body that is read again from jsonb has its numbers spelled in another way (``1e2`` as ``100``), so where spelling
decides, both are brought to one form first: the result must be the same in a rebuild.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from tracecraft_core.run_events import MAX_COUNT, MAX_NAME

_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_T = TypeVar("_T")

MAX_BIGINT: Final = 2**63 - 1
MAX_INTEGER: Final = 2**31 - 1


class Poison(Exception):
    """An event cannot be read as what its subject says; the text says why."""


def decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """A body. Raises `Poison`."""
    try:
        read = decoder.decode(body)
    except msgspec.ValidationError:
        read = _second_reading(decoder, body)
    except UnicodeDecodeError:
        raise Poison("not UTF-8") from None
    except RecursionError:
        raise Poison("nested too deep") from None
    except msgspec.MsgspecError:
        raise Poison("not JSON") from None
    if b"\\u0000" in body and _NUL.search(body):
        raise Poison("NUL (\\u0000) in a string")
    return read


def canonical(body: bytes) -> Any:
    """Any JSON, with every number that is whole as ``int``. Raises `Poison`."""
    try:
        return _canonical.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError, ValueError) as error:
        raise Poison(f"not JSON: {type(error).__name__}") from None


def bigint(number: int, name: str) -> int:
    """A whole number that PostgreSQL's bigint can hold. Raises `Poison`."""
    if not -MAX_BIGINT <= number <= MAX_BIGINT:
        raise Poison(f"{name} is out of range")
    return number


def size(number: int, name: str) -> int:
    """A number of bytes. Raises `Poison`."""
    if not 0 <= number <= MAX_BIGINT:
        raise Poison(f"{name} is out of range")
    return number


def count(number: int, name: str) -> int:
    """A whole number from 0 on, small enough that a run's total of them stays in range. Raises `Poison`."""
    if not 0 <= number <= MAX_COUNT:
        raise Poison(f"{name} is out of range")
    return number


def name(text: str, what: str, most: int = MAX_NAME) -> str:
    """A text that is part of a key. Raises `Poison`."""
    if not 0 < len(text) <= most:
        raise Poison(f"{what} has {len(text)} characters, not 1 to {most}")
    return text


def _second_reading(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(msgspec.json.encode(canonical(body)))
    except RecursionError:
        raise Poison("nested too deep") from None
    except (msgspec.MsgspecError, OverflowError) as error:
        raise Poison(str(error)[:200]) from None


def _number(spelled: str) -> int | float:
    exact = Decimal(spelled)
    if abs(exact.adjusted()) < 400 and exact == exact.to_integral_value():
        return int(exact)
    return float(spelled)


_canonical: Final = msgspec.json.Decoder(float_hook=_number)
