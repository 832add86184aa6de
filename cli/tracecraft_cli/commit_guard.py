"""`unasked`: what becomes of a commit when nobody can tell whether its files are reserved.

The bus is away, a setting is broken, a right is missing: the commit goes through and says so in one line, for a hook
must not keep people from their work for its own trouble. With ``--strict`` it is refused, and the way round is told.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tracecraft_cli.output import note
from tracecraft_core.errors import FileReserved, TracecraftError

if TYPE_CHECKING:
    from collections.abc import Iterator

WAY_ROUND: Final = "'git commit --no-verify' commits all the same"


@contextmanager
def unasked(strict: bool) -> Iterator[None]:
    """Ask about a commit inside; only an answer refuses it, unless ``strict``. Raises `FileReserved`."""
    try:
        yield
    except FileReserved:
        raise
    except TracecraftError as error:
        if strict:
            note(f"tracecraft: nobody can be asked whether these files are reserved ({WAY_ROUND})")
            raise
        note(f"tracecraft: nobody was asked whether these files are reserved, the commit goes on: {error}")
