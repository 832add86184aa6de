"""The check of a key before anything is connected: a wrong name is wrong without a server too."""

from __future__ import annotations


def check(key: str) -> None:
    """Raise `InvalidName` unless this may be a memory key."""
    from tracecraft_core import names

    names.memory_key(key)
