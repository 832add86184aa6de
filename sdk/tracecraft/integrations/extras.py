"""`needs`: what an adapter stands on and tracecraft alone does not bring."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracecraft_core import extras

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Imports of a framework: where it is missing, an `ImportError` says which extra of tracecraft brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tracecraft"):
            raise
        raise ImportError(
            f"{error.name} is not installed: install tracecraft with the extra {extra!r}: {extras.install(extra)}",
            name=error.name,
        ) from error
