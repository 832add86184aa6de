"""Ids of tasks: that of a reservation of files is made of the glob, and this is how people are told of it.

Apart from `tracecraft_core.reservations`, because errors speak of tasks too. The parts of a glob are the tokens of its
id; what a token may not have is ``=`` and two hexadecimal digits for each byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracecraft_core.quotation import neutral

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX: Final = "file"
"""First token of the id of every reservation."""

HASHED: Final = "=sha256"
"""Second token of the id of a glob that is too long to be written out; ``=`` is followed by hexadecimal digits else."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]")


def spoken(task: str) -> str:
    """What to call a task to people: its id, or ``the reservation of src/*.py``."""
    glob = decoded(task)
    return task if glob is None else f"the reservation of {neutral(glob)}"


def spoken_kind(task: str) -> str:
    """The same where nothing says that it is a task: ``task S1``, or ``the reservation of src/*.py``."""
    called = spoken(task)
    return f"task {task}" if called == task else called


def encoded(parts: Sequence[str]) -> str:
    """The id of the reservation of a glob of these parts, however long."""
    return ".".join((PREFIX, *("".join(map(_encoded, part)) for part in parts)))


def decoded(task: str) -> str | None:
    """The glob of the id of a reservation; ``None`` for any other, and for one that was too long."""
    first, *tokens = task.split(".")
    if first != PREFIX or not tokens or tokens[0] == HASHED:
        return None
    try:
        parts = [_decoded(token) for token in tokens]
    except ValueError:
        return None
    return "/".join(parts) if encoded(parts) == task else None


def _encoded(char: str) -> str:
    return char if _PLAIN.match(char) else "".join(f"={byte:02X}" for byte in char.encode())


def _decoded(token: str) -> str:
    plain, *rest = token.split("=")
    return b"".join([plain.encode(), *(bytes.fromhex(piece[:2]) + piece[2:].encode() for piece in rest)]).decode()
